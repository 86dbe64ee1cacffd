"""What every page of the book keeps to."""

from pathlib import Path

import pytest

from tools.book import checks

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = checks.chapters(ROOT)

every_chapter = pytest.mark.parametrize("path", CHAPTERS, ids=[path.stem for path in CHAPTERS])


def test_there_is_a_book() -> None:
    assert CHAPTERS


def test_contents_list_every_page_and_no_other() -> None:
    assert checks.toc_problems(ROOT) == []


@every_chapter
def test_script_and_notebook_hold_the_same_cells(path: Path) -> None:
    assert checks.pair_problems(path) == []


@every_chapter
@pytest.mark.parametrize(
    "check",
    [
        checks.metadata_problems,
        checks.output_problems,
        checks.figure_problems,
        checks.trace_problems,
    ],
)
def test_notebook_is_fit_to_be_read(path: Path, check) -> None:
    assert check(checks.read(path), path.name) == []


def test_the_cell_for_colab_is_one_everywhere() -> None:
    """Chapter 12 also installs Ray; else a change in one page would be forgotten in another."""
    cells = set()
    for path in CHAPTERS:
        [cell] = [c for c in checks.read(path).cells if "colab" in c.metadata.get("tags", [])]
        assert 'os.chdir("occfer/book")' in cell.source, path.stem
        if path.stem != "12-more-machines":
            cells.add(cell.source)
    assert len(cells) == 1


@every_chapter
def test_no_result_is_typed_into_prose(path: Path) -> None:
    if checks.chapter_number(path) >= checks.FIRST_RESULTS_CHAPTER:
        assert checks.prose_problems(checks.read(path), path.name) == []
