# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 10 · Figure 4: looking inside
#
# The paper ends with a picture (§3.6, Figure 4): faces with more and more of them covered above, and
# below them the same faces, bright where the network looks. The bright parts lie on eyes, brows and
# mouths that are not covered, and the paper concludes that its method has learnt to look past the
# occluder. It is a beautiful picture. It is also a few faces, chosen by nobody knows whom.
#
# This chapter draws the picture and then measures what it seems to say, on every test face. You will learn
#
# - to bring the attention of five overlapping regions back to one face, and to compute Grad-CAM;
# - to measure how much of a network's look falls on the occluder, when the exact mask is known;
# - to ask by deletion and insertion whether the network *needs* what its map marks;
# - to find out with a network that forgets whether a map says anything of the network at all;
# - what such a picture can prove, and what it cannot.
#
# A small network is trained here, so that you can look inside it with your own hands; the numbers at the
# end come from recorded runs. The last cell prints how long this notebook took, and how much memory.

# %% tags=["colab", "remove-cell"]
# Where occfer is missing, as on Colab, this installs it, beside the recorded runs that the page reads.
import importlib.util
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

REPOSITORY = "https://github.com/occfer/occfer"  # yours, if this is a fork

spec = importlib.util.find_spec("occfer")
if spec is None or spec.origin is None:  # no origin: a folder of that name, and nothing installed
    if not Path("occfer").exists():
        clone = ["git", "clone", "--quiet", "--depth", "1", REPOSITORY, "occfer"]
        subprocess.run(clone, check=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "./occfer"], check=True)
if "numpy" in sys.modules and sys.modules["numpy"].__version__ != version("numpy"):
    raise RuntimeError("All is installed; now restart the session and run all cells again.")
if Path("occfer/book/results").is_dir():
    os.chdir("occfer/book")

# %%
import itertools
import math
import time
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Markdown, display
from torch.nn.functional import interpolate

from occfer import EMOTIONS, finetune, load_faces, recipes
from occfer.experiments import figure3, figure4
from occfer.experiments.comparison import difference
from occfer.experiments.study import Study
from occfer.plots import BLACK, BLUE, GREEN, GREY, ORANGE, PALETTE, show_face, stamp, style
from occfer.randomness import generator_for
from occfer.saliency import (
    PARTS, area, attention_map, cascade, centred_map, deletion, grad_cam, insertion,
    occluder_ratio, part_masks, part_shares, random_map, rank_correlation,
)

begun = time.perf_counter()
style()
plt.rcParams["figure.dpi"] = 90  # many photographs: keep the notebook small
RESULTS = Path("results")

# %% [markdown]
# ## A network to look into
#
# FGW with attention and LGDS, from scratch, on a slice of the rendered faces. At the smoke tier it is
# small, has seen little and knows little; that is enough to learn the tools on, and no result.

