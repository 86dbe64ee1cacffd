"""What must hold of the book's files, found without running any of them.

Each function returns the problems it found, one sentence each; an empty list is good.
"""

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import jupytext
import nbformat
import yaml
from nbformat import NotebookNode

PAIRING = "ipynb,py:percent"
# From this chapter on, and on pages without a number, the book shows measured results, which come
# from records and never from hand.
FIRST_RESULTS_CHAPTER = 7

_MATH = re.compile(r"\$\$.*?\$\$|\$[^$\n]+\$|```\{math\}.*?```", re.DOTALL)
_PERCENTAGE = re.compile(r"\d+[.,]\d+\s*(?:\\?%|％|percentage points?|per\s?cent)")
_EMPTY_ALT = re.compile(r"!\[\s*\]\(")
_MACHINE_PATH = re.compile(
    r"(?<![\w.:/-])/(?:home|root|Users|private|tmp|mnt|media|opt|srv|workspace|content)/[\w.-]+"
    r"|\b[A-Z]:\\\\?Users\\"
)


def chapters(root: Path) -> list[Path]:
    """The notebooks of the book under ``root``, in order."""
    return sorted((root / "book").glob("*.ipynb"))


def all_problems(root: Path) -> list[str]:
    """Every problem of every chapter, the table of contents and the pages under ``root``."""
    found = toc_problems(root)
    for path in chapters(root):
        found += pair_problems(path)
        notebook = read(path)
        for check in (metadata_problems, output_problems, figure_problems, trace_problems):
            found += check(notebook, path.name)
        if chapter_number(path) not in range(1, FIRST_RESULTS_CHAPTER):
            found += prose_problems(notebook, path.name)
    return found


def read(path: Path) -> NotebookNode:
    """The notebook at ``path``, as nbformat 4."""
    return nbformat.read(path, as_version=4)


def chapter_number(path: Path) -> int:
    """The NN of ``NN-name``; 0 for a page without one."""
    number = re.match(r"\d+", path.name)
    return int(number.group()) if number else 0


def toc_problems(root: Path) -> list[str]:
    """Pages that ``_toc.yml`` lists but are missing, and chapters that it leaves out."""
    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
    listed = set(_files_of(toc))
    found = [
        f"_toc.yml: lists '{name}', but there is no {name}.ipynb or {name}.md: "
        "write it or take it off the list."
        for name in sorted(listed)
        if not any((root / f"{name}{ending}").is_file() for ending in (".ipynb", ".md"))
    ]
    pages = {page.relative_to(root).with_suffix("").as_posix() for page in _pages(root)}
    found += [
        f"{name}: is not in _toc.yml, so the book would leave it out: add it or delete it."
        for name in sorted(pages - listed)
    ]
    return found


def pair_problems(notebook_path: Path) -> list[str]:
    """Where ``NN-name.ipynb`` and ``NN-name.py`` differ in a cell's text, kind or metadata."""
    name, script_path = notebook_path.name, notebook_path.with_suffix(".py")
    if not script_path.is_file():
        return [f"{name}: expected {script_path.name} beside it, but there is none: write it."]
    # Both sides go through the text format, which alone decides what a pair has to share.
    stored = jupytext.reads(jupytext.writes(read(notebook_path), fmt="py:percent"), "py:percent")
    script = jupytext.reads(script_path.read_text(encoding="utf-8"), "py:percent")
    remedy = "run make sync to rebuild the notebook from the script"
    for number, (ours, theirs) in enumerate(zip(script.cells, stored.cells, strict=False)):
        for part in ("cell_type", "source", "metadata"):
            if ours[part] != theirs[part]:
                place = f"cell {number} differs from {script_path.name} in its {part}"
                return [f"{name}: {place}: {remedy}."]
    if len(script.cells) != len(stored.cells):
        return [
            f"{name}: has {len(stored.cells)} cells, but {script_path.name} has "
            f"{len(script.cells)}: {remedy}."
        ]
    return []


