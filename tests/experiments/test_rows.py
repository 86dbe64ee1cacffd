"""What changes from row to row, and that nothing else does."""

import itertools
from dataclasses import fields, replace

import pytest

from occfer import recipes
from occfer.experiments.rows import (
    CONTROL_ROWS,
    MOBILENET_ROWS,
    ROWS,
    TABLE1_ROWS,
    table1_pretraining,
    table1_row,
)
from occfer.recipes import FinetuneRecipe, NetworkRecipe, PretrainRecipe, pretraining

TIERS = ("smoke", "laptop", "paper")


def changed(a: FinetuneRecipe, b: FinetuneRecipe) -> set[str]:
    return {field.name for field in fields(a) if getattr(a, field.name) != getattr(b, field.name)}


@pytest.mark.parametrize("tier", TIERS)
def test_from_row_to_row_one_idea_is_added(tier) -> None:
    rows = [table1_row(row, tier) for row in TABLE1_ROWS]
    assert [changed(*pair) for pair in itertools.pairwise(rows)] == [
        {"pretrained"},
        {"method", "restrain_weight"},
        {"restrain_weight"},
    ]
    assert rows[0].pretrained
    assert [row.method for row in rows] == ["plain", "plain", "fgw", "fgw"]
    assert [row.restrain_weight for row in rows[2:]] == [0.0, 0.5]


@pytest.mark.parametrize("row", ["Res18-scratch", "OCL+Res18"])
def test_the_long_control_gets_as_much_computing_as_five_regions_cost(row) -> None:
    short, long = table1_row(row, "laptop"), table1_row(f"{row}-long", "laptop")
    assert long.epochs == 5 * short.epochs
    # The same curve, five times as long.
    for epoch in range(short.epochs):
        assert long.learning_rate_at(5 * epoch) == pytest.approx(short.learning_rate_at(epoch))


@pytest.mark.parametrize("row", ["Res18-scratch", "OCL+Res18"])
def test_with_a_tenth_of_the_labels_every_face_is_seen_five_times_as_often(row) -> None:
    assert table1_row(f"{row}-tenth", "laptop") == table1_row(f"{row}-long", "laptop")
    assert table1_pretraining(f"{row}-tenth") == table1_pretraining(row)


@pytest.mark.parametrize("row", ["Res18-scratch", "OCL+Res18", "OCL+Res18+FGW+LGDS"])
def test_the_occluded_control_sees_ocl_s_occlusion_and_nothing_else_changes(row) -> None:
    plain, occluded = table1_row(row), table1_row(f"{row}-occluded")
    assert changed(plain, occluded) == {"views"}
    assert occluded.views == replace(plain.views, occlusion=PretrainRecipe().views.occlusion)


def test_the_unleaked_control_differs_in_its_faces_and_not_in_its_recipe() -> None:
    assert table1_row("Res18-scratch-unleaked", seed=2) == table1_row("Res18-scratch", seed=2)


def test_the_unattended_control_lacks_attention_and_nothing_else() -> None:
    whole = table1_row("OCL+Res18+FGW+LGDS")
    assert changed(whole, table1_row("OCL+Res18+FGW+LGDS-unattended")) == {"attention"}


@pytest.mark.parametrize("tier", TIERS)
def test_densenet_is_trained_as_resnet_is(tier) -> None:
    resnet, densenet = (table1_row(f"{net}-scratch", tier) for net in ("Res18", "DenseNet121"))
    assert changed(resnet, densenet) == {"network"}
    assert densenet.network == replace(resnet.network, backbone="densenet121")


@pytest.mark.parametrize("tier", TIERS)
def test_mobilenet_goes_through_table_1_with_nothing_else_changed(tier) -> None:
    pairs = {row: row.replace("Res18", "MobileNetV2") for row in (*TABLE1_ROWS, "Res18-scratch")}
    assert list(pairs.values()) == list(MOBILENET_ROWS)
    for res18, mobilenet in pairs.items():
        assert changed(table1_row(res18, tier), table1_row(mobilenet, tier)) == {"network"}
        network = table1_row(mobilenet, tier).network
        # ImageNet's weights fit the published network only.
        assert network == NetworkRecipe("mobilenet_v2", size=recipes.NETWORKS[tier].size)
        pretrain = table1_pretraining(mobilenet, tier)
        assert (pretrain is None) == (table1_pretraining(res18, tier) is None)
        assert pretrain is None or pretrain == pretraining(tier, network=network)


def test_simclr_is_ocl_without_occlusion() -> None:
    ocl, simclr = (table1_pretraining(f"{kind}+Res18", seed=3) for kind in ("OCL", "SimCLR"))
    assert ocl == pretraining(seed=3)
    assert simclr == replace(ocl, views=replace(ocl.views, occlusion=0.0))
    assert table1_row("SimCLR+Res18") == table1_row("OCL+Res18")


def test_rows_from_scratch_or_imagenet_have_no_contrastive_pretraining() -> None:
    without = {row for row in ROWS if table1_pretraining(row) is None}
    assert without == {
        "Res18", "Res18-scratch", "Res18-scratch-unleaked", "Res18-scratch-long",
        "Res18-scratch-occluded", "Res18-scratch-tenth", "FGW+LGDS-scratch", "DenseNet121-scratch",
        "MobileNetV2", "MobileNetV2-scratch",
    }  # fmt: skip


def test_no_control_starts_from_foreign_weights() -> None:
    assert not any(table1_row(row, "paper").pretrained for row in CONTROL_ROWS)


def test_an_unknown_row_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"one of Res18, .* or a reading, one of as-read, .* got 'Res50'"
    ):
        table1_row("Res50")