# %% tags=["nbval-ignore-output"]
train, validation = (load_faces("synthfer", split, size=48) for split in ("train", "val"))
test = load_faces("synthfer", "test", size=112)
recipe = recipes.finetuning()
if recipes.TIER == "smoke":
    train, validation = train[:: len(train) // 224][:224], validation[:70]
    recipe = replace(recipe, network=replace(recipe.network, size=36))
tuned = finetune(train, validation, recipe, progress=False)
model = tuned.model.eval()
best = max(row["validation_accuracy"] for row in tuned.history)
display(Markdown(f"{recipes.TIER} tier: {len(tuned.history)} epochs, best validation accuracy {best:.0%}."))

# %% [markdown]
# ## From five maps to one
#
# For each region the spatial attention (6) is a small map with one number between 0 and 1 for each
# cell of the last feature map. Each cell belongs to a place in its region, and each region to a place in the
# face. So every map is enlarged to its region's box and laid over it; where boxes overlap, the
# values are averaged.

# %%
faces = test[[260, 510, 905]]
images = faces.images / 255
with torch.no_grad():
    attention = model(images).attention  # [B, 5, h, w]

side = 112
summed, times = torch.zeros(len(faces), side, side), torch.zeros(side, side)
corners = [(0, 0), (0, 28), (28, 0), (28, 28)]  # top and left of regions three quarters wide
for region, (top, left) in enumerate(corners):
    laid = interpolate(attention[:, region : region + 1], size=(84, 84), mode="bilinear")
    summed[:, top : top + 84, left : left + 84] += laid[:, 0]
    times[top : top + 84, left : left + 84] += 1
# The centre region covers 85 % of each side: from 8.4 to 103.6 pixels, in no whole number of them.
# Only pixels that lie outside of it can be compared with this simple version.
outside = torch.ones(side, side, dtype=torch.bool)
outside[8:104, 8:104] = False
ours = summed / times
theirs = attention_map(model, images)
same = torch.allclose(ours[:, outside], theirs[:, outside], atol=1e-5)
assert same
print("the library's map is the same outside of the centre:", same)

# %% [markdown]
# Attention is what the network multiplies its features with. It is *not* what the answer depends on: a
# large weight may meet a feature that no class cares for {cite:p}`jain2019attention`. Grad-CAM
# {cite:p}`selvaraju2017gradcam` asks the other way round: with $A_c$ the channels of the last feature map
# and $z_y$ the score of class $y$,
#
# $$ M = \max\Bigl(0, \sum_c \Bigl(\tfrac{1}{hw} \sum_{ij} \frac{\partial z_y}{\partial A_{c,ij}}\Bigr) A_c\Bigr), $$
#
# which is large where a feature is present that would raise the score. It works for any network, also
# for one without attention, and that makes it the fair map for comparisons.

# %%
from occfer import PlainClassifier
from occfer.randomness import seeded_modules

with seeded_modules(0):
    plain = PlainClassifier(width=16, stem="small", size=48).eval()
small = interpolate(images, size=(48, 48), mode="area")
features = plain.encoder.backbone(small).detach().requires_grad_()  # [B, C, h, w]
scores = plain.fc(features.mean(dim=(2, 3)))
said = scores.argmax(dim=1)
(gradient,) = torch.autograd.grad(scores.gather(1, said[:, None]).sum(), features)
by_hand = (gradient.mean(dim=(2, 3), keepdim=True) * features).sum(dim=1).clamp(min=0)
enlarged = interpolate(by_hand[:, None], size=(48, 48), mode="bilinear")[:, 0]
library = grad_cam(plain, small)
same = torch.allclose(enlarged, library, atol=1e-5)
assert same
print("the library's Grad-CAM is the same:", same)

# %% [markdown]
# ## The picture
#
# Originals above and their maps below. From left to right a block covers 0 to 30 hundredths of the face, and in the
# last column the face wears a mask. The upper pair of rows shows attention as the paper does, as a face that is darkened
# where the map is low; the lower pair shows Grad-CAM of another face in colours, dark blue to yellow.
#
# One thing such a picture hides. To be seen at all, each map is stretched: its lowest value is drawn dark and
# its highest bright, however near to each other the two lie. So two maps of this picture cannot be compared by
# their brightness, and a map that is nearly even looks as decided as any other. That is why its true range,
# from the lowest value to the highest, stands below each.

# %% mystnb={"image": {"alt": "Rendered faces with nothing to three tenths covered and with a mask, in rows; below the first row the same faces, bright where attention of the small network is high, and below the second its Grad-CAM in colours."}}
conditions = figure4.covered_faces(faces)
titles = {name: f"{name} %" if name.isdigit() else "mask" for name in conditions}


def stretched(saliency):
    """A map from its own lowest value, 0, to its own highest, 1."""
    low, high = saliency.amin(), saliency.amax()
    return (saliency - low) / (high - low).clamp(min=1e-9)


def spotlight(image, saliency):
    """A face that is bright where its map is high: [3, H, W]."""
    return image * (0.15 + 0.85 * saliency)


def coloured(image, saliency):
    """The map alone, in colours that also print in grey: [3, H, W]."""
    return torch.from_numpy(plt.colormaps["cividis"](saliency.numpy())[..., :3]).permute(2, 0, 1)


def show_map(axis, image, saliency, draw=spotlight, title=""):
    """The stretched map, and below it its true range, which the stretching hides."""
    show_face(axis, draw(image, stretched(saliency)), title)
    axis.set_xlabel(f"{saliency.amin():.2g} to {saliency.amax():.2g}", fontsize=7)


figure, axes = plt.subplots(4, len(conditions), figsize=(9, 4.9))
for pair, (name, look, number, draw) in enumerate(
    [("attention", attention_map, 2, spotlight), ("Grad-CAM", grad_cam, 1, coloured)]
):
    for column, (condition, covered) in enumerate(conditions.items()):
        image = covered[number : number + 1].images / 255
        show_face(axes[2 * pair, column], image[0], titles[condition] if pair == 0 else "")
        show_map(axes[2 * pair + 1, column], image[0], look(model, image)[0], draw)
    axes[2 * pair + 1, 0].set_ylabel(name, fontsize=9)
stamp(figure, "each map from its own lowest value to its own highest")
plt.show()

# %% [markdown]
# Look at it for a while, and notice what your eye does. It finds the eyes and the mouth by itself and is
# pleased wherever the light falls on them. It does not notice where the light falls on nothing. That is
# why a picture is not enough.
#
# ## How much of the look falls on the occluder?
#
# Chapter 3 promised exact masks, and here they pay. Let $m$ be the mask and $s$ the map. The occluder's
# share of the saliency is $\sum ms / \sum s$. A map that is even, or drawn by chance, puts onto the occluder
# what the occluder takes of the picture, so we divide by that:
#
# $$ \rho = \frac{\sum m s \,/ \sum s}{\frac{1}{HW} \sum m}. $$
#
# One is what an even map gets. Below one less of the map lies on the occluder than of an even one, above one
# more. Does a ratio below one mean that the network looks past the occluder, and one above that it stares at it?
# Not yet. That depends on what the map would have had there without any occluder.

# %%
def ratio(saliency, mask):
    """Share of the map on the mask, over the mask's share of the picture: [B]."""
    on_it = (saliency * mask).sum(dim=(1, 2)) / saliency.sum(dim=(1, 2))
    return on_it / mask.float().mean(dim=(1, 2))


some = test[figure4.first_of_each(test.labels, 10)] if recipes.TIER == "smoke" else test
covered = figure3.cover(some, 0.3)
pictures, mask = covered.images / 255, covered.extras["covered"]
look = attention_map(model, pictures)
assert torch.allclose(ratio(look, mask), occluder_ratio(look, mask), atol=1e-4)
chance, middle = random_map(look, generator_for(0)), centred_map(look)
blind = [ratio(each, mask).mean().item() for each in (chance, middle)]
print(f"by chance {blind[0]:.2f}, a Gaussian in the middle {blind[1]:.2f}")

# %% [markdown]
# The second control deserves a thought. A Gaussian in the middle of the picture knows nothing of any
# face, and yet its ratio is not one, because random blocks lie in the middle more often than at the
# edges, and so do masks. A network that always looks at the middle would seem to stare at the occluder,
# and one that always looks at the corners would seem wise. Every ratio has to be read beside this one.
#
# A third control is the nearest one: the network itself, before the occluder came. Its map of the *uncovered*
# face knows all of the network's habits and nothing of the occluder. Laid on the same mask, it says how much
# the network would have looked there anyway. If its map of the covered face has less there, the network has
# shifted its look away from the occluder; if it has as much, it has not noticed.

# %% tags=["nbval-ignore-output"]
before = attention_map(model, some.images / 255)
display(Markdown(
    f"The small network's attention: {ratio(look, mask).mean():.3f} on the occluder, and "
    f"{ratio(before, mask).mean():.3f} on the same places before it was there ({len(some)} faces)."
))

# %% [markdown]
# ## Does it need what it marks?
#
# A map claims that some pixels matter. Take it at its word {cite:p}`petsiuk2018rise`. *Deletion*
# replaces the most salient pixels first by the mean of the picture; if the map is right, the
# probability of the answer falls at once. *Insertion* starts from a blurred face and brings the most
# salient pixels back; if the map is right, the probability rises at once. Both are curves, and each is
# summed up by the area under it: a small one is good for deletion, a large one for insertion.

# %%
@torch.no_grad()
def deleted(image, saliency, label, steps=10):
    """One face, step by step: the probability of ``label`` as salient pixels are taken away."""
    order = saliency.flatten().argsort(descending=True, stable=True)
    heights = []
    for step in range(steps + 1):
        left = image.flatten(1).clone()  # [3, H·W]
        left[:, order[: math.ceil(len(order) * step / steps)]] = image.mean(dim=(1, 2))[:, None]
        heights.append(model(left.view_as(image)[None]).logits.softmax(dim=1)[0, label])
    return torch.stack(heights)


with torch.no_grad():
    answers = model(images).logits.argmax(dim=1)
# Maps are enlarged from few cells and hold equal values at their borders, which the library takes in
# random order. The two versions are therefore compared on a map without ties.
order = [torch.randperm(side * side, generator=generator_for(face)) for face in range(len(faces))]
untied = torch.stack(order).view(-1, side, side).float()
ours = deleted(images[0], untied[0], answers[0])
theirs = deletion(model, images, untied, answers, generator_for(0))
same = torch.allclose(ours, theirs[0], atol=1e-4)
assert same
print("the library's curve is the same:", same)

# %% tags=["nbval-ignore-output"] mystnb={"image": {"alt": "Deletion and insertion curves of the small network, means over some faces, for attention, Grad-CAM, a map by chance from pixel to pixel, one by chance from cell to cell, and a Gaussian in the middle."}}
few = test[figure4.first_of_each(test.labels, 3)]
pictures = few.images / 255
with torch.no_grad():
    answers = model(pictures).logits.argmax(dim=1)
maps = figure4.saliency_maps(model, pictures, answers, generator_for(1))
LOOKS = {"attention": (BLUE, "o"), "Grad-CAM": (ORANGE, "s"), "chance": (GREY, "x"), "middle": (BLACK, "^"),
         "coarse chance": (GREEN, "D")}
figure, axes = plt.subplots(1, 2, figsize=(8, 2.9), sharey=True)
for axis, way in zip(axes, (deletion, insertion), strict=True):
    for name, each in maps.items():
        curve = way(model, pictures, each, answers, generator_for(2))
        colour, marker = LOOKS[name]
        axis.plot(np.linspace(0, 100, 11), curve.mean(dim=0), color=colour, marker=marker,
                  label=f"{name}: {area(curve).mean():.2f}")
    axis.set(title=f"{way.__name__}, {len(few)} faces", xlabel=f"pixels {'taken' if way is deletion else 'brought'} (%)")
    axis.legend(title="area", fontsize=8, loc="lower left")
axes[0].set(ylabel="probability of the answer", ylim=(0, 1))
stamp(figure)
plt.show()

# %% [markdown]
# There are two maps by chance, for a reason. A network's maps are enlarged from few cells, and take away or
# bring back whole patches of a face. *Chance*, drawn for each pixel alone, takes a pixel here and a pixel there,
# which hides nothing for long and shows a little of everything early. That is a weak rival in deletion and a
# strong one in insertion, and neither says anything of *where* a map looks. *Coarse chance* draws one number for
# each cell of the network's own grid and enlarges it as the network's maps are; it differs from them in nothing
# but knowledge.
#
# ## On which part of the face?
#
# Five landmarks give boxes around brows, eyes, nose and mouth; the rest is the rest. The share of a map on
# each part is worth knowing by expression: does the network look at the mouth for happiness? What a
# blind map would put there is the part's share of the picture, so that share stands in the first row.

# %%
masks = part_masks(some.landmarks, *some.size)
assert bool((masks.sum(dim=1) == 1).all())  # every pixel belongs to one part
constant = part_shares(torch.ones(len(some), *some.size), masks)
assert torch.allclose(constant, masks.float().mean(dim=(2, 3)))
shares = part_shares(attention_map(model, some.images / 255), masks)
assert torch.allclose(shares.sum(dim=1), torch.ones(len(some)), atol=1e-5)

# %% tags=["nbval-ignore-output"]
rows = [f"| expression | {' | '.join(PARTS)} |", f"|---|{'---|' * len(PARTS)}"]
rows.append("| *the part's share* | " + " | ".join(f"{v:.2f}" for v in constant.mean(dim=0)) + " |")
for label, emotion in enumerate(EMOTIONS):
    means = shares[some.labels == label].mean(dim=0)
    rows.append(f"| {emotion} | " + " | ".join(f"{v:.2f}" for v in means) + " |")
display(Markdown("Attention of the small network:\n\n" + "\n".join(rows)))

# %% [markdown]
# ## A network that forgets
#
# There is a test that a map can fail outright {cite:p}`adebayo2018sanity`. Replace the trained weights by
# random ones, layer by layer from the output down, and draw the map again after each. A map that tells what
# the network has *learnt* must change. One that stays as it was shows the picture, or the architecture, and
# would have looked just as convincing without any training.

# %% tags=["nbval-ignore-output"] mystnb={"image": {"alt": "Rank correlation between the map of the trained network and of one that has forgotten its layers one after the other, for attention and Grad-CAM."}}
from occfer.engine.finetune import build_classifier

pictures = few[:14].images / 255
untrained = build_classifier(replace(recipe, seed=1)).eval()
said = answers[:14]  # by the trained network; of the same class we ask all along
DRAW = {"attention": attention_map, "Grad-CAM": lambda network, faces: grad_cam(network, faces, said)}
trained = {name: draw(model, pictures) for name, draw in DRAW.items()}
steps, alike, dead = ["nothing"], {name: [1.0] for name in trained}, []
for layer, forgetful in cascade(model, untrained):
    steps.append(layer)
    for name, draw in DRAW.items():
        likeness = rank_correlation(trained[name], draw(forgetful.eval(), pictures))
        alike[name].append(likeness.nanmean().item())
        if likeness.isnan().any():
            dead.append(f"{int(likeness.isnan().sum())} of {name} down to {layer}")
figure, axis = plt.subplots(figsize=(7, 2.8))
for name, heights in alike.items():
    colour, marker = LOOKS[name]
    axis.plot(range(len(steps)), heights, color=colour, marker=marker, label=name)
axis.set_xticks(range(len(steps)), steps)
axis.set(ylabel="rank correlation", xlabel="forgotten from the output down to", ylim=(-1, 1.05))
axis.axhline(0, color=GREY, linewidth=0.8)
axis.set_title(f"means over {len(pictures)} faces; one network of seed {recipe.seed}, forgotten to one of seed 1")
axis.legend()
stamp(figure)
plt.show()
display(Markdown(
    f"Maps that are 0 everywhere rank nothing and are left out of the means: {', '.join(dead) or 'none here'}."
))

# %% [markdown]
# Grad-CAM is drawn for one class from left to right, the trained network's answer; else it would change
# with every new answer, whatever the layers know. Attention is not touched when the head forgets, for it is
# computed before the head; it has to change when its own layer does. Whatever likeness is left at the right end is not learnt: boxes that overlap,
# edges of pictures, and borders that convolutions pad with zeros look alike in every network.
#
# ## What the records say
#
# Now the same measures on all test faces, from the records that `occfer reproduce figure4` leaves; deletion
# and insertion, which cost most, on the first faces of each expression. Grad-CAM is the map that all of these
# networks have.

# %%
TIER = "laptop"
found = figure4.recorded(Study("synthfer", TIER, RESULTS))
WATCHED = ("OCL+Res18+FGW+LGDS", "OCL+Res18+FGW")  # the methods that have attention
CONTROLS = ("chance", "middle")  # they know nothing of a network, so any record will do
any_records = found["OCL+Res18+FGW+LGDS"][:1]
under = [condition for condition in conditions if condition != "0"]


def line(name, seeds, records, measure, where):
    """One line of a table: the means over faces and seeds under some conditions."""
    means = [np.nanmean(figure4.values_of(records, condition, measure)) for condition in where]
    return f"| {name} | {seeds} | " + " | ".join(f"{each:.2f}" for each in means) + " |"


head = f"| row | seeds | {' | '.join(titles[condition] for condition in under)} |\n|---|---|{'---|' * len(under)}"
caption = "share of the saliency on the occluder over the occluder's share of the picture; an even map gets 1"
for name, methods in (("attention", WATCHED), ("Grad-CAM", tuple(found))):
    lines = [line(row, len(found[row]), found[row], f"{name} ratio", under) for row in methods]
    lines += [line(f"*{blind}*", "–", any_records, f"{blind} ratio", under) for blind in CONTROLS]
    display(Markdown(f"**{name}, SynthFER, {TIER} tier**: {caption}\n\n{head}\n" + "\n".join(lines)))

# %% [markdown]
# And the nearest control, each network's own map of the uncovered face?

# %%
def before_and_after(row, masks, name="Grad-CAM"):
    """The ratio of a method's maps before and under a block over 30 %, by seed; and whose faces say the first."""
    records = found[row]
    own = [record.predictions.values["30"].get(f"{name} uncovered ratio") for record in records]
    kept = all(each is not None for each in own)
    before = [
        float(np.nanmean(each.astype(float))) if kept else figure4.ratio_of_shown([record], masks, name)
        for each, record in zip(own, records, strict=True)
    ]
    under = [float(np.nanmean(record.predictions.values["30"][f"{name} ratio"].astype(float))) for record in records]
    return before, under, "each face's own" if kept else f"mean of {len(records[0].predictions.pictures['shown'])} faces"


def spread(values):
    """Mean over seeds, and in brackets the lowest and the highest."""
    return f"{np.mean(values):.2f} [{min(values):.2f}, {max(values):.2f}]"


masks = figure3.cover(test, 0.3).extras["covered"]
table = ["| Grad-CAM of | seeds | uncovered face, same places | from | covered face |", "|---|--:|--:|---|--:|"]
shifts = {}
for row in found:
    before, under, whose = before_and_after(row, masks)
    shifts[row] = max(np.array(under) - np.array(before))  # of the seed that shifts least
    table.append(f"| {row} | {len(under)} | {spread(before)} | {whose} | {spread(under)} |")
always = [row for row, each in shifts.items() if each < 0]
others = [row for row in shifts if row not in always]
display(Markdown(
    f"**Ratio on a block over 30 %, before it came and after, SynthFER, {TIER} tier**: mean over seeds, lowest and "
    "highest in brackets\n\n" + "\n".join(table)
))
display(Markdown(
    f"With every seed the covered face has less there: {', '.join(always) or 'none'}. "
    f"Not with every seed: {', '.join(others) or 'none'}."
))

# %% [markdown]
# Records in which the third column is *mean of* some faces were made before this control was measured for each face.
# They keep the uncovered maps of one face of each expression only, so the mean of those maps is laid on all masks. It
# stands for where a network looks in the mean, from a handful of faces, and not for where it looks in each face. Take
# small differences from it as a hint.
#
# Which of the differences *between methods* are more than chance? Two methods are compared face by face, over the seeds
# that both have, and there are two doubts as in {doc}`chapters 7 <07-training>` and {doc}`8 <08-comparing-honestly>`:
# other test faces, and other seeds. Each is asked at five per cent while the other is held fixed. How little the faces
# alone can say, two seeds of the *same* method show, for between them lies nothing but chance.

# %%
WITH_AND_WITHOUT = {
    "attention": ("OCL+Res18+FGW+LGDS", "OCL+Res18+FGW+LGDS-unattended"),
    "LGDS": ("OCL+Res18+FGW+LGDS", "OCL+Res18+FGW"),
    "regions, attention and LGDS together": ("OCL+Res18+FGW+LGDS", "OCL+Res18"),
    "pre-training": ("OCL+Res18", "Res18-scratch"),
}
COVER = {"30": "a block over three tenths of the face", figure3.MASK: "a surgical mask"}


def cells(what, scale=1):
    """A difference and its two intervals of 95 %, for a table."""
    faces, seeds = (" to ".join(f"{scale * end:+.2f}" for end in ends) for ends in (what.interval_faces, what.interval))
    return f"{scale * what.mean:+.2f} | {faces} | {seeds}"


def seeds_told_apart(condition):
    """How many pairs of seeds of one and the same method the faces tell apart, and of how many."""
    verdicts = [
        difference(*({0: each.predictions.values[condition]["Grad-CAM ratio"]} for each in pair)).verdict
        for records in found.values() for pair in itertools.combinations(records, 2)
    ]
    return sum(verdict != "not told apart" for verdict in verdicts), len(verdicts)


lines, passed = [], []
for part, rows in WITH_AND_WITHOUT.items():
    ours = {condition: figure4.compare(found, *rows, condition, "Grad-CAM ratio") for condition in COVER}
    lines.append(f"| {part} | {' | '.join(cells(each) for each in ours.values())} |")
    passed += [(part, condition) for condition, each in ours.items() if each.verdict in ("higher", "lower")]
(block, pairs), (mask, _) = (seeds_told_apart(condition) for condition in COVER)
assert passed == [("pre-training", figure3.MASK)] and min(block, mask) > pairs / 2
head = "| part | block | over faces | over seeds | mask | over faces | over seeds |\n" + "|---" * 7 + "|"
display(Markdown(
    "**Ratio of Grad-CAM with a part minus without it, on a block over three tenths of the face and on a surgical mask**, "
    f"with 95 % intervals\n\n{head}\n" + "\n".join(lines)
))
display(Markdown(
    f"Of these {len(COVER) * len(lines)} differences only that of pre-training under the mask passes both questions. Two seeds of "
    f"one method differ on these faces more often than not ({block} and {mask} of {pairs} pairs), so the other lines are no "
    "verdict on the methods."
))

# %% [markdown]
# Does attention help to recognise covered faces? That cannot be told either. What the other parts do to accuracy stands
# in {doc}`chapter 9 <09-accuracy-under-occlusion>`.

# %%
right = {
    cover: figure4.compare(found, *WITH_AND_WITHOUT["attention"], condition, "correct") for condition, cover in COVER.items()
}
assert all(each.verdict == "not told apart" for each in right.values())
display(Markdown(
    "| with attention minus without, under | points of accuracy | over faces | over seeds |\n|---|---|---|---|\n"
    + "\n".join(f"| {cover} | {cells(each, 100)} |" for cover, each in right.items())
))

# %% [markdown]
# Do the networks need what Grad-CAM marks? The fair rival is the Gaussian in the middle, as smooth as a network's map
# and blind. *Chance*, which is finer, would be too weak a rival in deletion and too strong a one in insertion.

# %%
lines, deleting, inserting = [], [], []
for row, records in found.items():
    for way, kept in (("deletion", deleting), ("insertion", inserting)):
        by_map = [
            {each.values["seed"]: each.predictions.values["0"][f"{name} {way}"] for each in records}
            for name in ("Grad-CAM", "middle")
        ]
        kept.append(difference(*by_map))
    lines.append(f"| {row} | {cells(deleting[-1])} | {cells(inserting[-1])} |")
head = "| method | deletion | over faces | over seeds | insertion | over faces | over seeds |\n" + "|---" * 7 + "|"
display(Markdown(
    f"**Area under the curve of Grad-CAM minus that of a Gaussian in the middle, SynthFER, {TIER} tier, the first "
    f"{figure4.CURVED_FACES} test faces of each expression, uncovered**, with 95 % intervals: below zero is better in "
    f"deletion, above zero in insertion\n\n{head}\n" + "\n".join(lines)
))
assert len(found) == 5 and all(each.verdict == "lower" for each in inserting)
assert not any(each.verdict.startswith("lower") for each in deleting)

# %% [markdown]
# For all five methods a Gaussian in the middle marks what the network needs at least as well as Grad-CAM. It may do so
# because these faces all fill the middle of the picture, which is a reason to put this control beside every such number.

# %% mystnb={"image": {"alt": "From the records: for every expression the share of the whole method's saliency on brows, eyes, nose, mouth and the rest, told apart by colour and hatching, and as the lowest bar what a blind map puts there."}}
records = found["OCL+Res18+FGW+LGDS"]
figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), sharey=True)
for axis, name in zip(axes, ("attention", "Grad-CAM"), strict=True):
    axis.set_title(f"{name}, {TIER} tier, mean of {len(records)} seeds")
    targets, left = records[0].predictions.targets, np.zeros(len(EMOTIONS) + 1)
    for part, colour, hatch in zip(PARTS, PALETTE, ("", "///", "...", "xxx", "\\\\"), strict=False):
        own = figure4.values_of(records, "0", f"{name} {part}")
        blind = figure4.values_of(records, "0", f"chance {part}")
        widths = np.array([np.nanmean(own[targets == label]) for label in range(len(EMOTIONS))] + [blind.mean()])
        axis.barh([*EMOTIONS, "blind"], widths, left=left, color=colour, hatch=hatch, edgecolor="white", label=part)
        left += widths
    axis.set(xlabel="share of the saliency", xlim=(0, 1))
