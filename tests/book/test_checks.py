"""Each check of the book finds the fault it is for: a sound little book, broken in one place."""

from collections.abc import Callable
from pathlib import Path

import jupytext
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tools.book import checks
from tools.book.__main__ import build, from_script
from tools.book.execute import NotebookFailedError, run_all

REPOSITORY = Path(__file__).resolve().parents[2]
NAME = "07-training"
SCRIPT = """\
# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Training
#
# The weight is $0.5\\,\\%$ of nothing.
#
# > "an accuracy of 87.14 %", the paper says

# %%
print("faces")

# %% mystnb={"image": {"alt": "A line that rises"}}
1 + 1
"""


@pytest.fixture
def book(tmp_path: Path) -> Path:
    """A book of one chapter with nothing wrong."""
    folder = tmp_path / "book"
    folder.mkdir()
    (tmp_path / "_toc.yml").write_text(
        f"format: jb-book\nroot: book/intro\nparts:\n- chapters:\n  - file: book/{NAME}\n"
    )
    (folder / "intro.md").write_text("# A book\n")
    (folder / f"{NAME}.py").write_text(SCRIPT)
    notebook = from_script(folder / f"{NAME}.py")
    text, picture = (cell for cell in notebook.cells if cell.cell_type == "code")
    text.execution_count, picture.execution_count = 1, 2
    text.outputs = [new_output("stream", name="stdout", text="faces\n")]
    picture.outputs = [new_output("display_data", data={"image/png": "iVBORw0KGgo="})]
    nbformat.write(notebook, folder / f"{NAME}.ipynb")
    return tmp_path


def edit(book: Path, change: Callable[[nbformat.NotebookNode], None]) -> None:
    """Change the chapter's notebook and its script alike, so that they stay a pair."""
    path = book / "book" / f"{NAME}.ipynb"
    notebook = checks.read(path)
    change(notebook)
    nbformat.write(notebook, path)
    jupytext.write(notebook, path.with_suffix(".py"), fmt="py:percent")


def the_problem(book: Path) -> str:
    """The one problem of a book broken in one place."""
    [problem] = checks.all_problems(book)
    return problem


def test_a_sound_book_has_no_problems(book: Path) -> None:
    assert checks.all_problems(book) == []


@pytest.mark.parametrize(
    ("before", "after", "part"),
    [
        ('print("faces")', 'print("other faces")', "source"),
        ("A line that rises", "A line that falls", "metadata"),
        ("# %% [markdown]", "# %%", "cell_type"),
    ],
)
def test_a_changed_script_breaks_the_pair(book: Path, before: str, after: str, part: str) -> None:
    script = book / "book" / f"{NAME}.py"
    script.write_text(script.read_text().replace(before, after, 1))
    assert f"differs from {NAME}.py in its {part}" in the_problem(book)


def test_an_added_cell_breaks_the_pair(book: Path) -> None:
    script = book / "book" / f"{NAME}.py"
    script.write_text(script.read_text() + "\n# %%\nx = 1\n")
    assert "has 3 cells" in the_problem(book)


def test_a_notebook_without_a_script_is_no_pair(book: Path) -> None:
    (book / "book" / f"{NAME}.py").unlink()
    assert f"expected {NAME}.py" in the_problem(book)


def test_a_page_outside_the_contents_is_found(book: Path) -> None:
    (book / "book" / "forgotten.md").write_text("# Forgotten\n")
    assert "book/forgotten: is not in _toc.yml" in the_problem(book)


def test_a_listed_page_that_is_missing_is_found(book: Path) -> None:
    (book / "book" / "intro.md").unlink()
    assert "lists 'book/intro'" in the_problem(book)


def test_another_kernel_is_found(book: Path) -> None:
    edit(book, lambda notebook: notebook.metadata.kernelspec.update(name="my-env"))
    assert "expected the kernel python3, but it names my-env" in the_problem(book)


def test_a_missing_pairing_is_found(book: Path) -> None:
    path = book / "book" / f"{NAME}.ipynb"
    notebook = checks.read(path)
    del notebook.metadata["jupytext"]
    nbformat.write(notebook, path)
    assert "expected the jupytext formats" in the_problem(book)


def test_a_cell_that_was_not_run_is_found(book: Path) -> None:
    edit(book, lambda notebook: notebook.cells[1].update(execution_count=None, outputs=[]))
    assert "cell 1 was never run" in the_problem(book)


