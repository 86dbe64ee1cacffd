import math
from dataclasses import asdict, replace

import pytest
import torch
import torch.nn.functional as F

from occfer.data import FaceSet
from occfer.engine.pretrain import build_ocl, pretrain
from occfer.ocl import nt_xent
from occfer.randomness import generator_for
from occfer.recipes import NetworkRecipe, ViewRecipe
from occfer.views import TwoViews


def weights(module) -> list[torch.Tensor]:
    return list(module.state_dict().values())


def same(a, b) -> bool:
    return all(torch.equal(x, y) for x, y in zip(weights(a), weights(b), strict=True))


@pytest.mark.usefixtures("global_chance")
def test_a_run_is_a_function_of_recipe_and_pixels(toy_faces, ocl_recipe) -> None:
    """Labels do not matter; the seed does; nothing else draws."""
    faces, recipe = toy_faces(24), ocl_recipe(epochs=1)
    unlabelled = replace(faces, labels=torch.full_like(faces.labels, -1))
    first = pretrain(faces, recipe, progress=False)
    torch.rand(3, generator=torch.Generator())
    assert same(first.encoder, pretrain(unlabelled, recipe, progress=False).encoder)
    other = pretrain(faces, ocl_recipe(epochs=1, seed=1), progress=False)
    assert not same(first.encoder, other.encoder)


def blobs(count: int, seed: int) -> FaceSet:
    """Smooth grey pictures, each of its own, as faces are."""
    generator = torch.Generator().manual_seed(seed)
    pictures = F.interpolate(
        torch.rand(count, 1, 4, 4, generator=generator), (24, 24), mode="bilinear"
    )
    unlabelled = torch.full((count,), -1)
    return FaceSet(
        (pictures * 255).round().byte(), unlabelled, [f"{seed}-{i}" for i in range(count)]
    )


def test_views_of_faces_never_seen_find_their_partner(ocl_recipe) -> None:
    """By the encoder's h, whose mean over all views says nothing of any of them."""
    calm = ViewRecipe(crop=(0.5, 1.0), jitter=0.0, grey=0.0)
    network = NetworkRecipe(width=8, stem="small", size=24)
    recipe = ocl_recipe(network=network, views=calm, batch_size=32, epochs=30, learning_rate=1e-2)
    unseen = TwoViews(24, **asdict(calm))(blobs(60, seed=5).images, generator_for(9))

    @torch.inference_mode()
    def loss(encoder) -> float:
        h = F.normalize(encoder.eval()(torch.cat(unseen)), dim=1)
        return nt_xent(*(h - h.mean(dim=0)).chunk(2)).item()

    before = loss(build_ocl(recipe).encoder)
    found = pretrain(blobs(128, seed=4), recipe, progress=False)
    assert loss(found.encoder) < before - 0.5
    assert found.history[-1]["loss"] < found.history[0]["loss"] - 1


def test_one_row_for_each_epoch(toy_faces, ocl_recipe) -> None:
    found = pretrain(toy_faces(20), ocl_recipe(epochs=3), progress=False)
    assert [row["epoch"] for row in found.history] == [1, 2, 3]
    seconds = [row["seconds"] for row in found.history]
    assert 0 < seconds[0] < seconds[1] < seconds[2] <= found.seconds
    assert not found.encoder.training


def test_an_epoch_s_loss_is_the_mean_over_its_faces(toy_faces, ocl_recipe) -> None:
    """With a temperature so high that all views are alike a batch of N costs log(2N − 1)."""
    recipe = ocl_recipe(epochs=1, batch_size=16, temperature=1e4, learning_rate=1e-9)
    found = pretrain(toy_faces(40), recipe, progress=False)
    expected = (32 * math.log(31) + 8 * math.log(15)) / 40
    assert found.history[0]["loss"] == pytest.approx(expected, abs=1e-3)


def test_the_schedule_reaches_the_optimiser(toy_faces, ocl_recipe, learning_rates) -> None:
    pretrain(toy_faces(40), ocl_recipe(epochs=2, schedule="cosine"), progress=False)
    assert learning_rates == pytest.approx([1e-3] * 3 + [0.5e-3] * 3)


def test_half_precision_learns_too(toy_faces, ocl_recipe) -> None:
    found = pretrain(toy_faces(40), ocl_recipe(precision="bf16-mixed"), progress=False)
    assert all(p.dtype == torch.float32 for p in found.encoder.parameters())
    assert found.history[-1]["loss"] < found.history[0]["loss"]


def test_one_face_cannot_be_told_from_any_other(toy_faces, ocl_recipe) -> None:
    with pytest.raises(ValueError, match="at least 2 faces to tell apart, got 1"):
        pretrain(toy_faces(1), ocl_recipe(), progress=False)


def test_a_run_that_diverges_says_so(toy_faces, ocl_recipe) -> None:
    wild = ocl_recipe(optimizer="sgd", learning_rate=1e30)
    with pytest.raises((FloatingPointError, ValueError), match="lower the learning rate"):
        pretrain(toy_faces(40), wild, progress=False)


def test_progress_is_a_bar_that_can_be_left_out(toy_faces, ocl_recipe, capfd) -> None:
    pretrain(toy_faces(8), ocl_recipe(epochs=1), progress=False)
    assert capfd.readouterr().err == ""
    pretrain(toy_faces(8), ocl_recipe(epochs=1))
    assert "OCL" in capfd.readouterr().err
