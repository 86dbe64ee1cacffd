import json
import math
import os
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from occfer import recipes
from occfer.recipes import (
    BaselineRecipe,
    FinetuneRecipe,
    NetworkRecipe,
    PretrainRecipe,
    as_dict,
    finetuning,
    from_dict,
    pretraining,
)
from occfer.views import RandomView

TIERS = ("smoke", "laptop", "paper")


def test_the_defaults_are_the_paper_s() -> None:
    """§2.2, §2.3, §2.4 and §3.2, number by number."""
    pretrain, finetune = PretrainRecipe(), FinetuneRecipe()
    assert pretrain.epochs == 800
    assert pretrain.learning_rate == finetune.learning_rate == 0.00025
    assert pretrain.optimizer == finetune.optimizer == "adam"
    assert pretrain.network == finetune.network == NetworkRecipe("resnet18", None, "imagenet", 112)
    assert (finetune.regions, finetune.corner, finetune.centre) == (5, 0.75, 0.85)
    assert finetune.restrain_weight == 0.5
    assert not pretrain.one_view


def test_readings_chosen_where_the_paper_is_silent() -> None:
    pretrain, finetune = PretrainRecipe(), FinetuneRecipe()
    assert (pretrain.temperature, pretrain.batch_size) == (0.2, 256)
    assert (pretrain.projector_hidden, pretrain.projector_dimensions) == (512, 128)
    assert pretrain.views.occlusion == 0.5
    assert pretrain.views.occlusion_area == (0.05, 0.30)
    assert pretrain.views.fill == "mixed"
    assert (finetune.share, finetune.attention, finetune.attention_after) == ("side", "shared", -1)
    assert (finetune.head, finetune.fusion) == ("sliced", "concat")
    assert not finetune.official
    assert not finetune.detach_regions


@pytest.mark.parametrize(
    ("epoch", "falls"),
    [(1, 0), (79, 0), (80, 1), (84, 1), (85, 2), (89, 2), (90, 3), (100, 5), (199, 24)],
)
def test_the_rate_falls_by_a_tenth_every_five_epochs_from_epoch_80_on(epoch, falls) -> None:
    rate = FinetuneRecipe().learning_rate_at(epoch)
    assert rate == pytest.approx(0.00025 * 0.9**falls)


def test_sgd_is_the_other_reading() -> None:
    recipe = replace(FinetuneRecipe(), **recipes.SGD)
    assert (recipe.optimizer, recipe.momentum) == ("sgd", 0.9)
    assert recipe.learning_rate_at(0) == 0.01
    assert recipe.learning_rate_at(80) == pytest.approx(0.009)


@given(epochs=st.integers(1, 1000))
def test_a_cosine_falls_from_the_rate_to_nearly_nothing(epochs) -> None:
    recipe = PretrainRecipe(schedule="cosine", epochs=epochs)
    rates = [recipe.learning_rate_at(epoch) for epoch in range(epochs)]
    assert rates[0] == recipe.learning_rate
    assert rates == sorted(rates, reverse=True)
    assert recipe.learning_rate_at(epochs) == pytest.approx(0, abs=1e-12)
    # Symmetric about the middle: what is lost early is lost late.
    assert rates[0] - recipe.learning_rate_at(1) == pytest.approx(rates[-1], abs=1e-12)


def test_a_constant_rate_is_constant() -> None:
    assert {PretrainRecipe().learning_rate_at(epoch) for epoch in (0, 80, 799)} == {0.00025}


# Shorter and longer


