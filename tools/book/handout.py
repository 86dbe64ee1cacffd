"""A chapter as an assignment: its exercises without their solutions, and room to answer each.

The answer cells carry nbgrader's metadata for what a person grades, so that whoever uses nbgrader
can take the notebook as a source; for everybody else it is a notebook like any other.
"""

import copy
import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell

from tools.book.checks import read

_BLOCK = re.compile(
    r"^(?P<fence>`{3,})\{(?P<kind>exercise|solution)\}[ ]*(?P<title>[^\n]*)\n"
    r"(?P<body>.*?)^(?P=fence)[ ]*$\n?",
    re.MULTILINE | re.DOTALL,
)
_OPTION = re.compile(r"^:(\w+):[ ]*(.*)\n?", re.MULTILINE)
ANSWERS = {
    "code": "# Your code. More cells may follow.",
    "words": "*Your answer in words, which also says what the numbers above mean.*",
}


def hand_out(chapter: Path, folder: Path) -> tuple[Path, Path] | None:
    """Write ``NAME.ipynb`` for the students and ``NAME-solutions.ipynb`` for the teacher; None and
    nothing where the chapter has no exercise.

    Args:
        chapter: a notebook of the book, with its outputs.
        folder: made where it is missing.
    """
    notebook = read(chapter)
    for_students, for_teacher = copy.deepcopy(notebook), copy.deepcopy(notebook)
    for_students.cells, for_teacher.cells = split(notebook.cells)
    if not for_teacher.cells:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    written = folder / chapter.name, folder / f"{chapter.stem}-solutions.ipynb"
    for path, each in zip(written, (for_students, for_teacher), strict=True):
        each.metadata.pop("jupytext", None)  # it has no half as a script
        nbformat.write(each, path)
    return written


def split(cells: list[NotebookNode]) -> tuple[list[NotebookNode], list[NotebookNode]]:
    """The cells to hand out, and those of the solutions.

    Code that follows a solution at once belongs to it.
    """
    handed_out: list[NotebookNode] = []
    solutions: list[NotebookNode] = []
    solved = False
    for cell in cells:
        if cell.cell_type == "markdown":
            solved = False
            for kind, text, label in _pieces(cell.source):
                solved = kind == "solution"
                if solved:
                    solutions.append(new_markdown_cell(text, id=_id(label, "solution")))
                elif kind == "exercise":
                    solutions.append(new_markdown_cell(text, id=_id(label, "question")))
                    handed_out.append(new_markdown_cell(text, id=_id(label, "exercise")))
                    handed_out += [_answer(label, form) for form in ANSWERS]
                elif text == cell.source:
                    handed_out.append(cell)
                elif text.strip():
                    place = f"{cell.id}-{len(handed_out)}"
                    handed_out.append(new_markdown_cell(text.strip("\n"), id=place))
        elif solved:
            solutions.append(cell)
        else:
            handed_out.append(cell)
    return handed_out, solutions


def _pieces(source: str) -> Iterator[tuple[str, str, str]]:
    """Kind, text and label of what a markdown cell consists of, in its order."""
    end = 0
    for block in _BLOCK.finditer(source):
        if block.start() > end:
            yield "prose", source[end : block.start()], ""
        options, title = dict(_OPTION.findall(block["body"])), block["title"].strip()
        text = _OPTION.sub("", block["body"]).strip("\n")
        if block["kind"] == "exercise":
            heading = f"### Exercise: {title}" if title else "### Exercise"
            yield "exercise", f"{heading}\n\n{text}", options["label"]
        else:
            yield "solution", f"**Solution.** {text}", title
        end = block.end()
    if source[end:]:
        yield "prose", source[end:], ""


def _answer(label: str, form: str) -> NotebookNode:
    new = new_code_cell if form == "code" else new_markdown_cell
    cell = new(ANSWERS[form], id=_id(label, form))
    cell.metadata["nbgrader"] = {
        "schema_version": 3, "grade_id": f"{label}-{form}", "points": 1,
        "grade": True, "solution": True, "locked": False, "task": False,
    }  # fmt: skip
    return cell


def _id(label: str, of: str) -> str:
    return f"{label}-{of}"[:64]
