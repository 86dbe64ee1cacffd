import math
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from lightning_fabric.accelerators import MPSAccelerator

from occfer.engine.evaluate import evaluate
from occfer.engine.finetune import build_classifier, build_loss, finetune, fingerprint, watch
from occfer.engine.models import load_model
from occfer.engine.pretrain import build_encoder
from occfer.engine.training import default_fabric
from occfer.experiments.rows import ROWS, table1_row
from occfer.fgw import FGWOutput, PlainOutput
from occfer.recipes import FinetuneRecipe, NetworkRecipe


def same(a, b) -> bool:
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


@pytest.mark.parametrize("changes", [{}, dict(head="separate+ce"), dict(method="plain")])
def test_what_can_be_told_apart_is_learnt(toy_faces, fgw_recipe, changes) -> None:
    recipe = fgw_recipe(epochs=8, learning_rate=1e-2, patience=8, **changes)
    found = finetune(toy_faces(64), toy_faces(30, seed=1), recipe, progress=False)
    assert evaluate(found.model, toy_faces(60, seed=2)).accuracy >= 0.95


def test_the_graphics_of_an_apple_are_not_tried(monkeypatch) -> None:
    monkeypatch.setattr(MPSAccelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert default_fabric("32-true").device.type == "cpu"


@pytest.mark.usefixtures("global_chance")
def test_a_run_is_a_function_of_its_recipe(toy_faces, fgw_recipe) -> None:
    train, validation = toy_faces(24), toy_faces(12, seed=1)
    first = finetune(train, validation, fgw_recipe(epochs=1), progress=False)
    again = finetune(train, validation, fgw_recipe(epochs=1), progress=False)
    other = finetune(train, validation, fgw_recipe(epochs=1, seed=1), progress=False)
    assert same(first.model, again.model)
    assert not same(first.model, other.model)


def test_the_weights_of_the_best_epoch_come_back(toy_faces, fgw_recipe) -> None:
    """The validation faces are labelled wrongly: the more is learnt, the fewer are right."""
    faces = toy_faces(30, seed=1)
    validation = replace(faces, labels=(faces.labels + 3) % 9)
    recipe = fgw_recipe(epochs=3, learning_rate=3e-4, patience=3)
    found = finetune(toy_faces(64), validation, recipe, progress=False)
    accuracies = [row["validation_accuracy"] for row in found.history]
    best = max(accuracies)
    assert accuracies[-1] < best
    assert found.best_epoch == 1 + accuracies.index(best)
    assert evaluate(found.model, validation).accuracy == best
    assert not found.model.training


@pytest.mark.parametrize("patience", [1, 3])
def test_a_run_stops_when_its_patience_is_out(toy_faces, fgw_recipe, patience) -> None:
    """A rate of nearly nothing: no epoch is better than the first."""
    recipe = fgw_recipe(epochs=50, learning_rate=1e-12, patience=patience)
    found = finetune(toy_faces(16), toy_faces(12, seed=1), recipe, progress=False)
    accuracies = [row["validation_accuracy"] for row in found.history]
    last_better = max(i for i, a in enumerate(accuracies) if a > max([-1.0, *accuracies[:i]]))
    assert found.best_epoch == last_better + 1
    assert len(found.history) == last_better + 1 + patience
    assert len(found.history) < 50


def test_the_decay_of_section_3_2_reaches_the_optimiser(
    toy_faces, fgw_recipe, learning_rates
) -> None:
    """Three steps an epoch; by a tenth every two epochs from the third on."""
    faces = toy_faces(40)
    recipe = fgw_recipe(epochs=6, decay_from=2, decay_every=2, patience=50)
    found = finetune(faces, faces, recipe, progress=False)
    expected = [3e-3 * factor for factor in (1, 1, 0.9, 0.9, 0.81, 0.81)]
    assert [row["learning_rate"] for row in found.history] == pytest.approx(expected)
    assert learning_rates == pytest.approx([rate for rate in expected for _ in range(3)])


def test_an_encoder_is_where_the_classifier_starts(toy_faces, ocl_recipe, fgw_recipe) -> None:
    encoder = build_encoder(ocl_recipe(seed=3))
    for method in ("plain", "fgw"):
        cold = build_classifier(fgw_recipe(method=method))
        warm = build_classifier(fgw_recipe(method=method), encoder)
        backbone = "encoder.backbone." if method == "plain" else "backbone."
        for key, value in warm.state_dict().items():
            if key.startswith(backbone):
                expected = encoder.backbone.state_dict()[key.removeprefix(backbone)]
            else:
                expected = cold.state_dict()[key]
            assert torch.equal(value, expected), key


def test_the_encoder_handed_in_is_left_alone(toy_faces, ocl_recipe, fgw_recipe) -> None:
    encoder, faces = build_encoder(ocl_recipe()), toy_faces(16)
    before = fingerprint(encoder)
    finetune(faces, faces, fgw_recipe(epochs=1), encoder, progress=False)
    assert fingerprint(encoder) == before


@pytest.mark.parametrize("method", ["plain", "fgw"])
def test_a_classifier_goes_on_from_where_it_stands(toy_faces, fgw_recipe, tmp_path, method) -> None:
    """Through a folder, as it comes from somebody else; a step of length 0 leaves every weight."""
    recipe, faces = fgw_recipe(method=method, epochs=1), toy_faces(16)
    first = finetune(faces, faces, recipe, progress=False).model
    start = load_model(first.save_pretrained(tmp_path, recipe))
    before = fingerprint(start)
    still = finetune(
        faces, faces, replace(recipe, learning_rate=0.0), start=start, progress=False
    ).model
    assert dict(still.named_parameters()).keys() == dict(start.named_parameters()).keys()
    for name, value in still.named_parameters():
        assert torch.equal(value, start.get_parameter(name)), name
    moved = finetune(faces, faces, recipe, start=start, progress=False).model
    assert fingerprint(moved) != fingerprint(start) == before


def test_another_network_is_no_place_to_go_on_from(toy_faces, fgw_recipe, ocl_recipe) -> None:
    faces, recipe = toy_faces(16), fgw_recipe(epochs=1)
    other = build_classifier(replace(recipe, head="separate"))
    with pytest.raises(ValueError, match="head 'separate' in place of 'sliced'; take the recipe"):
        finetune(faces, faces, recipe, start=other, progress=False)
    with pytest.raises(ValueError, match="kind 'PlainClassifier' in place of 'FGW'"):
        build_classifier(recipe, start=build_classifier(replace(recipe, method="plain")))
    with pytest.raises(ValueError, match="either from an encoder or from a whole classifier"):
        build_classifier(recipe, build_encoder(ocl_recipe()), build_classifier(recipe))
    # ImageNet's weights are where a backbone began, and no other network.
    twin = build_classifier(recipe)
    assert same(build_classifier(replace(recipe, seed=5), start=twin), twin)


def test_a_run_goes_on_only_from_the_start_it_had(toy_faces, fgw_recipe, tmp_path) -> None:
    faces, recipe = toy_faces(16), fgw_recipe(epochs=2)
    one, two = (build_classifier(replace(recipe, seed=seed)) for seed in (1, 2))
    finetune(faces, faces, recipe, run=tmp_path, start=one, progress=False)
    for other in (two, None):
        with pytest.raises(ValueError, match="holds a run of another recipe"):
            finetune(faces, faces, recipe, run=tmp_path, start=other, progress=False)


@pytest.mark.parametrize(
    ("choices", "trained"),
    [
        (dict(), True),
        (dict(restrain_weight=0.0), False),
        (dict(detach_regions=True), False),
        (dict(head="separate+ce", restrain_weight=0.0), True),
    ],
)
def test_a_region_head_that_nothing_trains_is_not_waited_for(choices, trained, pictures) -> None:
    """Several processes exchange the gradient of each weight that asks for one."""
    small = NetworkRecipe(width=8, stem="small", size=24)
    recipe = FinetuneRecipe(network=small, **{"head": "separate", **choices})
    model = build_classifier(recipe)
    build_loss(recipe)(model(pictures(2, 1, 24, 24)), torch.tensor([0, 6])).backward()
    asked = {name for name, each in model.named_parameters() if each.requires_grad}
    assert asked == {name for name, each in model.named_parameters() if each.grad is not None}
    assert ("head.region.weight" in asked) == trained


def test_a_fingerprint_names_weights(ocl_recipe) -> None:
    encoder = build_encoder(ocl_recipe())
    assert fingerprint(encoder) == fingerprint(build_encoder(ocl_recipe()))
    assert fingerprint(encoder) != fingerprint(build_encoder(ocl_recipe(seed=1)))


@pytest.mark.parametrize("row", ROWS)
def test_every_row_of_table_1_is_a_network_with_a_loss(row, pictures) -> None:
    recipe = replace(table1_row(row, "smoke"), pretrained=False)
    model, loss = build_classifier(recipe), build_loss(recipe)
    images, targets = pictures(2, 1, 48, 48), torch.tensor([0, 6])
    # In training: with fresh running statistics, MobileNetV2 lets no signal through to its end.
    output = model.train()(images)
    assert output.logits.shape == (2, 7)
    cross_entropy = F.cross_entropy(output.logits, targets).item()
    restrained = recipe.method == "fgw" and recipe.restrain_weight > 0
    if restrained:
        assert loss(output, targets).item() > cross_entropy
    else:
        assert loss(output, targets).item() == pytest.approx(cross_entropy)


def test_what_is_watched_is_what_happened() -> None:
    """Two faces of class 0, two regions; probabilities chosen by hand."""

    def logits(*probabilities: float) -> torch.Tensor:
        return torch.tensor([[math.log(p), math.log(1 - p)] for p in probabilities])

    regional = torch.stack([logits(0.9, 0.3), logits(0.2, 0.1)])
    output = FGWOutput(logits(0.6, 0.4), regional, torch.zeros(2, 2, 1), torch.zeros(2, 2, 1, 1))
    watched = as_numbers(watch(output, torch.tensor([0, 0])))
    assert watched == pytest.approx(
        {
            "accuracy": 1 / 2,  # 0.6 is right, 0.4 is wrong
            "restrained": 1 / 4,  # only 0.9 beats its face's 0.6
            "restrained_faces": 1 / 2,
            "fused_probability": 0.5,
            "region_probability": (0.9 + 0.3 + 0.2 + 0.1) / 4,
        }
    )
    plain = as_numbers(watch(PlainOutput(logits(0.6, 0.4)), torch.tensor([0, 0])))
    assert plain == pytest.approx({"accuracy": 1 / 2})


def as_numbers(measured) -> dict[str, float]:
    return {name: value.item() for name, value in measured.items()}


def test_faces_without_labels_are_refused(toy_faces, fgw_recipe) -> None:
    faces = toy_faces(16)
    unlabelled = replace(faces, labels=torch.tensor([-1] + [0] * 15))
    for pair in ((unlabelled, faces), (faces, unlabelled), (faces[:0], faces), (faces, faces[:0])):
        with pytest.raises(ValueError, match=r"needs faces with a label each, but FaceSet\('toy'"):
            finetune(*pair, fgw_recipe(), progress=False)


def test_a_run_that_diverges_says_where(toy_faces, fgw_recipe) -> None:
    faces = toy_faces(40)
    wild = fgw_recipe(optimizer="sgd", learning_rate=1e30)
    with pytest.raises(FloatingPointError) as caught:
        finetune(faces, faces, wild, progress=False)
    message = str(caught.value)
    assert "in epoch 0, step" in message
    assert "lower the learning rate" in message
    assert "0-" in message  # the ids of faces in that batch


def test_an_unknown_method_is_refused(toy_faces, fgw_recipe) -> None:
    with pytest.raises(ValueError, match="method must be 'plain' or 'fgw', got 'magic'"):
        build_classifier(as_unchecked(fgw_recipe(), method="magic"))


def as_unchecked(recipe, **changes):
    """The recipe with values that its declared types forbid."""
    copy = replace(recipe)
    for name, value in changes.items():
        object.__setattr__(copy, name, value)
    return copy


@pytest.mark.parametrize(
    "first",
    [
        "from occfer import recipes, engine; from occfer.engine.finetune import build_classifier; "
        "build_classifier(recipes.finetuning())",
        "from occfer.pretrained import Pretrained; Pretrained.kind('FGW').__name__",
        "import occfer; occfer.engine, occfer.data, occfer.saliency, occfer.occlusion",
    ],
)
def test_what_a_fresh_process_asks_for_first_is_there(first: str) -> None:
    subprocess.run([sys.executable, "-c", first], check=True)