@given(thousandths=st.integers(20, 1000))
@example(thousandths=290)  # of 200 epochs they are 58, and as floats a little less
def test_a_shrunk_recipe_lowers_the_rate_as_the_whole_one_does_and_earlier(thousandths) -> None:
    whole = FinetuneRecipe()
    short = recipes.stretched(whole, thousandths / 1000)
    assert short.epochs == 200 * thousandths // 1000
    assert short.patience == max(recipes.LEAST_PATIENCE, 30 * thousandths // 1000)
    # At the end of either the rate has fallen as far, to within one fall.
    last, short_last = (recipe.learning_rate_at(recipe.epochs - 1) for recipe in (whole, short))
    assert short.decay <= short_last / last <= 1 / short.decay
    assert recipes.stretched(whole, 1) == whole


def test_a_recipe_that_asks_for_little_patience_is_given_no_more() -> None:
    assert recipes.stretched(FinetuneRecipe(patience=2), 0.05).patience == 2
    assert recipes.stretched(FinetuneRecipe(patience=0), 0.05).patience == 1


def test_only_the_epochs_of_pretraining_shrink() -> None:
    recipe = PretrainRecipe(schedule="cosine")
    assert recipes.stretched(recipe, 0.25) == replace(recipe, epochs=200)
    assert recipes.stretched(recipe, 0.0001) == replace(recipe, epochs=1)


# Written and read


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("make", [pretraining, finetuning])
def test_a_recipe_survives_json(make, tier) -> None:
    recipe = make(tier, seed=7)
    assert recipe.seed == 7
    written = json.loads(json.dumps(as_dict(recipe)))
    assert from_dict(written) == recipe


def test_an_unknown_kind_of_recipe_is_refused() -> None:
    kinds = "PretrainRecipe, FinetuneRecipe, BaselineRecipe"
    with pytest.raises(ValueError, match=f"one of {kinds}, got 'Cake'"):
        from_dict({**as_dict(PretrainRecipe()), "kind": "Cake"})


@pytest.mark.parametrize(
    "wrong", [dict(epochs=0), dict(batch_size=1), dict(seed=-1), dict(seed=2**32)]
)
@pytest.mark.parametrize("kind", [PretrainRecipe, FinetuneRecipe])
def test_counts_that_cannot_be_are_refused(kind, wrong) -> None:
    [name] = wrong
    with pytest.raises(ValueError, match=rf"^{name} should .*, got {wrong[name]}; choose another"):
        kind(**wrong)


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0])
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (PretrainRecipe, "temperature"),
        (PretrainRecipe, "learning_rate"),
        (PretrainRecipe, "weight_decay"),
        (FinetuneRecipe, "learning_rate"),
        (FinetuneRecipe, "weight_decay"),
        (FinetuneRecipe, "momentum"),
        (FinetuneRecipe, "restrain_weight"),
        (FinetuneRecipe, "decay"),
    ],
)
def test_numbers_that_cannot_be_are_refused(kind, name, value) -> None:
    with pytest.raises(ValueError, match=rf"^{name} should be finite and .*, got {value}; choose"):
        kind(**{name: value})


@pytest.mark.parametrize(
    "wrong", [(PretrainRecipe, dict(temperature=0.0)), (FinetuneRecipe, dict(decay=0.0))]
)
def test_what_is_divided_by_or_multiplied_is_not_0(wrong) -> None:
    kind, values = wrong
    with pytest.raises(ValueError, match="should be finite and greater than 0, got 0"):
        kind(**values)


def test_an_unknown_schedule_is_refused(unchecked) -> None:
    recipe = PretrainRecipe()
    object.__setattr__(recipe, "schedule", "linear")
    with pytest.raises(ValueError, match="schedule must be 'constant' or 'cosine', got 'linear'"):
        unchecked(PretrainRecipe.__post_init__)(recipe)