axes[0].invert_yaxis()  # both share it; the first expression comes on top
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
plt.show()

# %%
on_mouth = {
    name: np.array([np.nanmean(figure4.values_of(records, "0", f"{name} mouth")[targets == label]) for label in range(len(EMOTIONS))])
    for name in ("attention", "Grad-CAM", "chance")
}
marked, blind = on_mouth["Grad-CAM"], on_mouth["chance"]
assert np.abs(on_mouth["attention"] - blind).max() < 0.005 and (marked > blind).all()
most = [EMOTIONS[label] for label in sorted(marked.argsort()[-2:])]
assert "happiness" not in most
display(Markdown(
    f"Does the network look at the mouth for happiness? Attention answers nothing: every bar is the blind one. Grad-CAM "
    f"has more on the mouth than a blind map for every expression ({marked.min():.2f} to {marked.max():.2f} against "
    f"{blind.mean():.2f}), most for {most[0]} and {most[1]}, not for happiness ({marked[EMOTIONS.index('happiness')]:.2f})."
))

# %% [markdown]
# ## And on photographs?
#
# Rendered faces fill the middle of their pictures and hold still. So the networks that Table 1 trained on FER2013 were
# measured in the same way, on every face of its test split. Its photographs may not be shown here; the numbers may.
# These records are younger than those above. Each holds the nearest control, the network's own map before the cover
# came, for every single face, and *coarse chance* as well. Networks without attention were not trained there.

