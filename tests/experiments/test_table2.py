"""Table 2: quotations stay quotations, and only what was run is ours."""

import math
from pathlib import Path

import pytest

from occfer.experiments import paper, table2
from occfer.experiments.field import FIELD
from occfer.experiments.rows import ROWS, table1_pretraining
from occfer.experiments.study import Study

RESULTS = Path(__file__).resolve().parents[2] / "book" / "results"


def test_without_records_ours_is_not_run_and_theirs_is_a_dash(tmp_path: Path) -> None:
    table = table2.rows(Study("fer2013", "paper", tmp_path))
    assert [row.result for row in table] == [
        "not run" if method in ("SimCLR", "the paper") else "–" for method in paper.TABLE2
    ]
    text = table2.as_markdown(table, "fer2013", "paper")
    assert text.count("not run") == 2
    assert len(text.splitlines()) == 2 + len(paper.TABLE2)


def test_every_number_stands_beside_whose_it_is(tmp_path: Path) -> None:
    for data in ("rafdb", "fer2013"):
        for row, (method, numbers) in zip(
            table2.rows(Study(data, "paper", tmp_path)), paper.TABLE2.items(), strict=True
        ):
            assert row.quoted == numbers[data]
            # §3.4 takes all numbers but SimCLR's and its own from other papers.
            own = method in ("SimCLR", "the paper")
            named = "the paper" if own else "the paper, quoting"
            assert row.whose == ("–" if numbers[data] is None else named)
    for data in ("rafdb", "fer2013", "ferplus-occluded"):
        quotes = table2.field(data)
        assert [row.quoted for row in quotes] == sorted(q.accuracy for q in FIELD if q.data == data)
        assert all(row.whose and row.ours is None and row.result == "–" for row in quotes)


def test_ours_are_the_runs_of_table_1() -> None:
    study = Study("fer2013", "laptop", RESULTS)
    table = {row.method: row for row in table2.rows(study)}
    ours = table["the method"].ours
    assert ours.row == "OCL+Res18+FGW+LGDS"
    found = study.recorded(ours.row)
    assert [record.name for record in ours.records] == [record.name for record in found]
    assert len(ours.records) > 0
    line = table2.as_markdown([table["the method"]], "fer2013", "laptop").splitlines()[-1]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[3:5] == [ours.result, str(len(ours.records))]


def test_what_is_run_for_table_2_is_contrast_without_and_with_occlusion() -> None:
    assert set(table2.ROWS) <= set(ROWS)
    simclr, method = (table1_pretraining(row, "paper") for row in table2.ROWS)
    assert (simclr.views.occlusion, method.views.occlusion) == (0.0, 0.5)


@pytest.mark.parametrize(("accuracy", "faces", "known"), [(87.14, 3068, 0.60), (71.63, 3589, 0.75)])
def test_one_standard_error_of_the_papers_best_row(accuracy, faces, known) -> None:
    assert table2.standard_error(accuracy, faces) == pytest.approx(known, abs=0.005)
    assert table2.standard_error(50, 100) == pytest.approx(100 * math.sqrt(0.25 / 100))