@pytest.mark.parametrize("factor", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("recipe", [PretrainRecipe(), FinetuneRecipe()])
def test_no_recipe_is_stretched_to_nothing(recipe, factor) -> None:
    with pytest.raises(ValueError, match=f"factor should be greater than 0, got {factor}; "):
        recipes.stretched(recipe, factor)


def test_every_recorded_recipe_can_still_be_read() -> None:
    """And the views that it asks for can be drawn."""
    found = 0
    for file in (Path(__file__).parents[1] / "book" / "results").rglob("*.json"):
        written = json.loads(file.read_text())
        if isinstance(written, dict) and isinstance(written.get("recipe"), dict):
            recipe = from_dict(written["recipe"])
            if not isinstance(recipe, BaselineRecipe):
                RandomView(**asdict(recipe.views))
            found += 1
    assert found > 100


def test_a_recipe_of_a_later_version_is_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown fields \['flavour'\]; update occfer"):
        from_dict({**as_dict(PretrainRecipe()), "flavour": "vanilla"})


@pytest.mark.parametrize("where", ["network", "views"])
def test_an_unknown_part_of_a_recipe_is_refused(where) -> None:
    written = json.loads(json.dumps(as_dict(PretrainRecipe())))
    written[where]["flavour"] = "vanilla"
    with pytest.raises(ValueError, match=r"unknown fields \['flavour'\]; update occfer"):
        from_dict(written)


@pytest.mark.parametrize("name", ["network", "views", "seed"])
def test_a_field_that_an_older_version_did_not_write_takes_its_default(name) -> None:
    recipe = pretraining("smoke", seed=7)
    written = as_dict(recipe)
    del written[name]
    assert from_dict(written) == replace(recipe, **{name: getattr(PretrainRecipe(), name)})


# The tier


def tier_of(value: str | None) -> subprocess.CompletedProcess:
    environment = {key: v for key, v in os.environ.items() if key != "OCCFER_TIER"}
    if value is not None:
        environment["OCCFER_TIER"] = value
    code = (
        "import importlib.util as u, sys; s = u.spec_from_file_location('recipes', sys.argv[1]);"
        "m = u.module_from_spec(s); sys.modules['recipes'] = m; s.loader.exec_module(m);"
        "print(m.TIER, m.finetuning().network.size)"
    )
    return subprocess.run(
        [sys.executable, "-c", code, recipes.__file__],
        env=environment,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("value", "said"),
    [(None, "smoke 48"), ("smoke", "smoke 48"), ("laptop", "laptop 48"), ("paper", "paper 112")],
)
def test_one_environment_variable_chooses_the_tier(value, said) -> None:
    assert tier_of(value).stdout.strip() == said


def test_an_unknown_tier_is_named() -> None:
    found = tier_of("huge")
    assert found.returncode != 0
    assert "OCCFER_TIER must be one of smoke, laptop, paper, got 'huge'." in found.stderr


# Precision


def seconds_of_a_step(precision: str) -> float:
    """A convolution of the laptop tier's network, there and back; the fastest of three."""
    layer = torch.nn.Conv2d(32, 32, 3, padding=1).to(memory_format=torch.channels_last)
    pixels = torch.rand(32, 32, 24, 24).to(memory_format=torch.channels_last)
    times = []
    for _ in range(3):
        start = time.process_time()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
            layer(pixels).float().sum().backward()
        times.append(time.process_time() - start)
    return min(times)


@pytest.mark.skipif(torch.cuda.is_available(), reason="measures the processor")
def test_the_laptop_tier_trains_in_numbers_that_the_processor_has() -> None:
    """Imitated bfloat16 takes tens of times as long; bfloat16 in hardware is no slower."""
    chosen = pretraining("laptop").precision
    assert chosen == finetuning("laptop").precision
    assert seconds_of_a_step(chosen) < 4 * seconds_of_a_step("32-true")


def test_the_smoke_tier_is_exact() -> None:
    """Stored outputs of notebooks are compared, so they may not depend on the processor."""
    assert {pretraining("smoke").precision, finetuning("smoke").precision} == {"32-true"}


@pytest.mark.parametrize("strange", [{"epochs": "ten"}, {"kind": ["a"]}, {"network": 5}])
def test_a_recipe_of_wrong_types_is_one_sentence(strange: dict) -> None:
    with pytest.raises(ValueError, match=r"a recipe should name its kind .* but is damaged"):
        from_dict(as_dict(PretrainRecipe()) | strange)