# %%
photographs = figure4.recorded(Study("fer2013", TIER, RESULTS))


def of_every_face(records, condition, measure):
    """One number of every face, by seed."""
    return {each.values["seed"]: each.predictions.values[condition][measure] for each in records}


head = "| Grad-CAM of | seeds | before | under it | difference | over faces | over seeds |\n|---|" + "--:|" * 6
shifted = {}
for condition, cover in COVER.items():
    lines = []
    for row, seeds in photographs.items():
        if not seeds:
            lines.append(f"| {row} | 0 |" + " not run |" * 5)
            continue
        own = difference(*(of_every_face(seeds, condition, f"Grad-CAM {way}") for way in ("ratio", "uncovered ratio")))
        shifted[row, condition] = own
        lines.append(f"| {row} | {len(own.by_seed)} | {own.second:.2f} | {own.first:.2f} | {cells(own)} |")
    any_seed = next(filter(None, photographs.values()))[:1]
    for blind in CONTROLS:
        ratio_there = np.nanmean(figure4.values_of(any_seed, condition, f"{blind} ratio"))
        lines.append(f"| *{blind}* | – | {ratio_there:.2f} | {ratio_there:.2f} | | | |")
    display(Markdown(
        f"**Ratio on the places of {cover}, before it came and under it, FER2013, {TIER} tier**, with 95 % intervals of "
        f"the difference\n\n{head}\n" + "\n".join(lines)
    ))

