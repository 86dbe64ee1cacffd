"""What the Makefile does with the book: build it, check it, sync it, hand out its exercises."""

import argparse
import hashlib
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode

from tools.book.checks import PAIRING, all_problems, chapters, read
from tools.book.execute import NotebookFailedError, run_all
from tools.book.handout import hand_out

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.book", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    build_options = commands.add_parser("build", help="run the notebooks, then build the HTML")
    build_options.add_argument(
        "--stored", action="store_true", help="show stored outputs, run none"
    )
    build_options.add_argument("--jobs", type=int, default=2, help="notebooks at a time")
    commands.add_parser("check", help="look for problems without running anything")
    sync_options = commands.add_parser("sync", help="rebuild each .ipynb from its .py and run it")
    sync_options.add_argument("names", nargs="*", help="such as 07-training; all where left out")
    sync_options.add_argument("--jobs", type=int, default=2, help="notebooks at a time")
    handout_options = commands.add_parser("handout", help="write exercises without solutions")
    handout_options.add_argument("names", nargs="*", help="such as 07-training; all where left out")
    handout_options.add_argument("--out", type=Path, default=Path("handouts"), help="folder")
    options = parser.parse_args()

    try:
        if options.command == "build":
            return build(ROOT, stored=options.stored, jobs=options.jobs)
        if options.command == "sync":
            sync(ROOT, options.names, jobs=options.jobs)
        if options.command == "handout":
            for chapter in named(ROOT, options.names, ".ipynb"):
                if written := hand_out(chapter, options.out):
                    print(f"{written[0]}, and its solutions in {written[1].name}")
                elif options.names:
                    print(f"{chapter.name} has no exercises.")
            return 0
    except (NotebookFailedError, ValueError) as failure:
        print(failure, file=sys.stderr)
        return 1
    return report(all_problems(ROOT))


def build(root: Path, stored: bool, jobs: int) -> int:
    """Build ``_build/html`` from copies of the notebooks, which are run first unless ``stored``.

    The committed notebooks are read only: what a run changes, it changes in ``_build/src``.
    """
    begun = time.monotonic()
    source = root / "_build" / "src"
    shutil.rmtree(source, ignore_errors=True)
    source.mkdir(parents=True)
    for name in ("_config.yml", "_toc.yml"):
        shutil.copy(root / name, source)
    shutil.copytree(
        root / "book",
        source / "book",
        ignore=shutil.ignore_patterns(".ipynb_checkpoints", "_build"),
    )
    if not stored:
        notebooks = {path: read(path) for path in chapters(source)}
        run_all(notebooks, jobs)
        for path, notebook in notebooks.items():
            nbformat.write(notebook, path)

    # Strict: every warning and every reference that leads nowhere fails; all of them are shown.
    jupyter_book = Path(sys.executable).with_name("jupyter-book")
    strict = ["--warningiserror", "--nitpick", "--keep-going", "--all", "--quiet"]
    built = subprocess.run(
        [jupyter_book, "build", source, "--path-output", root, *strict],
        stdout=subprocess.DEVNULL,  # its closing banner repeats the line below
        check=False,
    )
    if built.returncode:
        print(
            "The book must build without a warning, but the build printed the ones above: "
            "mend the pages that they name.",
            file=sys.stderr,
        )
        return 1
    took = time.monotonic() - begun
    print(f"The book was built in {took:.0f} s: {(root / '_build/html/index.html').as_uri()}")
    return 0


def sync(root: Path, names: Sequence[str], jobs: int) -> None:
    """Make each ``book/NAME.ipynb`` from ``book/NAME.py`` and store the outputs of a run.

    Without ``names``, all of them.
    """
    scripts = named(root, names, ".py")
    notebooks = {script.with_suffix(".ipynb"): from_script(script) for script in scripts}
    run_all(notebooks, jobs)
    for path, notebook in notebooks.items():
        # The exact Python would change the file with every maintainer's machine.
        notebook.metadata.get("language_info", {}).pop("version", None)
        nbformat.write(notebook, path)


def named(root: Path, names: Sequence[str], ending: str) -> list[Path]:
    """The halves of these chapters that end so; of all of them without ``names``."""
    found = sorted((root / "book").glob(f"*{ending}"))
    if unknown := sorted(set(names) - {path.stem for path in found}):
        raise ValueError(
            f"there is no chapter {', '.join(unknown)}; the chapters are "
            f"{', '.join(path.stem for path in found)}."
        )
    return [path for path in found if not names or path.stem in names]


def from_script(script: Path) -> NotebookNode:
    """The notebook that the py:percent file ``script`` describes, without outputs."""
    notebook = jupytext.read(script, fmt="py:percent")
    notebook.metadata["kernelspec"] = {
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
        "name": "python3",
    }
    notebook.metadata["jupytext"] = {"formats": PAIRING}
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    # Random ids would change every cell with every sync; these change only with the cell's text.
    seen: dict[str, int] = {}
    for cell in notebook.cells:
        digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:8]
        seen[digest] = seen.get(digest, 0) + 1
        cell["id"] = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"
    return notebook


def report(problems: list[str]) -> int:
    """Print the problems; 1 if there are any, else 0."""
    for problem in problems:
        print(problem, file=sys.stderr)
    if not problems:
        print("The book's pairs, outputs, figures and contents are in order.")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
