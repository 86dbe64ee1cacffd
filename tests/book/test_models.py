"""The network that comes with the book is the one whose record its card quotes."""

import json
from pathlib import Path

import numpy as np
import pytest

from occfer.data import load_faces
from occfer.engine.evaluate import evaluate
from occfer.engine.models import load_model
from occfer.engine.records import Record
from occfer.experiments.figure3 import cover, masked
from occfer.modelcard import model_card

BOOK = Path(__file__).parents[2] / "book"
NETWORK = BOOK / "models" / "synthfer"
NAME = "synthfer-laptop-OCL+Res18+FGW+LGDS-seed2"


@pytest.fixture(scope="module")
def record() -> Record:
    return Record.load(BOOK / "results" / "figure3" / f"{NAME}.json")


@pytest.fixture(scope="module")
def model():
    return load_model(NETWORK)


@pytest.mark.parametrize("condition", ["0", "30", "surgical_mask"])
def test_it_says_what_the_record_says(record, model, condition) -> None:
    """Of every tenth face; rounding differs between processors, and half precision was stored."""
    test = load_faces("synthfer", "test")
    ids = test.ids[::10]
    faces = {"0": lambda: test, "30": lambda: cover(test, 0.3)}.get(
        condition, lambda: masked(test)
    )()
    said, recorded = evaluate(model, faces[::10]), record.predictions[condition]
    assert said.ids == ids
    chosen = np.isin(recorded.ids, ids)
    assert chosen.sum() == len(ids)
    assert np.abs(said.probabilities - recorded.probabilities[chosen]).max() < 2e-3


def test_its_card_quotes_that_record(record) -> None:
    values = record.values
    kept = {role: values["data"][role] for role in ("train", "validation", "test, 0 %")}
    quoted = values | {"metrics": values["metrics"]["0"], "scored": "test, 0 %", "data": kept}
    words = json.loads((NETWORK / "config.json").read_text())
    assert (NETWORK / "README.md").read_text() == model_card(words, quoted)
    assert words["recipe"] == values["recipe"]