# %%
assert not any(each.verdict in ("higher", "lower") for each in shifted.values())
least, most = (pick(each.mean for each in shifted.values()) for pick in (min, max))
both_ways = sum(min(each.by_seed.values()) < 0 < max(each.by_seed.values()) for each in shifted.values())
display(Markdown(
    f"Over the faces some of these differences are beyond chance; over the seeds none is, and in {both_ways} of "
    f"{len(shifted)} lines not even their signs agree. In the mean they lie between {least:+.2f} and {most:+.2f}, where the "
    f"ratios themselves lie around {np.mean([each.first for each in shifted.values()]):.1f}."
))

# %% [markdown]
# So on photographs these networks have not learnt to look past a cover, neither those with regions, attention and
# restraint nor those without. Where a block comes to lie, they look as much as they did before. Under a mask the two
# rows with regions have somewhat less than before, but their seeds do not agree on it. That all have more there than
# an even map is the habit of looking at the middle; the Gaussian, which has no other habit, has more still under a
# block.
#
# What do the parts of the method change, and do the networks need what Grad-CAM marks? Two blind maps are as smooth as
# theirs: the Gaussian, and *coarse chance*.

# %%
lines, told = [], {}
for part, rows in WITH_AND_WITHOUT.items():
    ours = [figure4.compare(photographs, *rows, condition, "Grad-CAM ratio") for condition in COVER]
    told |= {(part, condition): each for condition, each in zip(COVER, ours, strict=True) if each}
    lines.append(f"| {part} | {' | '.join(cells(each) if each else 'not run | | ' for each in ours)} |")
