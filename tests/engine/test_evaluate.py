import math
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
)
from torch import nn

from occfer.emotions import EMOTIONS
from occfer.engine.evaluate import Predictions, evaluate
from occfer.fgw import PlainOutput

counts = st.integers(1, 60)
seeds = st.integers(0, 2**31)


def made_up(count: int, seed: int = 0, classes: int = 7) -> Predictions:
    """Random predictions on faces of the first ``classes`` expressions."""
    chance = np.random.default_rng(seed)
    logits = chance.normal(size=(count, 7))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    targets = chance.integers(classes, size=count)
    ids = tuple(f"face-{n}" for n in range(count))
    return Predictions(ids, targets, probabilities.astype(np.float32))


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true:UserWarning")
@pytest.mark.filterwarnings("ignore:A single label was found:UserWarning")
@given(count=counts, seed=seeds, classes=st.integers(1, 7))
def test_metrics_are_scikit_learn_s(count, seed, classes) -> None:
    found = made_up(count, seed, classes)
    truth, said = found.targets, found.probabilities.argmax(axis=1)
    metrics = found.metrics()
    assert metrics["count"] == count
    assert metrics["accuracy"] == pytest.approx(accuracy_score(truth, said))
    assert metrics["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(truth, said))
    assert metrics["confusion"] == confusion_matrix(truth, said, labels=range(7)).tolist()
    present = sorted(set(truth.tolist()))
    macro = f1_score(truth, said, labels=present, average="macro", zero_division=0)
    assert metrics["macro_f1"] == pytest.approx(macro)
    assert list(metrics["f1"]) == list(EMOTIONS)
    for label in present:
        one = f1_score(truth == label, said == label, zero_division=0)
        assert metrics["f1"][EMOTIONS[label]] == pytest.approx(one)


@given(count=counts, seed=seeds)
def test_the_interval_is_wilson_s(count, seed) -> None:
    found = made_up(count, seed)
    p, z = found.accuracy, 1.959963984540054
    centre = (p + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * math.sqrt(p * (1 - p) / count + z**2 / (4 * count**2))
    assert found.metrics()["accuracy_interval_95"] == pytest.approx(
        [centre - half, centre + half], abs=1e-9
    )


def test_a_wider_confidence_is_a_wider_interval() -> None:
    found = made_up(100)
    (low, high), (lower, higher) = found.interval(0.9), found.interval(0.99)
    assert lower < low < found.accuracy < high < higher


@given(count=counts, seed=seeds, bins=st.integers(1, 30))
def test_the_calibration_error_face_by_face(count, seed, bins) -> None:
    """As Guo et al. write it, with loops: bins ((m − 1) / M, m / M]."""
    found = made_up(count, seed)
    error = 0.0
    for m in range(1, bins + 1):
        inside = [
            (float(p.max()), p.argmax() == target)
            for p, target in zip(found.probabilities, found.targets, strict=True)
            if (m - 1) / bins < p.max() <= m / bins
        ]
        if inside:
            confidence, right = (sum(each) / len(inside) for each in zip(*inside, strict=True))
            error += len(inside) / count * abs(right - confidence)
    assert found.calibration_error(bins) == pytest.approx(error)


def test_the_calibration_error_of_known_confidences() -> None:
    """Two bins. Of four faces at 0.5 or less three are right; the one above is sure and wrong."""
    probabilities = np.full((5, 7), 0.0, np.float32)
    probabilities[:, 1] = (0.5, 0.5, 0.25, 0.25, 1.0)
    probabilities[:2, 0] = probabilities[:2, 2] = 0.25
    probabilities[2:4, 2:5] = 0.25
    found = Predictions(tuple("abcde"), np.array([1, 1, 1, 3, 6]), probabilities)
    assert found.labels.tolist() == [1, 1, 1, 1, 1]
    assert found.calibration_error(2) == pytest.approx((4 * abs(0.75 - 0.375) + 1) / 5)
    assert found.calibration_error(1) == pytest.approx(abs(0.6 - 0.5))


def test_there_is_at_least_one_bin() -> None:
    with pytest.raises(ValueError, match="at least 1, got 0"):
        made_up(3).calibration_error(0)


def test_an_honest_forecaster_has_hardly_any_calibration_error_and_an_overconfident_one_has() -> (
    None
):
    chance = np.random.default_rng(5)
    probabilities = chance.dirichlet(np.ones(7), 20_000)
    targets = (probabilities.cumsum(axis=1) < chance.random((20_000, 1))).sum(axis=1)
    ids = tuple(map(str, range(20_000)))
    honest = Predictions(ids, targets, probabilities.astype(np.float32))
    assert honest.calibration_error() < 0.02
    sharper = probabilities**2 / (probabilities**2).sum(axis=1, keepdims=True)
    louder = Predictions(ids, targets, sharper.astype(np.float32))
    assert louder.accuracy == honest.accuracy
    assert louder.calibration_error() > 0.1


def mean_recall(truth: np.ndarray, said: np.ndarray) -> float:
    return np.mean([(said[truth == label] == label).mean() for label in set(truth.tolist())])


def mean_f1(truth: np.ndarray, said: np.ndarray) -> float:
    return np.mean(
        [
            2 * ((said == label) & (truth == label)).sum()
            / ((said == label).sum() + (truth == label).sum())
            for label in set(truth.tolist())
        ]
    )  # fmt: skip


def test_bootstrap_intervals_against_scipy() -> None:
    """A few faces of some classes, none of another: what a resample leaves out does not count."""
    found = made_up(150, 7, classes=6)
    lucky = np.random.default_rng(8).random(150) < 0.5
    said = np.where(lucky, found.targets, found.labels)
    found = Predictions.with_labels(found.ids, found.targets, found.probabilities, said)
    scores = {
        "accuracy": lambda truth, said: (truth == said).mean(),
        "balanced_accuracy": mean_recall,
        "macro_f1": mean_f1,
    }
    ours, metrics = found.bootstrap(), found.metrics()
    assert list(ours) == list(scores)
    for name, score in scores.items():
        assert score(found.targets, said) == pytest.approx(metrics[name])
        theirs = stats.bootstrap(
            (found.targets, said), score, paired=True, vectorized=False, n_resamples=2000,
            method="percentile", rng=np.random.default_rng(9),
        )  # fmt: skip
        expected = list(theirs.confidence_interval)
        assert list(ours[name]) == pytest.approx(expected, abs=0.25 * theirs.standard_error), name
    low, high = found.bootstrap(0.5)["macro_f1"]
    assert ours["macro_f1"][0] < low < metrics["macro_f1"] < high < ours["macro_f1"][1]


def test_a_class_without_faces_is_told_from_one_that_failed_by_its_row() -> None:
    """Class 1 is never recognised, class 2 has no face; both F1 are 0."""
    found = Predictions(tuple("ab"), np.array([0, 1]), np.eye(7)[[0, 0]]).metrics()
    assert found["f1"][EMOTIONS[1]] == found["f1"][EMOTIONS[2]] == 0
    assert [sum(row) > 0 for row in found["confusion"][1:3]] == [True, False]
    assert found["balanced_accuracy"] == 0.5


ODD = np.eye(7)[[0, 1]]


def test_a_mean_that_rounding_lifts_above_one_is_a_probability() -> None:
    Predictions(tuple("ab"), np.array([0, 1]), ODD * (1 + 3e-7))


@pytest.mark.parametrize(
    ("targets", "probabilities", "sentence"),
    [
        ([0], ODD, r"targets should have shape \(2,\) and the probabilities \(2, 7\), got \(1,\)"),
        ([0, 1], ODD[:1], r"got \(2,\) and \(1, 7\); give every face"),
        ([0, 1], ODD[:, :6], r"got \(2,\) and \(2, 6\); give every face"),
        ([0, 9], ODD, "targets should lie between -1 and 6, but reach from 0 to 9; number"),
        ([-2, 1], ODD, "targets should lie between -1 and 6, but reach from -2 to 1; number"),
        ([0, 1], np.where(ODD, np.nan, ODD), "between 0 and 1, but some are NaN or lie outside"),
        ([0, 1], 2 * ODD, "between 0 and 1, but some are NaN or lie outside"),
    ],
)
def test_predictions_that_cannot_be_are_refused(targets, probabilities, sentence) -> None:
    with pytest.raises(ValueError, match=sentence):
        Predictions(tuple("ab"), np.array(targets), probabilities)


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [([0], "2 faces need one label each, got"), ([0, 9], "labels should lie between 0 and 6")],
)
def test_labels_that_cannot_be_are_refused(labels, sentence) -> None:
    with pytest.raises(ValueError, match=sentence):
        Predictions.with_labels(tuple("ab"), np.array([0, 1]), ODD, np.array(labels))


@given(count=counts, seed=seeds)
def test_predictions_survive_their_file(tmp_path_factory, count, seed) -> None:
    found = made_up(count, seed)
    path = found.save(tmp_path_factory.mktemp("kept") / "some.npz")
    loaded = Predictions.load(path)
    assert loaded.ids == found.ids
    assert (loaded.targets == found.targets).all()
    assert (loaded.labels == found.labels).all()
    np.testing.assert_allclose(loaded.probabilities, found.probabilities, atol=1e-3)
    assert loaded.metrics() == found.metrics()


def test_labels_survive_where_half_precision_cannot_tell(tmp_path) -> None:
    """0.50000 and 0.50001 are one number in half precision; the second is the label."""
    probabilities = np.zeros((1, 7), np.float32)
    probabilities[0, 2], probabilities[0, 5] = 0.49999, 0.50001
    assert np.float16(0.49999) == np.float16(0.50001)
    found = Predictions(("face",), np.array([5]), probabilities)
    loaded = Predictions.load(found.save(tmp_path / "some.npz"))
    assert loaded.probabilities.argmax() == 2
    assert loaded.labels.tolist() == [5]
    assert loaded.accuracy == 1


def test_a_file_that_needs_unpickling_is_refused(tmp_path) -> None:
    path = tmp_path / "some.npz"
    np.savez(path, ids=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ValueError, match="pickle"):
        Predictions.load(path)
    path.write_bytes(pickle.dumps([1]))
    with pytest.raises(ValueError, match="pickle"):
        Predictions.load(path)


# Scoring a network


class Averager(nn.Module):
    """Says of a face what its mean brightness says; remembers what it was shown."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(-3, 3, 7))
        self.batches: list[tuple] = []

    def forward(self, images: torch.Tensor) -> PlainOutput:
        self.batches.append((len(images), self.training, images.dtype, float(images.max())))
        return PlainOutput(images.mean(dim=(1, 2, 3))[:, None] * self.weight)


def test_every_face_is_scored_once_and_in_order(toy_faces) -> None:
    faces, model = toy_faces(10), Averager()
    found = evaluate(model, faces, batch_size=4)
    assert [batch[:3] for batch in model.batches] == [
        (4, False, torch.float32),
        (4, False, torch.float32),
        (2, False, torch.float32),
    ]
    assert max(batch[3] for batch in model.batches) <= 1
    assert found.ids == faces.ids
    assert (found.targets == faces.labels.numpy()).all()
    mean = faces.images.double().div(255).mean(dim=(1, 2, 3))
    expected = (mean[:, None] * torch.linspace(-3, 3, 7, dtype=torch.float64)).softmax(dim=1)
    np.testing.assert_allclose(found.probabilities, expected.numpy(), atol=1e-6)


@pytest.mark.parametrize("training", [False, True])
def test_the_training_mode_is_put_back(toy_faces, training) -> None:
    model = Averager().train(training)
    evaluate(model, toy_faces(4))
    assert model.training == training


def test_the_size_of_a_batch_does_not_matter(toy_faces) -> None:
    faces, model = toy_faces(9), Averager()
    whole = evaluate(model, faces).probabilities
    np.testing.assert_allclose(evaluate(model, faces, batch_size=2).probabilities, whole, atol=1e-6)


def test_unlabelled_faces_are_predicted_and_not_scored(toy_faces) -> None:
    faces = replace(toy_faces(4), labels=torch.tensor([0, -1, -1, 3]))
    found = evaluate(Averager(), faces)
    assert found.probabilities.shape == (4, 7)
    for score in (
        lambda: found.accuracy,
        found.interval,
        found.metrics,
        found.bootstrap,
        found.calibration_error,
    ):
        with pytest.raises(ValueError, match="of 4 faces 2 have none; choose some with"):
            score()


def test_no_faces_give_no_score(toy_faces) -> None:
    found = evaluate(Averager(), toy_faces(4)[:0])
    assert found.probabilities.shape == (0, 7)
    with pytest.raises(ValueError, match="scoring needs faces with a label each, but of 0 faces"):
        found.metrics()


def test_what_was_said_of_some_faces_can_be_scored_against_other_labels() -> None:
    """Of two classes that half precision made equal, the one that was said stays."""
    tied = np.full((4, 7), 0.1, np.float32)
    tied[:, [2, 5]] = 0.25
    found = Predictions.with_labels(
        tuple("abcd"), np.array([5, 2, 5, 5]), tied, np.array([5, 5, 5, 2])
    )
    chosen = np.array([True, True, False, True])
    some = found.among(chosen)
    assert (some.ids, some.labels.tolist()) == (("a", "b", "d"), [5, 5, 2])
    assert some.targets.tolist() == [5, 2, 5]
    assert some.accuracy == pytest.approx(1 / 3)
    other = found.among(chosen, np.array([-1, 5, 5, 2]))
    assert other.targets.tolist() == [-1, 5, 2]
    assert other.among(other.targets >= 0).accuracy == 1
    assert found.among(np.zeros(4, bool)).probabilities.shape == (0, 7)
