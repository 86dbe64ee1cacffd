"""Alignment and uniformity have closed forms; the k-NN has scikit-learn's; a run is not touched."""

import math
from dataclasses import replace

import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from occfer.engine.pretrain import build_ocl, build_views, pretrain
from occfer.engine.probes import (
    Probes,
    alignment,
    linear_probe,
    nearest_neighbours,
    uniformity,
)
from occfer.views import as_float


def directions(count: int, dimensions: int = 8, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, dimensions, generator=torch.Generator().manual_seed(seed))


def test_alignment_of_equal_opposite_and_perpendicular_views() -> None:
    z = directions(6)
    turned = torch.stack([-z[:, 1], z[:, 0]], dim=1)
    assert alignment(z, 3 * z).item() == pytest.approx(0, abs=1e-12)
    assert alignment(z, -z).item() == pytest.approx(4)
    assert alignment(z[:, :2], turned).item() == pytest.approx(2)


def test_uniformity_of_a_point_of_two_poles_and_of_a_cross() -> None:
    """One point: log 1. Poles, at a squared distance of 4: −4t. Four on a circle: 4 pairs at 2,
    2 at 4."""
    point = torch.ones(5, 3)
    cross = torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]])
    assert uniformity(point).item() == pytest.approx(0, abs=1e-6)
    assert uniformity(cross[:2], t=2).item() == pytest.approx(-8)
    expected = math.log((4 * math.exp(-4) + 2 * math.exp(-8)) / 6)
    assert uniformity(cross, t=2).item() == pytest.approx(expected)


def test_both_by_the_definition_pair_by_pair() -> None:
    first, second = directions(7), directions(7, seed=1)
    unit = [row / row.norm() for row in first]
    other = [row / row.norm() for row in second]
    near = sum(float((a - b).norm() ** 2) for a, b in zip(unit, other, strict=True)) / 7
    assert alignment(first, second).item() == pytest.approx(near, rel=1e-5)
    pairs = [(a, b) for n, a in enumerate(unit) for b in unit[:n]]
    spread = math.log(sum(math.exp(-2 * float((a - b).norm() ** 2)) for a, b in pairs) / len(pairs))
    assert uniformity(first).item() == pytest.approx(spread, rel=1e-5)


def test_uniformity_needs_a_pair() -> None:
    with pytest.raises(ValueError, match=r"mean over pairs of faces, got 1; pass two or more"):
        uniformity(directions(1))


@pytest.mark.parametrize("k", [1, 5, 500])
def test_neighbours_are_scikit_learn_s(k) -> None:
    """On the unit sphere the nearest by angle are the nearest by distance."""
    features, queries = directions(120), directions(40, seed=1)
    labels = torch.arange(120) % 7
    peer = KNeighborsClassifier(min(k, 120)).fit(
        (features / features.norm(dim=1, keepdim=True)).numpy(), labels.numpy()
    )
    expected = peer.predict((queries / queries.norm(dim=1, keepdim=True)).numpy())
    assert nearest_neighbours(features, labels, queries, k).tolist() == expected.tolist()


def test_the_linear_probe_finds_what_a_line_can_part_and_nothing_where_there_is_nothing() -> None:
    labels = torch.arange(210) % 7
    centres = 4 * torch.eye(7, 8)
    clear = centres[labels] + 0.3 * directions(210)
    asked = centres[labels] + 0.3 * directions(210, seed=1)
    assert (linear_probe(clear, labels, asked) == labels).float().mean() > 0.99
    # Features are standardised first, so that their units mean nothing.
    units = torch.logspace(-2, 2, 8)
    near, far = 0.3 * centres[labels] + directions(210), directions(210, seed=1)
    assert torch.equal(
        linear_probe(near, labels, far), linear_probe(units * near, labels, units * far)
    )
    noise, more = directions(210), directions(210, seed=1)
    assert (linear_probe(noise, labels, more) == labels).float().mean() < 0.35
    assert linear_probe(clear, torch.full((210,), 3), asked).unique().tolist() == [3]