def metadata_problems(notebook: NotebookNode, name: str) -> list[str]:
    """A kernel other than ``python3``, or no jupytext pairing."""
    found = []
    kernel = notebook.metadata.get("kernelspec", {}).get("name")
    if kernel != "python3":
        found.append(f"{name}: expected the kernel python3, but it names {kernel}: set it.")
    pairing = notebook.metadata.get("jupytext", {}).get("formats")
    if pairing != PAIRING:
        found.append(
            f"{name}: expected the jupytext formats '{PAIRING}', but they are {pairing}: set them."
        )
    return found


def output_problems(notebook: NotebookNode, name: str) -> list[str]:
    """Cells that were not run, failed, or complained on stderr; a notebook without any output.

    nbval compares nothing for a cell without an execution count, and passes.
    """
    code = [(n, c) for n, c in enumerate(notebook.cells) if c.cell_type == "code" and c.source]
    found = [
        f"{name}: cell {number} was never run: run make sync."
        for number, cell in code
        if cell.execution_count is None
    ]
    if code and not any(cell.outputs for _, cell in code):
        found.append(f"{name}: has no stored outputs, so nothing could be compared: run make sync.")
    for number, cell in code:
        for output in cell.outputs:
            if output.output_type == "error":
                found.append(
                    f"{name}: cell {number} stores the error '{output.ename}: {output.evalue}': "
                    "mend the cell, then run make sync."
                )
            elif output.output_type == "stream" and output.name == "stderr":
                found.append(
                    f"{name}: cell {number} stores the complaint '{_first_line(output.text)}': "
                    "mend its cause, then run make sync."
                )
    return found


def figure_problems(notebook: NotebookNode, name: str) -> list[str]:
    """Pictures without a description for readers who cannot see them."""
    found = []
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown" and _EMPTY_ALT.search(cell.source):
            found.append(f"{name}: cell {number} has a picture '![](…)' without a description.")
        if cell.cell_type != "code":
            continue
        image = cell.metadata.get("mystnb", {}).get("image", {})
        alt = image.get("alt", "") if isinstance(image, dict) else ""
        draws = any(
            mime.startswith("image/") for output in cell.outputs for mime in output.get("data", {})
        )
        if draws and len(alt.split()) < 3:
            found.append(
                f"{name}: cell {number} draws a picture, but its description is '{alt}': say in "
                'some words what it shows, as the cell\'s metadata mystnb={"image": {"alt": "…"}}.'
            )
    return found


def trace_problems(notebook: NotebookNode, name: str) -> list[str]:
    """Outputs that carry a path or the name of the machine they were made on."""
    host = socket.gethostname()
    own = [str(Path.cwd()), str(Path.home())] + ([host] if len(host) > 6 else [])
    found = []
    for number, text in _output_texts(notebook):
        trace = next((word for word in own if len(word) > 1 and word in text), None)
        if trace is None and (match := _MACHINE_PATH.search(text)):
            trace = match.group()
        if trace:
            found.append(
                f"{name}: cell {number} shows '{trace}', which exists on one machine only: "
                "print a relative path or nothing, then run make sync."
            )
    return found


def prose_problems(notebook: NotebookNode, name: str) -> list[str]:
    """Percentages typed into text; formulas and lines quoted with ``>`` may hold some."""
    found = []
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type != "markdown":
            continue
        own_words = "\n".join(
            line
            for line in _MATH.sub("", cell.source).splitlines()
            if not line.lstrip().startswith(">")
        )
        found += [
            f"{name}: cell {number} has '{result}' typed into its text: let a code cell write that "
            "sentence from a record."
            for result in _PERCENTAGE.findall(own_words)
        ]
    return found


def _files_of(toc: object) -> Iterator[str]:
    if isinstance(toc, dict):
        yield from (toc[key] for key in ("root", "file") if key in toc)
        toc = list(toc.values())
    if isinstance(toc, list):
        for entry in toc:
            yield from _files_of(entry)


def _pages(root: Path) -> Iterator[Path]:
    yield from chapters(root)
    yield from (root / "book").glob("*.md")


def _output_texts(notebook: NotebookNode) -> Iterator[tuple[int, str]]:
    for number, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", []):
            if "text" in output:
                yield number, output.text
            for mime, data in output.get("data", {}).items():
                if not mime.startswith("image/") or mime == "image/svg+xml":
                    yield number, str(data)


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0][:120] if text.strip() else text
