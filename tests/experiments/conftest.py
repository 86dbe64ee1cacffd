"""SynthFER so small that a seed of Table 1 takes seconds."""

import pytest

from occfer import load_faces, recipes
from occfer.experiments import budget, table1
from occfer.recipes import NetworkRecipe


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """A narrow network and the first of SynthFER's people, so that a seed takes seconds."""
    network = NetworkRecipe(width=8, stem="small", size=24)
    monkeypatch.setitem(recipes.NETWORKS, "smoke", network)
    epochs = {
        "pretrain": dict(epochs=24, batch_size=32, learning_rate=1e-3),
        "finetune": dict(epochs=4, batch_size=32, learning_rate=1e-3, patience=4),
    }
    monkeypatch.setitem(recipes.BUDGETS, "smoke", epochs)
    splits = [load_faces("synthfer", split, size=24) for split in ("train", "val", "test")]
    few = table1.Splits(splits[0][:96], splits[1][:32], splits[2][:32])
    monkeypatch.setattr(table1, "load_splits", lambda data, root: few)
    monkeypatch.setattr(budget, "BATCHES", {"cpu": 1, "cuda": 1})
