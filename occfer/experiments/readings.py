"""Readings of one text: the method with one other choice at a time (chapter 11).

Where the paper leaves something open, an implementation chooses. Each run here changes one choice
and keeps all else: of the whole method, which starts from Table 1's encoder, or of the pre-training
of OCL+Res18. The runs are short, for they are compared with each other alone. They are scored on
the validation split: who prefers a reading selects it, and the test split selects nothing.
"""

from occfer.engine.evaluate import evaluate
from occfer.engine.records import Record, make_record
from occfer.experiments import methods, table1
from occfer.experiments.study import Study
from occfer.recipes import as_dict

EXPERIMENT = "readings"


def run_reading(row: str, splits: table1.Splits, study: Study, seed: int = 0) -> Record:
    """Train the method in one reading and score it on the validation split; skip it where recorded.

    The arguments are those of :func:`table1.run_row`. Of the epochs the best one on the same split
    was kept, so that every accuracy is a little too high.
    """
    path = study.record(row, seed, EXPERIMENT)
    if path.exists():
        return Record.load(path)
    trained = methods.trained_network(row, splits, study, seed)
    record = make_record(
        EXPERIMENT,
        study.name(row, seed),
        as_dict(trained.recipe),
        {"train": splits.train.describe(), "validation": splits.validation.describe()},
        trained.history,
        trained.seconds,
        evaluate(trained.model, splits.validation),
        tier=study.tier,
        row=row,
        scored="validation",
        **trained.chosen,
    )
    record.save(study.results)
    return record