head = "| part | block | over faces | over seeds | mask | over faces | over seeds |\n|---|" + "--:|" * 6
display(Markdown(
    f"**Ratio of Grad-CAM with a part minus without it, FER2013, {TIER} tier**, on {' and on '.join(COVER.values())}, "
    f"with 95 % intervals\n\n{head}\n" + "\n".join(lines)
))

ASKED = list(itertools.product(("deletion", "insertion"), ("middle", "coarse chance")))
lines, needed = [], {}
for row, seeds in photographs.items():
    for way, blind in ASKED:
        both = (of_every_face(seeds, "0", f"{name} {way}") for name in ("Grad-CAM", blind))
        needed[row, way, blind] = difference(*both)
    own = (needed[row, way, blind] for way, blind in ASKED)
    lines.append(f"| {row} | " + " | ".join(f"{each.mean:+.3f}, {each.verdict}" if each else "not run" for each in own) + " |")
head = f"| Grad-CAM of | {' | '.join(f'{way} minus {blind}' for way, blind in ASKED)} |\n|---|" + "---|" * len(ASKED)
display(Markdown(
    f"**Area under the curve of Grad-CAM minus that of a blind map, FER2013, {TIER} tier**, the first "
    f"{figure4.CURVED_FACES} test faces of each expression, uncovered: below zero is better in deletion, above zero in "
    f"insertion\n\n{head}\n" + "\n".join(lines)
))

