"""The page on the engine shows what its records hold, also those of a GPU once they are there."""

import json
import os
import shutil
from pathlib import Path

import IPython.display
import jupytext
import matplotlib.pyplot as plt
import pytest

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "book" / "results"
NAMES = ("views", "pretraining", "regions")
pytestmark = pytest.mark.slow


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder as the page finds it, without records of a GPU."""
    for name in ("scale", "kills", "cut-short"):
        shutil.copytree(RESULTS / name, tmp_path / "results" / name)
    (tmp_path / "results" / "table1").mkdir()
    for path in (RESULTS / "table1").glob("fer2013-paper-*"):
        shutil.copy(path, tmp_path / "results" / "table1")
    for path in (tmp_path / "results" / "scale").glob("*-cuda.json"):
        path.unlink()
    return tmp_path


def run_on_a_gpu(place: Path, name: str, gpu: str = "GPU of a test", compiled: bool = False) -> int:
    """Write NAME-cuda.json, of rows that are not run in NAME.json; how many they are."""
    scale = place / "results" / "scale"
    found = json.loads((scale / f"{name}.json").read_text())
    rows = [row for row in found["rows"] if row["device"] == "cuda"]
    for row in rows:
        row |= {
            "ratio": 7.25, "ours_per_second": 98765.0, "peer_per_second": 12345.0,
            "seconds": [[1.0, 7.0], [1.0, 7.5]], "pictures": 1000, "billions_of_operations": 6000.0,
            "milliseconds_of_parts": {"two views": 1.25}, "operators": {"ours": {}, "theirs": {}},
        }  # fmt: skip
    found["environment"]["device"], found["matmul"]["cuda"] = gpu, 600_000.0
    found |= {"rows": rows, "networks compiled": compiled}
    (scale / f"{name}-cuda.json").write_text(json.dumps(found))
    return len(rows)


def shown(place: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """All text that the page's cells display."""
    words: list[str] = []
    monkeypatch.chdir(place)
    monkeypatch.setattr(IPython.display, "display", lambda each: words.append(each.data))
    monkeypatch.setattr(plt, "show", lambda: plt.close("all"))
    page = jupytext.read(ROOT / "book" / "engine.py")
    cells = [cell for cell in page.cells if cell.cell_type == "code"]
    scope: dict = {}
    for cell in cells:
        if not {"colab", "nbval-ignore-output"} & set(cell.metadata.get("tags", [])):
            exec(cell.source, scope)
    assert os.getcwd() == str(place)
    return "\n".join(words)


def lines(text: str, word: str) -> list[str]:
    return [line for line in text.splitlines() if word in line]


def test_what_no_gpu_has_run_is_said(place, monkeypatch) -> None:
    text = shown(place, monkeypatch)
    rows = lines(text, "| CUDA |")
    assert len(rows) == 7
    assert all(row.endswith("| not run |") for row in rows)
    assert "The rows that ask for a GPU are not run yet." in text
    assert lines(text, "Measured on") == [
        "*Measured on 2 cores of an AMD EPYC, where both sides train in bfloat16.*"
    ]


def test_records_of_a_gpu_stand_beside_those_of_the_processor(place, monkeypatch) -> None:
    without = shown(place, monkeypatch)
    assert sum(run_on_a_gpu(place, name) for name in NAMES) == 7
    text = shown(place, monkeypatch)
    rows = lines(text, "| CUDA |")
    assert len(rows) == 7
    assert all("| 98,765 | 12,345 | 7.25 | 7.00 to 7.50 |" in row for row in rows)
    met = {line.split(" | ")[0]: line.endswith("| met |") for line in rows}
    assert met["| OCL epoch"]
    assert not met["| ResNet18 OCL views, 112 px, bf16"]
    assert "not run" not in text
    assert "on CUDA, on one GPU of a test, with no network compiled" in text
    assert "| OCL epoch, on the GPU | 6.00 | 592,590 | 74,070 | 600,000 |" in text
    assert "OCL epoch, on the GPU.** One after the other its parts take: two views 1.2 ms." in text
    assert lines(text, "| CPU |") == lines(without, "| CPU |")


def test_what_is_left_to_run_is_counted(place, monkeypatch) -> None:
    run_on_a_gpu(place, "regions", compiled=True)
    text = shown(place, monkeypatch)
    assert "5 of the 7 rows that ask for a GPU are not run yet." in text
    assert "with the networks of both sides compiled" in text


@pytest.mark.parametrize("other", [{"gpu": "another"}, {"compiled": True}])
def test_rows_of_several_machines_are_no_table(place, monkeypatch, other) -> None:
    run_on_a_gpu(place, "regions")
    run_on_a_gpu(place, "pretraining", **other)
    with pytest.raises(AssertionError, match="the rows on CUDA come from several machines"):
        shown(place, monkeypatch)
