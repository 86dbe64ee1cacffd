"""Rows: what changes from one line of a table to the next, and nothing else (§3.3).

Table 1's four, the controls that the paper lacks, and the readings of chapter 11, each by its name.
A row consists of a fine-tuning recipe and, where it starts from an encoder of ours, of a
pre-training recipe; both are the tier's (:mod:`occfer.recipes`) with the row's changes.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from occfer.recipes import (
    TIER,
    FinetuneRecipe,
    NetworkRecipe,
    PretrainRecipe,
    Tier,
    ViewRecipe,
    finetuning,
    pretraining,
    stretched,
)

TABLE1_ROWS: dict[str, dict[str, Any]] = {
    "Res18": dict(method="plain", pretrained=True),
    "OCL+Res18": dict(method="plain"),
    "OCL+Res18+FGW": dict(method="fgw", restrain_weight=0.0),
    "OCL+Res18+FGW+LGDS": dict(method="fgw", restrain_weight=0.5),
}
"""What changes from row to row of Table 1."""

CONTROL_ROWS: dict[str, dict[str, Any]] = {
    "Res18-scratch": dict(method="plain"),
    "Res18-scratch-unleaked": dict(method="plain"),
    "Res18-scratch-long": dict(method="plain"),
    "OCL+Res18-long": dict(method="plain"),
    "Res18-scratch-occluded": dict(method="plain"),
    "OCL+Res18-occluded": dict(method="plain"),
    "Res18-scratch-tenth": dict(method="plain"),
    "OCL+Res18-tenth": dict(method="plain"),
    "FGW+LGDS-scratch": dict(method="fgw", restrain_weight=0.5),
    "OCL+Res18+FGW+LGDS-occluded": dict(method="fgw", restrain_weight=0.5),
    "OCL+Res18+FGW+LGDS-unattended": dict(method="fgw", restrain_weight=0.5, attention="none"),
    "SimCLR+Res18": dict(method="plain"),
    "DenseNet121-scratch": dict(method="plain"),
}
"""Rows the paper lacks: no pre-training at all; the same without the training faces whose pixels
also stand in a held-out split; none and OCL+Res18 for five times the epochs, because five regions
cost five times as much; OCL's occlusion as augmentation in fine-tuning; a tenth of the labels for
five times the epochs, with and without OCL; FGW without OCL; the whole method with blocks in
fine-tuning, and without attention; pre-training without occlusion, which is SimCLR (Table 2); and
the other network of Figure 3."""

MOBILENET_ROWS: dict[str, dict[str, Any]] = {
    row.replace("Res18", "MobileNetV2"): values
    for row, values in {**TABLE1_ROWS, "Res18-scratch": CONTROL_ROWS["Res18-scratch"]}.items()
}
"""Table 1 once more with another backbone, as published in every tier, so that ImageNet's weights
fit; OCL starts from nothing here too."""

ROWS = TABLE1_ROWS | CONTROL_ROWS | MOBILENET_ROWS
"""Every row of Table 1 that can be run, in the order of the table."""

WHOLE_METHOD = "OCL+Res18+FGW+LGDS"
METHOD_READINGS: dict[str, dict[str, Any]] = {
    "as-read": {},
    "restrain_weight=0": dict(restrain_weight=0.0),
    "restrain_weight=2": dict(restrain_weight=2.0),
    "detach_regions=True": dict(detach_regions=True),
    "head=separate": dict(head="separate"),
    "head=separate+ce": dict(head="separate+ce"),
    "share=area": dict(share="area"),
    "regions=1": dict(regions=1),
    "regions=4": dict(regions=4),
    "attention=per_region": dict(attention="per_region"),
    "attention_after=-2": dict(attention_after=-2),
    "official=True": dict(official=True),
    "fusion=mean": dict(fusion="mean"),
}
"""The whole method as we read it, and with one other choice each where the text leaves one open
or a reader may wonder (chapter 11)."""


def _covering(recipe: PretrainRecipe, **changes) -> PretrainRecipe:
    """Pre-training with other blocks."""
    return replace(recipe, views=replace(recipe.views, **changes))


OCL_READINGS: dict[str, Callable[[PretrainRecipe], PretrainRecipe]] = {
    "OCL-as-read": replace,
    "one_view=True": partial(replace, one_view=True),
    "occlusion=1": partial(_covering, occlusion=1.0),
    "occlusion_area=0.05-0.6": partial(_covering, occlusion_area=(0.05, 0.6)),
    "temperature=0.5": partial(replace, temperature=0.5),
    "temperature=0.1": partial(replace, temperature=0.1),
    "epochs=2x": partial(stretched, factor=2),
}
"""OCL+Res18 as we read it, and with another pre-training each. A choice of pre-training needs an
encoder of its own, and is seen best where nothing but the backbone comes after it."""

READINGS = (*METHOD_READINGS, *OCL_READINGS)
"""Every reading, by its name."""

SHORT = 0.5
"""Share of the epochs of fine-tuning in which readings are told apart."""

OCCLUDED = ViewRecipe().occlusion


def row_network(row: str, tier: Tier = TIER) -> NetworkRecipe:
    """The tier's network with the backbone that the row names."""
    network = finetuning(tier).network
    if row.startswith("DenseNet121"):
        return replace(network, backbone="densenet121")
    if "MobileNetV2" in row:
        return NetworkRecipe("mobilenet_v2", size=network.size)
    return network


def table1_row(row: str, tier: Tier = TIER, **changes) -> FinetuneRecipe:
    """The fine-tuning recipe of a row of Table 1, of a control or of a reading."""
    if row in READINGS:
        whole = table1_row("OCL+Res18" if row in OCL_READINGS else WHOLE_METHOD, tier)
        return replace(stretched(whole, SHORT), **METHOD_READINGS.get(row, {}), **changes)
    if row not in ROWS:
        raise ValueError(
            f"row must be one of {', '.join(ROWS)}, or a reading, one of "
            f"{', '.join(READINGS)}; got {row!r}."
        )
    recipe = finetuning(tier, network=row_network(row, tier), **ROWS[row])
    if row.endswith(("-long", "-tenth")):
        recipe = stretched(recipe, recipe.regions)
    if row.endswith("-occluded"):
        recipe = replace(recipe, views=replace(recipe.views, occlusion=OCCLUDED))
    return replace(recipe, **changes)


def table1_pretraining(row: str, tier: Tier = TIER, **changes) -> PretrainRecipe | None:
    """The pre-training a row starts from; None where it starts without.

    SimCLR is OCL without the occlusion, and nothing else changes (Chen et al., 2020).
    """
    recipe = pretraining(tier, network=row_network(row, tier), **changes)
    if row in READINGS:
        return OCL_READINGS.get(row, replace)(recipe)
    kind = row.split("+")[0]
    if kind == "OCL":
        return recipe
    if kind == "SimCLR":
        return _covering(recipe, occlusion=0.0)
    return None