# %%
[(part, condition)] = [asked for asked, each in told.items() if each.verdict in ("higher", "lower")]
assert (part, condition) == ("regions, attention and LGDS together", figure3.MASK)
together = told[part, condition]
before = [shifted[row, condition].second for row in WITH_AND_WITHOUT[part]]
assert before[0] > together.first and before[0] - before[1] > together.mean
run = {asked: each for asked, each in needed.items() if each}
assert all(each.verdict.startswith("lower") for (_, way, blind), each in run.items() if (way, blind) == ASKED[1])
assert all(each.verdict.startswith("higher") for (_, way, blind), each in run.items() if (way, blind) == ASKED[3])
beside = [abs(each.mean) for (*_, blind), each in run.items() if blind == "middle"]
display(Markdown(
    f"One of the {len(told)} differences between methods passes both questions, and it is none to be proud of: on a mask the whole "
    f"method has *more* than the pre-trained network without regions ({together.first:.2f} against {together.second:.2f}). But "
    f"it had more on those places before the mask came, too ({before[0]:.2f} against {before[1]:.2f}): it looks more at "
    f"the part of a face that masks cover, and not at masks.\n\n"
    f"Grad-CAM finds what these networks need better than *coarse chance*, for all {len(run) // len(ASKED)} methods and both ways. "
    f"From the Gaussian in the middle it differs by {max(beside):.2f} at most."
))

# %% [markdown]
# That settles what the rendered faces left open. Grad-CAM marks places that matter, for it beats the blind map that
# has its grain. But what it knows beyond *faces are in the middle* is little: in deletion it is somewhat better than
# the Gaussian for these networks with regions and for the pre-trained ones, and somewhat worse for the plain ones.

# %% [markdown]
# ## Figure 4 of a recorded network
#
# The maps of one test face of each expression are kept in each record, by a rule and not by their looks. Here are
# those of the whole method, first seed. A record keeps each map as a share of its own highest
# value, and the picture stretches it further, down to its lowest; below each face stands how much of the highest the
# lowest is. Where that is near to one, the map is nearly even, and what looks bright is hardly more than the rest.

# %% mystnb={"image": {"alt": "From the record: seven rendered faces under every condition, bright where attention of the whole method is high."}}
kept = records[0].predictions.pictures
rows = torch.from_numpy(kept["shown"])
recorded = figure4.covered_faces(test, rows)  # the very pixels that the record speaks of


def kept_map(line, condition):
    """Attention of one of the faces, as a share of its own highest value: [112, 112]."""
    saliency = torch.from_numpy(kept[f"{condition} attention"][line]).float()
    wide = interpolate(saliency[None, None], size=(112, 112), mode="bilinear")[0, 0]
    return wide / wide.amax()


figure, axes = plt.subplots(len(EMOTIONS), len(conditions), figsize=(9, 8.4))
for line, label in enumerate(test.labels[rows]):
    for column, condition in enumerate(conditions):
        image = recorded[condition].images[line] / 255
        show_map(axes[line, column], image, kept_map(line, condition), title=titles[condition] if line == 0 else "")
    axes[line, 0].set_ylabel(EMOTIONS[label], fontsize=9)
