"""Readings of one text: the method with one other choice at a time (chapter 11).

Where the paper leaves something open, an implementation chooses. Each run here changes one choice
and keeps all else: of the whole method, which starts from Table 1's encoder, or of the pre-training
of OCL+Res18. The runs are short, for they are compared with each other alone. They are scored on
the validation split: who prefers a reading selects it, and the test split selects nothing.
"""

from pathlib import Path

from occfer.engine.evaluate import evaluate
from occfer.engine.records import Record, make_record
from occfer.experiments import methods, table1
from occfer.recipes import TIER, Tier, as_dict

EXPERIMENT = "readings"


def run_reading(
    row: str,
    splits: table1.Splits,
    data: str,
    tier: Tier = TIER,
    seed: int = 0,
    results: Path = table1.RESULTS,
    runs: Path = Path("runs"),
) -> Record:
    """Train the method in one reading and score it on the validation split; skip it where recorded.

    The arguments are those of :func:`table1.run_row`. Of the epochs the best one on the same split
    was kept, so that every accuracy is a little too high.
    """
    name = table1.record_name(data, tier, row, seed)
    path = results / EXPERIMENT / f"{name}.json"
    if path.exists():
        return Record.load(path)
    trained = methods.trained_network(row, splits, data, tier, seed, results, runs)
    record = make_record(
        EXPERIMENT,
        name,
        as_dict(trained.recipe),
        {"train": splits.train.describe(), "validation": splits.validation.describe()},
        trained.history,
        trained.seconds,
        evaluate(trained.model, splits.validation),
        tier=tier,
        row=row,
        scored="validation",
        **trained.chosen,
    )
    record.save(results)
    return record
