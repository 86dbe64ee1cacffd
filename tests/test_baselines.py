"""SIFT, LBP and HOG with an SVM: what they must not see, and that they learn."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from skimage.feature import hog
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from occfer.baselines import CELLS, DESCRIPTORS, described, fit_baseline, grey_faces, lbp
from occfer.data import load_faces
from occfer.recipes import BaselineRecipe, baseline

LENGTHS = {"SIFT": CELLS**2 * 128, "LBP": CELLS**2 * 59, "HOG": (CELLS - 1) ** 2 * 4 * 9}


@pytest.fixture(scope="module")
def train():
    return load_faces("synthfer", "train", size=48)[::8]


@pytest.fixture(scope="module")
def validation():
    return load_faces("synthfer", "val", size=48)[::4]


@pytest.mark.parametrize("name", DESCRIPTORS)
def test_one_vector_a_face(name, validation) -> None:
    vectors = described(validation[:3], BaselineRecipe(name), progress=False)
    assert vectors.shape == (3, LENGTHS[name])
    assert vectors.dtype == np.float32


@pytest.mark.parametrize("name", DESCRIPTORS)
def test_more_light_changes_nothing(name) -> None:
    """All three look at differences between neighbours, so an even light adds nothing."""
    face = np.random.default_rng(0).integers(0, 200, (48, 48)).astype(np.uint8)
    describe = DESCRIPTORS[name]
    np.testing.assert_allclose(describe(face + 50), describe(face), atol=1e-6)


@pytest.mark.parametrize("name", DESCRIPTORS)
@pytest.mark.parametrize("size", [35, 48, 100, 112])
def test_a_face_is_seen_to_its_last_row_and_column(name, size) -> None:
    face = np.random.default_rng(0).integers(0, 256, (size, size)).astype(np.uint8)
    lower, right = face.copy(), face.copy()
    lower[-1], right[:, -1] = 255 - lower[-1], 255 - right[:, -1]
    seen, *others = (DESCRIPTORS[name](each) for each in (face, lower, right))
    assert seen.shape == (LENGTHS[name],)
    for other in others:
        assert np.abs(seen - other).max() > 1e-3


def test_a_face_that_cells_fill_is_described_as_it_is() -> None:
    face = np.random.default_rng(0).integers(0, 256, (48, 48)).astype(np.uint8)
    expected = hog(face, orientations=9, pixels_per_cell=(8, 8), cells_per_block=(2, 2))
    np.testing.assert_array_equal(DESCRIPTORS["HOG"](face), expected)


@pytest.mark.parametrize("name", DESCRIPTORS)
def test_a_change_in_one_corner_stays_there(name) -> None:
    face = np.random.default_rng(0).integers(0, 256, (48, 48)).astype(np.uint8)
    other = face.copy()
    other[:5, :5] = 255 - other[:5, :5]
    describe = DESCRIPTORS[name]
    changed = (describe(face) != describe(other)).reshape(-1)
    cells = changed.reshape(CELLS - 1 if name == "HOG" else CELLS, -1).any(axis=1)
    assert cells[0]
    assert not cells[3:].any()


def test_patterns_of_a_cell_are_counted_once_each() -> None:
    face = np.random.default_rng(0).integers(0, 256, (48, 48)).astype(np.uint8)
    shares = lbp(face).reshape(CELLS**2, 59) ** 2
    np.testing.assert_allclose(shares.sum(axis=1), 1 / CELLS**2)


def test_colour_becomes_luminance_of_the_asked_size(validation) -> None:
    weights = torch.tensor([0.299, 0.587, 0.114])
    expected = (validation.images[:2] * weights[:, None, None]).sum(dim=1)
    found = torch.from_numpy(grey_faces(validation[:2], 48)).float()
    assert (found - expected).abs().max() <= 0.51
    assert grey_faces(validation[:2], 24).shape == (2, 24, 24)


@pytest.mark.parametrize("name", DESCRIPTORS)
def test_learns_faces_it_can_name_on_other_people(name, train, validation) -> None:
    fitted = fit_baseline(train, validation, baseline(name, "smoke", c=(1.0,)), progress=False)
    predictions = fitted.evaluate(validation)
    assert predictions.accuracy > 2 / 7
    np.testing.assert_allclose(predictions.probabilities.sum(axis=1), 1, rtol=1e-5)
    decided = fitted.machine.predict(described(validation, fitted.recipe, progress=False))
    assert predictions.labels.tolist() == decided.tolist()


def test_validation_chooses_c(train, validation) -> None:
    recipe = baseline("HOG", "smoke", c=(1e-6, 10.0), dimensions=32)
    fitted = fit_baseline(train, validation, recipe, progress=False)
    first, second = (row["validation_accuracy"] for row in fitted.history)
    assert second > first
    assert fitted.best_trial == 2
    assert fitted.evaluate(validation).accuracy == second


def test_where_no_weight_is_bounded_a_larger_c_gives_the_same_machine(train, validation) -> None:
    recipe = baseline("HOG", "smoke", dimensions=32)
    fits = [
        fit_baseline(train, validation, replace(recipe, c=(c,)), progress=False)
        for c in (1.0, 10.0, 1000.0)
    ]
    soft, hard, harder = (fitted.history[0]["bounded"] for fitted in fits)
    assert soft > hard == harder == 0
    said = [fitted.evaluate(validation).probabilities for fitted in fits]
    assert not np.allclose(said[0], said[1], rtol=1e-3)
    np.testing.assert_allclose(said[1], said[2], rtol=1e-6)


def test_scale_and_axes_are_fitted_once_and_nothing_changes_by_it(
    train, validation, monkeypatch
) -> None:
    recipe = baseline("HOG", "smoke", c=(1.0, 10.0), dimensions=32)
    seen, held_out = (described(each, recipe, progress=False) for each in (train, validation))
    expected = {
        c: make_pipeline(
            StandardScaler(),
            PCA(32, svd_solver="randomized", random_state=recipe.seed),
            SVC(C=c, gamma="scale", cache_size=2000, break_ties=True),
        )
        .fit(seen, train.labels.numpy())
        .decision_function(held_out)
        for c in recipe.c
    }
    for c in recipe.c:
        alone = fit_baseline(train, validation, replace(recipe, c=(c,)), progress=False)
        np.testing.assert_array_equal(alone.machine.decision_function(held_out), expected[c])
    fits = []
    fit = PCA.fit_transform
    monkeypatch.setattr(PCA, "fit_transform", lambda *given: fits.append(1) or fit(*given))
    both = fit_baseline(train, validation, recipe, progress=False)
    assert len(fits) == 1
    chosen = recipe.c[both.best_trial - 1]
    np.testing.assert_array_equal(both.machine.decision_function(held_out), expected[chosen])


def test_two_expressions_are_enough_and_one_is_not(train, validation) -> None:
    two = (train.labels == 3) | (train.labels == 6)
    recipe = baseline("HOG", "smoke", c=(10.0,))
    fitted = fit_baseline(train[two], validation, recipe, progress=False)
    found = fitted.evaluate(train[two])
    vectors = described(train[two], recipe, progress=False)
    assert found.labels.tolist() == fitted.machine.predict(vectors).tolist()
    assert found.accuracy > 0.95
    with pytest.raises(ValueError, match="faces of two expressions or more"):
        fit_baseline(train[train.labels == 3], validation, recipe)


def test_a_face_without_a_label_is_refused(train, validation) -> None:
    labels = train.labels.clone()
    labels[4] = -1
    some = replace(train, labels=labels)
    for splits in ((some, validation), (train, some)):
        with pytest.raises(ValueError, match="every face must have a label, but some of"):
            fit_baseline(*splits, baseline("HOG", "smoke"))


def test_a_class_never_seen_is_never_named(train, validation) -> None:
    known = train[train.labels != 3]
    fitted = fit_baseline(known, validation, baseline("HOG", "smoke", c=(1.0,)), progress=False)
    found = fitted.evaluate(validation)
    assert 3 not in found.labels
    assert (found.probabilities[:, 3] == 0).all()


def test_an_unknown_descriptor_is_refused(train, validation) -> None:
    recipe = replace(BaselineRecipe(), descriptor="SURF")
    with pytest.raises(ValueError, match=r"one of SIFT, LBP, HOG, got 'SURF'"):
        fit_baseline(train, validation, recipe)