figure.suptitle(f"Attention of {records[0].values['row']}, {TIER} tier, seed {records[0].values['seed']}", fontsize=10)
plt.show()

# %% [markdown]
# ## What the figure proves, and what it does not

# %% mystnb={"image": {"alt": "One rendered face three times: as it is; darkened where its stretched attention is low; and on a scale from nothing to the highest value, where it is hardly darkened anywhere."}}
maps = np.concatenate([each.predictions.pictures["0 attention"].astype(float) for each in records])
even = 100 * maps.min(axis=(1, 2)) / maps.max(axis=(1, 2))
ratios = [np.nanmean(figure4.values_of(records, str(share), "attention ratio")) for share in figure3.RATIOS[1:]]
assert even.min() > 75 and np.abs(np.array(ratios) - 1).max() < 0.005
display(Markdown(
    f"*Our attention hardly chooses.* On uncovered faces its lowest value is {even.min():.0f} to {even.max():.0f} % of its "
    f"highest ({len(maps)} maps), and its ratio is {np.mean(ratios):.2f} at every covered share. The picture above is made by "
    "stretching; here is the one of its faces whose map is the least even, on a scale from 0 to 1 beside it:"
))
least = int(even[: len(rows)].argmin())
image, saliency = recorded["0"].images[least] / 255, kept_map(least, "0")
figure, axes = plt.subplots(1, 3, figsize=(5, 1.9))
show_face(axes[0], image, "the face")
show_face(axes[1], spotlight(image, stretched(saliency)), "stretched")
show_face(axes[2], spotlight(image, saliency), "from 0 to 1")
plt.show()

# %% [markdown]
# *Bright eyes are no proof of looking past the occluder.* Eyes, brows and mouths are where a map lies that
# was made by a Gaussian, too. What counts is the ratio on the occluder beside that control.
#
# *Attention is no explanation.* It says what the features are multiplied with. Whether the answer depends
# on the bright part is asked by deletion and insertion.
#
# *A map that looks right may be right about the picture alone.* The network that forgets tells the two apart.
#
# *A noise block resembles nothing that a face has, and yet these networks look past it a little at most.* Against
# their own maps of the uncovered faces, those with regions shift away from the block a little on rendered faces, and the
# plain ones hardly; how far, and from how few faces that is known, stands in the table above. On photographs none does
# of which three seeds agree. All the same, accuracy falls about as far under the block as under the mask. And a low ratio on noise would still say little about hands.
#
# *And none of this says that looking past the occluder is why a network is right.* For that one would have
# to change where it looks and see whether its answers get better; training with and without attention is the
# nearest that this book comes to it.

# %% [markdown]
# ## Exercises
#
# ````{exercise} The best of all blind maps
# :label: look-blind
#
# Among maps that are the same for all faces, which has the smallest mean ratio on random blocks? Find it from the
# masks alone. Would you trust a network with that ratio?
# ````
#
# ````{solution} look-blind
# :class: dropdown
#
# All mass on the pixel that is covered least often, a corner: `mask.float().mean(dim=0)` is smallest there. Its ratio is
# near zero and it has never seen a face.
# ````

# %% [markdown]
# ````{exercise} Right and wrong
# :label: look-right
#
# Split the test faces with 30 hundredths covered into those that are recognised and those that are not. Is the ratio on
# the occluder different? Which way would you expect if looking at the occluder were harmful?
# ````
#
# ````{solution} look-right
# :class: dropdown
#
# `record.predictions.values["30"]["correct"]` stands beside `"Grad-CAM ratio"`. In every recorded network the ratio is higher
# among the wrong ones, by five to eleven hundredths. That fits the idea, but blocks that hide the mouth also cause both.
# ````

# %% tags=["remove-cell"]
# The solution above says so.
apart = []
for record in itertools.chain.from_iterable(found.values()):
    of_faces, known = (record.predictions.values["30"][name] for name in ("Grad-CAM ratio", "correct"))
    wrong, right = (np.nanmean(of_faces[known == each].astype(float)) for each in (0, 1))
    apart.append(round(wrong - right, 2))
assert (min(apart), max(apart)) == (0.05, 0.11)

# %% [markdown]
# ````{exercise} Another answer
# :label: look-other
#
# Draw Grad-CAM for the *true* class and for the *second* most probable one of a face that is answered wrongly. How different
# are they? What would a map be worth that is the same for both?
# ````
#
# ````{solution} look-other
# :class: dropdown
#
# Pass `classes` to `grad_cam` and compare with `rank_correlation`. A map that is the same for all classes shows where something
# is, and not why this answer was given.
# ````

# %% [markdown]
# ## What to read next
#
# {cite:t}`selvaraju2017gradcam` introduced Grad-CAM, {cite:t}`petsiuk2018rise` deletion and insertion,
# {cite:t}`adebayo2018sanity` the network that forgets. {cite:t}`jain2019attention` started a long argument on what attention
# explains. The attention here is that of {cite:t}`woo2018cbam`, and the paper followed is Xi's {cite:p}`xi2022occluded`.

# %% tags=["nbval-ignore-output"]
from occfer.engine.records import peak_memory

display(Markdown(
    f"*This notebook took {time.perf_counter() - begun:.0f} seconds and at most "
    f"{peak_memory() / 2**30:.1f} GiB of memory at the {recipes.TIER} tier.*"
))