@pytest.mark.usefixtures("global_chance")
def test_a_probed_run_is_the_same_run_and_a_probe_the_same_each_time(toy_faces, ocl_recipe) -> None:
    recipe, pool = ocl_recipe(), toy_faces(40)
    held_out = toy_faces(30, seed=1)
    probes = Probes(pool, held_out, build_views(recipe), recipe.network.size, every=2)
    plain = pretrain(pool, recipe, progress=False)
    probed = pretrain(pool, recipe, progress=False, watchers=[probes])
    states = (plain.encoder.state_dict(), probed.encoder.state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    measured = {"alignment", "uniformity", "knn_accuracy", "linear_accuracy"}
    assert [measured <= row.keys() for row in probed.history] == [False, True, False]
    model = build_ocl(recipe).eval()
    once, again = probes(model, {"epoch": 2}), probes(model, {"epoch": 4})
    assert once == again
    assert 0 <= once["alignment"] <= 4
    assert -8 <= once["uniformity"] <= 0


def test_the_probe_knows_bands_that_differ_in_brightness_by_place(toy_faces, ocl_recipe) -> None:
    """Three classes whose pixels differ plainly; guessing gives a third."""
    recipe = ocl_recipe()
    probes = Probes(toy_faces(60), toy_faces(30, seed=1), build_views(recipe), recipe.network.size)
    found = probes(build_ocl(recipe).eval(), {"epoch": 1})
    assert found["linear_accuracy"] > 0.9


def mirrored(images, _):
    """Two views for which nothing is drawn: each face, and its mirror image."""
    return as_float(images), as_float(images).flip(-1)


def test_alignment_and_uniformity_are_of_projections_of_held_out_faces(
    toy_faces, ocl_recipe
) -> None:
    model, held_out = build_ocl(ocl_recipe()).eval(), toy_faces(300, seed=1)
    found = Probes(toy_faces(30), held_out, mirrored, 24)(model, {"epoch": 1})
    with torch.no_grad():
        z1, z2 = (model(view) for view in mirrored(held_out.images, None))
    assert found["alignment"] == pytest.approx(alignment(z1, z2).item(), rel=1e-4)
    assert found["uniformity"] == pytest.approx(uniformity(z1).item(), rel=1e-4)
    assert found["alignment"] > 1e-4


def test_accuracies_are_of_features_and_learnt_from_training_faces_alone(
    toy_faces, ocl_recipe
) -> None:
    """Where these have other names for what is seen, every answer is wrong."""
    model, train, held_out = build_ocl(ocl_recipe()).eval(), toy_faces(60), toy_faces(30, seed=1)
    for faces, expected in ((train, 1), (replace(train, labels=(train.labels + 1) % 7), 0)):
        found = Probes(faces, held_out, mirrored, 24)(model, {"epoch": 1})
        assert found["knn_accuracy"] == found["linear_accuracy"] == expected
    # Projections that have forgotten everything change nothing about that.
    torch.nn.init.zeros_(model.projector.layers[-1].weight)
    torch.nn.init.zeros_(model.projector.layers[-1].bias)
    found = Probes(train, held_out, mirrored, 24)(model, {"epoch": 1})
    assert found == {
        "alignment": 0, "uniformity": 0, "knn_accuracy": 1, "linear_accuracy": 1,
    }  # fmt: skip


def test_of_a_large_set_faces_from_its_first_to_its_last_are_looked_at(
    toy_faces, ocl_recipe, monkeypatch
) -> None:
    """At the size of the network, not at theirs."""
    monkeypatch.setattr("occfer.engine.probes.FACES", 4)
    model, seen = build_ocl(ocl_recipe()).eval(), []
    probes = Probes(toy_faces(31), toy_faces(10, seed=1), mirrored, 16)
    assert probes.train.ids == ("0-0", "0-10", "0-20", "0-30")
    assert probes.validation.ids == ("1-0", "1-3", "1-6", "1-9")
    model.encoder.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape))
    probes(model, {"epoch": 1})
    assert seen == [(8, 1, 24, 24), (4, 1, 16, 16), (4, 1, 16, 16)]


def test_unlabelled_faces_are_refused(toy_faces, ocl_recipe) -> None:
    recipe, faces = ocl_recipe(), toy_faces(6)
    faces.labels[2] = -1
    with pytest.raises(ValueError, match="faces with a label each"):
        Probes(faces, toy_faces(6), build_views(recipe), recipe.network.size)
