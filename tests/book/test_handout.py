"""What students get holds every exercise and no solution; what teachers get holds both."""

import re
from pathlib import Path

import nbformat
import pytest

from tools.book import checks
from tools.book.handout import ANSWERS, hand_out, split

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = [path for path in checks.chapters(ROOT) if checks.chapter_number(path)]
BLOCK = re.compile(r"^(`{3,})\{(exercise|solution)\}(.*?)^\1 *$", re.MULTILINE | re.DOTALL)


@pytest.fixture(params=CHAPTERS, ids=lambda path: path.stem)
def chapter(request) -> Path:
    return request.param


def blocks(chapter: Path, kind: str) -> list[str]:
    """Their lines, without the options at the top."""
    cells = (cell.source for cell in checks.read(chapter).cells if cell.cell_type == "markdown")
    found = [block for source in cells for block in BLOCK.findall(source) if block[1] == kind]
    return [
        "\n".join(line for line in text.split("\n")[1:] if not line.startswith(":")).strip()
        for _, _, text in found
    ]


def test_students_get_every_exercise_and_no_solution(chapter, tmp_path) -> None:
    for_students, for_teacher = (checks.read(path) for path in hand_out(chapter, tmp_path))
    nbformat.validate(for_students)
    nbformat.validate(for_teacher)
    theirs, ours = (
        "\n".join(cell.source for cell in each.cells) for each in (for_students, for_teacher)
    )
    exercises, solutions = blocks(chapter, "exercise"), blocks(chapter, "solution")
    assert len(exercises) == len(solutions) > 0
    assert all(text in theirs and text in ours for text in exercises)
    assert all(text in ours and text not in theirs for text in solutions)
    assert "{solution}" not in theirs
    assert "{exercise}" not in theirs
    assert not re.search(r"^### Exercise:\s*$", theirs, re.MULTILINE)  # some have no title


def test_each_exercise_has_room_to_answer_that_nbgrader_knows(chapter, tmp_path) -> None:
    path, _ = hand_out(chapter, tmp_path)
    asked = [cell for cell in checks.read(path).cells if "nbgrader" in cell.metadata]
    assert len(asked) == len(ANSWERS) * len(blocks(chapter, "exercise"))
    ids = [cell.metadata.nbgrader.grade_id for cell in asked]
    assert len(set(ids)) == len(ids)
    for cell in asked:
        assert cell.metadata.nbgrader.solution
        assert cell.metadata.nbgrader.grade


def test_all_else_stands_where_it_stood(chapter) -> None:
    """Code and prose of the chapter are handed out as they are, but for code that solves."""
    cells = checks.read(chapter).cells
    handed_out, solutions = split(cells)
    code = [cell for cell in cells if cell.cell_type == "code"]
    kept = [
        cell for cell in handed_out if cell.cell_type == "code" and "nbgrader" not in cell.metadata
    ]
    moved = [cell for cell in solutions if cell.cell_type == "code"]
    assert [cell for cell in code if cell not in moved] == kept
    assert len(moved) <= 1
    prose = "\n".join(cell.source for cell in handed_out if cell.cell_type == "markdown")
    for cell in cells:
        if cell.cell_type == "markdown":
            assert BLOCK.sub("", cell.source).strip("\n").split("\n\n")[0] in prose


def test_a_handout_is_the_same_each_time(chapter, tmp_path) -> None:
    first, second = (hand_out(chapter, tmp_path / name)[0].read_bytes() for name in "ab")
    assert first == second


def test_a_page_without_exercises_is_left_out(tmp_path) -> None:
    assert hand_out(ROOT / "book" / "engine.ipynb", tmp_path) is None
    assert not list(tmp_path.iterdir())