def test_a_notebook_without_outputs_is_found(book: Path) -> None:
    def empty(notebook: nbformat.NotebookNode) -> None:
        for cell in notebook.cells[1:]:
            cell.outputs = []

    edit(book, empty)
    assert "no stored outputs" in the_problem(book)


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        (new_output("error", ename="ValueError", evalue="no", traceback=[]), "ValueError: no"),
        (new_output("stream", name="stderr", text="UserWarning: hm\n"), "UserWarning: hm"),
        (new_output("stream", name="stdout", text="/home/me/faces/1.png"), "/home/me"),
        (new_output("display_data", data={"text/html": f"<b>{Path.home()}</b>"}), "one machine"),
    ],
)
def test_an_output_nobody_should_read_is_found(
    book: Path, output: nbformat.NotebookNode, sentence: str
) -> None:
    edit(book, lambda notebook: notebook.cells[1].outputs.append(output))
    assert sentence in the_problem(book)


def test_a_relative_path_or_an_address_is_no_trace(book: Path) -> None:
    text = "book/results/home.json https://example.org/home/me 3/tmp/x"
    output = new_output("stream", name="stdout", text=text)
    edit(book, lambda notebook: notebook.cells[1].outputs.append(output))
    assert checks.all_problems(book) == []


def test_a_figure_without_a_description_is_found(book: Path) -> None:
    edit(book, lambda notebook: notebook.cells[2].metadata.pop("mystnb"))
    assert "draws a picture" in the_problem(book)


def test_a_picture_in_text_without_a_description_is_found(book: Path) -> None:
    edit(book, lambda notebook: notebook.cells.append(new_markdown_cell("![](face.png)")))
    assert "without a description" in the_problem(book)


@pytest.mark.parametrize(
    "result", ["71.63 %", "71.63%", "71.63 percent", r"71.63 \%", "1.2 percentage points"]
)
def test_a_result_typed_into_prose_is_found(book: Path, result: str) -> None:
    edit(book, lambda notebook: notebook.cells.append(new_markdown_cell(f"We reach {result}.")))
    assert result in the_problem(book)


def test_from_script_gives_the_same_notebook_every_time(book: Path) -> None:
    script = book / "book" / f"{NAME}.py"
    assert from_script(script) == from_script(script)
    script.write_text(script.read_text() + '\n# %%\nprint("faces")\n')
    ids = [cell.id for cell in from_script(script).cells]
    assert len(set(ids)) == len(ids)


def test_a_failing_cell_stops_the_run_and_is_shown(tmp_path: Path) -> None:
    notebook = new_notebook(cells=[new_markdown_cell("# A"), new_code_cell("int('seven')")])
    with pytest.raises(NotebookFailedError) as failure:
        run_all({tmp_path / "bad.ipynb": notebook}, jobs=1)
    assert "bad.ipynb failed in its cell 1:\n\n    int('seven')" in str(failure.value)
    assert "ValueError: invalid literal" in str(failure.value)


def test_a_dead_kernel_is_told_by_its_cell(tmp_path: Path) -> None:
    cells = [new_code_cell("x = 1"), new_code_cell("import os; os._exit(3)"), new_code_cell("x")]
    with pytest.raises(NotebookFailedError, match=r"lost its Python .* in its cell 1:"):
        run_all({tmp_path / "dead.ipynb": new_notebook(cells=cells)}, jobs=1)


def test_a_notebook_over_its_time_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OCCFER_TIER", "smoke")
    monkeypatch.setattr("tools.book.execute.SMOKE_LIMIT_S", 1)
    notebook = new_notebook(
        cells=[new_code_cell("x = 1"), new_code_cell("import time\ntime.sleep(60)")]
    )
    with pytest.raises(NotebookFailedError, match=r"finish within 1 s.* in its cell 1:"):
        run_all({tmp_path / "slow.ipynb": notebook}, jobs=1)


def test_a_run_replaces_what_was_stored(book: Path) -> None:
    path = book / "book" / f"{NAME}.ipynb"
    notebook = checks.read(path)
    notebook.cells[1].outputs[0].text = "stale\n"
    run_all({path: notebook}, jobs=1)
    assert notebook.cells[1].outputs[0].text == "faces\n"
    assert notebook.cells[2].outputs[0].data["text/plain"] == "2"


@pytest.mark.parametrize(
    ("text", "code"), [("# A book\n", 0), ("# A book\n\n[nowhere](missing.md)\n", 1)]
)
def test_the_build_refuses_warnings(book: Path, text: str, code: int) -> None:
    (book / "_config.yml").write_text((REPOSITORY / "_config.yml").read_text())
    (book / "book" / "references.bib").write_text("")
    static = book / "book" / "_static"
    static.mkdir()
    for name in ("occfer.css", "logo.svg"):
        (static / name).write_bytes((REPOSITORY / "book" / "_static" / name).read_bytes())
    (book / "book" / "intro.md").write_text(text)
    committed = (book / "book" / f"{NAME}.ipynb").read_bytes()
    assert build(book, stored=True, jobs=1) == code
    assert (book / "book" / f"{NAME}.ipynb").read_bytes() == committed
