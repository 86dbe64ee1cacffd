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
# # 5 · Looking region by region: fine-grained weighted features
#
# A hand over the mouth spoils a picture of a face, but not all of it. The brows are as visible
# as before. A network that squeezes the whole picture into one vector mixes what it sees of the
# hand with what it sees of the brows. The second idea of Xi's paper, *fine-grained weighted
# features* (FGW, §2.3), is to look at five overlapping parts of the face separately, to weigh
# within each part what speaks of emotion, and to join the five results only at the end.
#
# When you have worked through this chapter you will be able to
#
# - cut a batch of faces into overlapping regions with two small matrices, and say why they overlap;
# - send all regions of all faces through one network in one pass;
# - write channel and spatial attention from their equations;
# - follow a block over the mouth through the network and see where it goes, and where it does not;
# - say what all this costs.
#
# The encoder of chapter 4 is the network that looks at each region; you need not have trained it.
# The last cell prints how long this notebook took, and how much memory.

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
import time
from dataclasses import replace

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from IPython.display import Markdown, display
from torch import nn

from occfer import (
    EMOTIONS, FGW, ChannelSpatialAttention, PlainClassifier,
    evaluate, finetune, five_regions, load_faces, recipes,
)
from occfer.plots import BLUE, ORANGE, draw_boxes, show_face, show_faces, stamp, style
from occfer.randomness import seeded_modules
from occfer.regions import REGIONS, region_boxes

begun = time.perf_counter()
style()

# %% [markdown]
# ## Five looks at one face
#
# The paper cuts every face into $K = 5$ regions. Four sit in the corners of the picture and have
# 75 hundredths of its size; the fifth has 85 and sits in the centre. Each is then enlarged to the
# size that the network expects. The order is fixed: top left, top right, bottom left, bottom right,
# centre. (In the figure each outline is drawn a little further inside than the one before, so that none
# hides another.)

# %% mystnb={"image": {"alt": "A smiling face with the outlines of its five overlapping regions, and beside it the five regions cut out and enlarged."}}
faces = load_faces("synthfer", split="train")
smile = int((faces.labels == EMOTIONS.index("happiness")).nonzero()[0])
face = faces.images[smile : smile + 1] / 255  # [1, 3, 112, 112]

five = five_regions(face)[0]  # [5, 3, 112, 112]
figure, axes = plt.subplot_mosaic("FFAB.;FFCDE", figsize=(7, 3.1))
show_face(axes["F"], face[0])
draw_boxes(axes["F"], region_boxes(), side=(112, 112))
for letter, region, name in zip("ABCDE", five, REGIONS, strict=True):
    show_face(axes[letter], region, name)
figure.legend(loc="outside lower center", ncols=5, handlelength=3, fontsize=8)
plt.show()

# %% [markdown]
# "75 % of the original picture" can mean two things. Of each *side*, a corner region has just over
# half of the area; of the *area*, its sides are 87 hundredths long, and the corners hardly differ
# from the whole. The paper does not say which. Networks of this family cut by the side
# {cite:p}`wang2020ran`, and so do we; `share="area"` is the other reading.

# %%
for share in ("side", "area"):
    sides = region_boxes(share=share)[:, 2]
    areas = (sides**2).tolist()
    print(f"{share}: corner side {sides[0]:.3f}, area {areas[0]:.3f};"
          f"  centre side {sides[4]:.3f}, area {areas[4]:.3f}")

# %% [markdown]
# ## Why they overlap
#
# Why not cut the face into four quarters that share nothing? Because faces are not made of quarters.
# The nose and the mouth lie on the middle line, and a quarter shows half of a mouth. Half of a mouth
# is hard to read, and what is worse, no region could ever see how its two corners move together. With
# overlap, each important part lies whole inside several regions; and if one of these is spoilt by
# something that covers it, another may have been spared.

# %% mystnb={"image": {"alt": "Two maps of how many regions see each place of the picture, with the five landmarks on top. For quarters every place is seen once, the nose lies near the crossing of the cuts and the corners of the mouth on either side of one; for overlapping regions the middle is seen five times."}}
def seen_by(boxes, size=112):
    """How many boxes see each pixel: [size, size]."""
    count = torch.zeros(size, size)
    for top, left, height, width in (boxes * size).round().int().tolist():
        count[top : top + height, left : left + width] += 1
    return count


layouts = {
    "quarters": region_boxes(4, corner=0.5),
    "the paper's five": region_boxes(5),
}
points = faces.landmarks.nanmean(dim=0)  # [5, 2], the average face
figure, axes = plt.subplots(1, 2, figsize=(7, 3.1))
for axis, (name, boxes) in zip(axes, layouts.items(), strict=True):
    image = axis.imshow(seen_by(boxes), cmap="Blues", vmin=0, vmax=6)
    axis.plot(*points.T, "o", color=ORANGE, markeredgecolor="black", markersize=8)
    axis.set(title=name, xticks=[], yticks=[])
scale = dict(boundaries=[0.5, 1.5, 2.5, 3.5, 4.5, 5.5], ticks=range(1, 6))
figure.colorbar(image, ax=axes, label="regions that see it", **scale)
plt.show()


# %%
def sees_mouth(boxes):
    """Share of faces with both corners of the mouth inside at least 1, 2 and 3 regions."""
    mouth = faces.landmarks[:, 3:] / 112  # [N, 2, (x, y)]
    inside = [
        ((mouth[..., 1] > top) & (mouth[..., 1] < top + height)
         & (mouth[..., 0] > left) & (mouth[..., 0] < left + width)).all(dim=1)
        for top, left, height, width in boxes.tolist()
    ]
    count = torch.stack(inside).sum(dim=0)  # [N]
    return [(count >= n).float().mean().item() for n in (1, 2, 3)]


for name, boxes in layouts.items():
    one, two, three = sees_mouth(boxes)
    print(f"{name:>16}: both corners of the mouth lie in one region at least for {one:.2f} "
          f"of the faces,\n{'':>18}in two for {two:.2f}, in three for {three:.2f}")

# %% [markdown]
# ## Cutting is a matrix product
#
# Cutting and resizing look like two steps. In fact they are one linear map. A pixel of the enlarged
# region is a weighted mean of a few original pixels; for bilinear interpolation the weights fall
# linearly with distance, like a tent. The weights along the rows do not depend on the column, so the
# map splits in two: with a matrix $R_y$ for the vertical direction and $R_x$ for the horizontal one,
# the region of picture $X$ is
#
# $$
# x_k = R_y^{(k)}\, X\, \bigl(R_x^{(k)}\bigr)^{\!\top} .
# $$
#
# The matrices are small, 112×112 at most, and depend on nothing but the region. They are built once.
# Cutting a batch is then a matrix product, and because a product is differentiable, so is the cut.
# Nearly all of their numbers are zero: a row holds two that are not, or a few more where a region
# shrinks. The library keeps and multiplies only these.

# %%
def tents(start, extent, length, size):
    """R [size, length]: samples of ``extent`` pixels from ``start`` on."""
    step = extent / size  # source pixels from one sample to the next
    pixels = torch.arange(length, dtype=torch.float64) + 0.5  # centres
    samples = start + (torch.arange(size, dtype=torch.float64) + 0.5) * step
    inside = (pixels > start) & (pixels < start + extent)
    if step < 1:  # enlarging: the border pixel goes on to the border
        samples = samples.clamp(pixels[inside].min(), pixels[inside].max())
    reach = max(step, 1.0)  # when shrinking, the tent grows
    weights = (1 - (pixels - samples[:, None]).abs() / reach).clamp(min=0) * inside
    return weights / weights.sum(dim=1, keepdim=True)  # every row sums to 1


# %% mystnb={"image": {"alt": "Left: a sparse matrix with a slanted line of weights from the first row at the first column to the last row at column 84. Right: three tent-shaped rows of it."}}
R_y = tents(start=0, extent=84, length=112, size=112)  # the upper 84 of 112 lines
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 2.9), width_ratios=[1, 1.6])
left.imshow(R_y, cmap="Blues", vmax=1)
left.set(title="$R_y$ of an upper region", xlabel="line of the picture")
left.set_ylabel("line of the region")
short = tents(start=0, extent=9, length=12, size=12)
for row, line in zip((1, 4, 8), ("-", "--", "-."), strict=True):
    label = f"line {row} of the region"
    right.plot(range(12), short[row], line, marker="o", markersize=4, label=label)
right.set(title="three rows, for a picture of 12 lines", ylabel="weight")
right.set_xlabel("line of the picture")
right.legend()
plt.show()

# %% [markdown]
# Where a box falls on whole pixels, the product must equal plain slicing followed by resizing. At 112
# pixels it does for the four corners, whose sides are 84. The centre's sides are 95.2 pixels, which no
# slice can cut, and the matrices do not mind.

# %%
boxes = region_boxes(5) * 112  # in pixels: top, left, height, width


def our_regions(images, size):
    """[B, C, 112, 112] → [B, 5, C, size, size]."""
    regions = []
    for top, left, height, width in boxes.tolist():
        rows = tents(top, height, 112, size).float()  # [size, 112]
        columns = tents(left, width, 112, size).float()
        regions.append(rows @ images @ columns.T)  # [B, C, size, size]
    return torch.stack(regions, dim=1)


batch = faces.images[:16] / 255
for size in (112, 48):
    ours, theirs = our_regions(batch, size), five_regions(batch, size)
    assert (ours - theirs).abs().max() < 1e-5
    for number, (top, left) in enumerate(((0, 0), (0, 28), (28, 0), (28, 28))):
        sliced = batch[:, :, top : top + 84, left : left + 84]
        resized = F.interpolate(sliced, size=size, mode="bilinear", antialias=True)
        assert (ours[:, number] - resized).abs().max() < 1e-5
    print(f"{tuple(ours.shape)} agrees with slicing and with the library")

# %% [markdown]
# The paper says only that all regions are resized to 112 pixels. We go from the original pixels to the region
# in one step, so that an enlarged region is as sharp as the picture allows.
#
# ## One backbone, one pass
#
# All regions are seen by the *same* network with the same weights, $r_k = Z(x_k)$, equation (3). For the
# network, then, five regions of sixteen faces are simply eighty pictures. We flatten the two axes into one
# and unflatten them afterwards; there is no loop over regions.

# %%
network = recipes.finetuning().network
small = dict(width=network.width, stem=network.stem)
with seeded_modules(0):
    fgw = FGW(network.backbone, size=network.size, **small).eval()
backbone, size = fgw.backbone, network.size

with torch.inference_mode():
    crops = five_regions(batch, size)  # [16, 5, 3, size, size]
    maps = backbone(crops.flatten(0, 1)).unflatten(0, (16, 5))  # [16, 5, C, h, w]
    one_by_one = torch.stack([backbone(crops[:, k]) for k in range(5)], dim=1)
print(f"crops {tuple(crops.shape)} → feature maps {tuple(maps.shape)}")
assert (maps - one_by_one).abs().max() < 1e-4

# %% [markdown]
# Sharing has two sides. The network meets five times as many pictures as there are faces, and what it
# learns of mouths in one region serves in all. But it is not told *which* region it looks at. That
# enters only at the end, where the five results are put side by side.
#
# ## Channel attention: what
#
# A feature map $F$ has $C$ channels, and each answers to some kind of pattern. *Channel attention* gives
# every channel a weight between 0 and 1, which depends on the picture. The map is first summed up in two
# ways, by each channel's mean and by its maximum over all places; both go through the same small network
# with one hidden layer, and the sum of the results through a sigmoid:
#
# $$
# M_C(F) = \sigma\bigl(\mathrm{MLP}(\mathrm{AvgPool}(F)) + \mathrm{MLP}(\mathrm{MaxPool}(F))\bigr)
# \in \mathbb{R}^{C \times 1 \times 1}
# $$
#
# The mean asks how much of a pattern there is, and the maximum whether it is there at all: a raised corner
# of the mouth fills few places, and the mean alone might drown it. The hidden layer is 16 times narrower
# than the input, so that channels have to be judged together and few weights are spent; the paper does not
# say by how much, and 16 is CBAM's. This is equation (5); the equation, line by line:

# %%
class OurChannelAttention(nn.Module):
    """F [B, C, h, w] → weights [B, C, 1, 1] in (0, 1)."""

    def __init__(self, channels, reduction=16):
        super().__init__()
        self.narrow = nn.Linear(channels, channels // reduction, bias=False)
        self.widen = nn.Linear(channels // reduction, channels, bias=False)

    def mlp(self, summary):  # [B, C] → [B, C]
        return self.widen(torch.relu(self.narrow(summary)))

    def forward(self, features):
        average = features.mean(dim=(2, 3))  # [B, C]
        maximum = features.amax(dim=(2, 3))  # [B, C]
        weights = torch.sigmoid(self.mlp(average) + self.mlp(maximum))
        return weights[:, :, None, None]


# %% [markdown]
# ## Spatial attention: where
#
# *Spatial attention* does the same for places. The map is summed up along its channels, again by mean and
# maximum; the two resulting pictures are laid on top of one another, and a convolution with a window of
# 7×7 places turns them into one:
#
# $$
# M_S(F) = \sigma\bigl(f^{7 \times 7}([\mathrm{AvgPool}(F); \mathrm{MaxPool}(F)])\bigr)
# \in \mathbb{R}^{1 \times h \times w}
# $$
#
# This is equation (6). The window says how far a place can look around before it decides on its weight. Mind
# the sizes here. On regions of 112 pixels ResNet18's last map has only 4×4 places, and at the smoke tier it has
# 3×3: a window of 7×7 around any of them sees them all, and most of it hangs over the edge and sees zeros.

# %%
class OurSpatialAttention(nn.Module):
    """F [B, C, h, w] → weights [B, 1, h, w] in (0, 1)."""

    def __init__(self, window=7):
        super().__init__()
        self.conv = nn.Conv2d(2, 1, window, padding=window // 2, bias=False)

    def forward(self, features):
        average = features.mean(dim=1, keepdim=True)  # [B, 1, h, w]
        maximum = features.amax(dim=1, keepdim=True)  # [B, 1, h, w]
        return torch.sigmoid(self.conv(torch.cat([average, maximum], dim=1)))


# %% [markdown]
# Equation (4) puts the two in series, channels first: $r_k' = M_C(r_k) \otimes r_k$ and then
# $r_m^k = M_S(r_k') \otimes r_k'$, where $\otimes$ multiplies every place of every channel with its weight. The
# block is known as CBAM {cite:p}`woo2018cbam`. Its authors' code gives both layers of (5) a bias, puts the maximum
# first in (6), and a batch normalisation after the convolution; we follow the equations as they are printed, and
# `official=True` is the other. With the same weights, ours and the library's must give the same.

# %%
class OurAttention(nn.Module):
    """r [B, C, h, w] → weighted r of the same shape, and the spatial weights."""

    def __init__(self, channels):
        super().__init__()
        self.channel = OurChannelAttention(channels)
        self.spatial = OurSpatialAttention()

    def forward(self, features):
        features = self.channel(features) * features
        spatial = self.spatial(features)
        return spatial * features, spatial


def same_weights(ours, theirs):
    """Copy weights in order; the modules differ in names only."""
    pairs = zip(ours.state_dict(), theirs.state_dict().values(), strict=True)
    ours.load_state_dict(dict(pairs))
    return ours


theirs = ChannelSpatialAttention(backbone.channels)
ours = same_weights(OurAttention(backbone.channels), theirs)
with torch.inference_mode():
    difference = ours(maps.flatten(0, 1))[0] - theirs(maps.flatten(0, 1))[0]
assert difference.abs().max() < 1e-6
print(f"attention on {tuple(maps.flatten(0, 1).shape)} agrees with the library")

# %% [markdown]
# One property of this attention is easy to overlook. Its weights are sigmoids, each for itself; they do not
# compete for a fixed sum as those of a softmax do. Nothing in the equations *makes* a covered place lose
# weight. If that happens, the classification loss must have taught it.
#
# ## Fusion, and the whole network
#
# Each weighted map $r_m^k$ is averaged over its places, which leaves a vector $\bar r_k$ of $D$ numbers for each
# region, one for each of the $C$ channels, and the five vectors are written one after the other. This is the global representation $r_g$ with $5D$
# numbers, and a single linear layer classifies it. The paper says "concatenate" and no more. Averaging over
# places first is our reading: without it the layer would need a weight for every place as well. With it, the
# whole network is a handful of lines.

# %%
class OurFGW(nn.Module):
    """Faces [B, 3, 112, 112] → logits [B, 7]."""

    def __init__(self, backbone, attention, classes=7):
        super().__init__()
        self.backbone, self.attention = backbone, attention
        self.fc = nn.Linear(5 * backbone.channels, classes)

    def forward(self, images):
        crops = our_regions(images, network.size)  # [B, 5, 3, s, s]
        maps = self.backbone(crops.flatten(0, 1))  # [5B, C, h, w]
        weighted, _ = self.attention(maps)  # [5B, C, h, w]
        regions = weighted.mean(dim=(2, 3)).unflatten(0, (-1, 5))  # [B, 5, C]
        return self.fc(regions.flatten(1))  # r_g is [B, 5C]


ours = same_weights(OurFGW(backbone, OurAttention(backbone.channels)), fgw).eval()
with torch.inference_mode():
    output = fgw(batch)
    difference = (ours(batch) - output.logits).abs().max()
assert difference < 1e-4
for name, value in output._asdict().items():
    print(f"{name:>13}: {tuple(value.shape)}")

# %% [markdown]
# The library's `FGW` returns more than logits. The vectors of the regions and the attention maps are for
# looking inside, and the logits *of each region* are what the next chapter is about.
#
# ## What it costs
#
# Five regions cost five passes. Let us count: weights, which must be stored and learnt, and
# multiplications, which must be done for every face. The comparison is with the plain network that sees the
# whole face once, at the size of one region.

# %% mystnb={"markdown_format": "myst"}
@torch.inference_mode()
def multiplications(model, images):
    """Multiply–adds of all convolutions and linear layers for one batch."""
    total = 0

    def count(layer, inputs, output):
        nonlocal total
        total += output.numel() * layer.weight[0].numel()

    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    model(images)
    for hook in hooks:
        hook.remove()
    return total


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def costs(width, stem, side):
    big = FGW(width=width, stem=stem, size=side).eval()
    plain = PlainClassifier(width=width, stem=stem, size=side).eval()
    picture = torch.zeros(1, 3, side, side)
    work = [multiplications(net, picture) / 1e6 for net in (plain, big)]
    return {
        "weights of the backbone": f"{parameters(big.backbone):,}",
        "weights of the attention": f"{parameters(big.attention):,}",
        "weights of FGW's classifier": f"{parameters(big.head):,}",
        "weights, plain network": f"{parameters(plain):,}",
        "weights, FGW": f"{parameters(big):,}",
        "million multiply–adds, plain network": f"{work[0]:,.1f}",
        "million multiply–adds, FGW": f"{work[1]:,.1f}",
        "ratio": f"{work[1] / work[0]:.2f}",
    }


smoke, paper = costs(16, "small", 48), costs(None, "imagenet", 112)
rows = [f"| {name} | {smoke[name]} | {paper[name]} |" for name in smoke]
head = "| one face | ResNet18 of width 16, 48 pixels | ResNet18, 112 pixels |\n|---|--:|--:|\n"
display(Markdown(head + "\n".join(rows)))

# %% [markdown]
# The regions share one backbone, so that FGW has hardly more weights than the plain network, but it does five
# times the work. Any fair comparison has to remember this: a plain network that is trained five times as long,
# or that sees larger pictures, costs the same. Chapter 7 has such a row. Measured on this machine:

# %% tags=["nbval-ignore-output"]
@torch.inference_mode()
def faces_per_second(model, images, repeats=5):
    model(images)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        model(images)
        times.append(time.perf_counter() - start)
    return len(images) / sorted(times)[repeats // 2]


plain = PlainClassifier(network.backbone, size=network.size, **small).eval()
speeds = faces_per_second(plain, batch), faces_per_second(fgw, batch)
display(Markdown(
    f"At the {recipes.TIER} tier the plain network classified {speeds[0]:.0f} faces a "
    f"second, FGW {speeds[1]:.0f}, which is {speeds[0] / speeds[1]:.1f} times fewer."
))

# %%
assert speeds[0] > 2 * speeds[1]

# %% [markdown]
# ## Where a block over the mouth goes
#
# Now the experiment. We put a block over the mouth of each face and follow it: first into the regions, and then,
# after a short training, through the network. The block is centred between the corners of the mouth, and its size
# goes with the mouth's.

# %%
def cover_mouth(images, landmarks, half_width=1.0, half_height=0.55):
    """A grey block over the mouth; half its sides, in widths of the mouth."""
    mouth = landmarks[:, 3:]  # [B, 2 corners, (x, y)]
    centre = mouth.mean(dim=1)[:, :, None, None]  # [B, 2, 1, 1]
    unit = (mouth[:, 1] - mouth[:, 0]).norm(dim=1)[:, None, None]  # [B, 1, 1]
    y, x = torch.meshgrid(torch.arange(112.0), torch.arange(112.0), indexing="ij")
    beside, below = (x - centre[:, 0]).abs(), (y - centre[:, 1]).abs()
    mask = (beside < half_width * unit) & (below < half_height * unit)
    return torch.where(mask[:, None], 0.5, images), mask  # mask: [B, 112, 112]


# %% [markdown]
# Which regions it reaches depends on how the face lies in the picture. SynthFER shows some forehead and neck, so that
# the mouth lies at about seven tenths of the height. {doc}`Chapter 2 <02-collecting-faces>` *aligned* faces: it turned
# and scaled each one so that the eyes, the nose and the corners of the mouth come to lie as near as possible to five
# fixed points. The paper says that it does so with the pictures of its pre-training; of those with labels, which FGW
# sees, it says nothing. Here it is for a whole batch, with points written as complex numbers, where multiplying turns
# and scales. Where the new picture reaches beyond the old one we repeat the old one's border.

# %% mystnb={"image": {"alt": "Four faces as they come, above, and aligned, below; in the aligned ones the eyes lie level in the upper half and the mouth in the lower quarter of the picture."}}
from occfer.data.align import TEMPLATE, similarity

POINTS = torch.tensor(TEMPLATE, dtype=torch.float32)  # eyes, nose, corners of the mouth


def aligned(faces):
    """The same faces, turned, scaled and moved until their landmarks lie nearest to POINTS."""
    # A point x + iy goes to middle + turn · (point − centre).
    points, wanted = (torch.view_as_complex(p) for p in (faces.landmarks, POINTS))
    centre, middle = points.mean(dim=1, keepdim=True), wanted.mean()
    offset = points - centre  # [N, 5]
    turn = (offset.conj() * (wanted - middle)).sum(dim=1, keepdim=True)
    turn = turn / offset.abs().square().sum(dim=1, keepdim=True)  # [N, 1]
    landmarks = torch.view_as_real(middle + turn * offset)

    y, x = torch.meshgrid(torch.arange(112.0), torch.arange(112.0), indexing="ij")
    source = centre[..., None] + (torch.complex(x, y) - middle) / turn[..., None]
    grid = (2 * torch.view_as_real(source) + 1) / 112 - 1  # [N, 112, 112, 2] in -1 … 1
    border = dict(padding_mode="border", align_corners=False)
    images = F.grid_sample(faces.images / 255, grid, **border)
    return replace(faces, images=(images * 255).round().byte(), landmarks=landmarks)


test = load_faces("synthfer", split="test")
if recipes.TIER == "smoke":
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(0))
    test = test[order[:210]]
straight = aligned(test)
four = range(0, len(test), -(-len(test) // 4))
rows = ("as they come", "aligned")
pictures = [faces.images[i] for faces in (test, straight) for i in four]
show_faces(pictures, columns=4, row_titles=rows, height=1.4)
plt.show()

matrices = torch.from_numpy(similarity(test.landmarks.numpy())).float()  # the library's, [N, 2, 3]
theirs = test.landmarks @ matrices[:, :, :2].mT + matrices[:, None, :, 2]
assert (straight.landmarks - theirs).abs().max() < 1e-3  # pixels

# %% mystnb={"markdown_format": "myst"}
table = ["| share covered | " + " | ".join(REGIONS) + " |", "|---" + "|--:" * 5 + "|"]
covered_share = {}
for name, some in {"as they come": test, "aligned": straight}.items():
    _, mask = cover_mouth(some.images / 255, some.landmarks)
    share = five_regions(mask[:, None].float(), size).mean(dim=(2, 3, 4))  # [V, 5]
    covered_share[name] = share.mean(dim=0)
    cells = " | ".join(f"{100 * value:.0f} %" for value in covered_share[name])
    table.append(f"| {name} | {cells} |")
display(Markdown("\n".join(table)))
display(Markdown(f"*SynthFER, {len(test)} test faces.*"))

# %%
upper_to_lower = [s[:2].mean() / s[2:4].mean() for s in covered_share.values()]
assert upper_to_lower[1] < upper_to_lower[0] < 1

# %% [markdown]
# The table holds a lesson that is easy to miss. A corner region of 75 hundredths reaches down to three quarters of the
# picture's height. If the face is cut out loosely, the mouth of most faces lies above that line, and the "upper" regions
# see most of it and are spoilt with the rest. Only in a tight, aligned picture do the five regions look at different things. Overlap buys
# redundancy and pays for it with independence, and alignment decides how the bill is split. From here on we use the aligned
# faces. Here are three of them with the block, and what each region sees.

# %% mystnb={"image": {"alt": "Three faces with a grey block over the mouth, and the five regions of each: the block fills much of the lower regions and little of the upper ones."}}
clean = straight.images / 255  # [V, 3, 112, 112]
covered, mask = cover_mouth(clean, straight.landmarks)
share = five_regions(mask[:, None].float(), size).mean(dim=(2, 3, 4))  # [V, 5]
pictures, titles = [], []
for row in four[:3]:
    pictures += [covered[row], *five_regions(covered[row : row + 1])[0]]
    titles += ["whole", *(f"{100 * value:.0f} % covered" for value in share[row])]
show_faces(pictures, titles, columns=6)
plt.show()

# %% [markdown]
# `finetune` is chapter 7's subject; here we use it as it is, without the loss of chapter 6, by `restrain_weight=0`.
# At the smoke tier the network sees regions of 36 pixels, smaller than those above, so that it learns in seconds.

# %% tags=["nbval-ignore-output"]
recipe = recipes.finetuning(restrain_weight=0.0)
train = faces
if recipes.TIER == "smoke":
    recipe = replace(recipe, epochs=6, network=replace(network, size=36))  # maps of 3×3, too
    order = torch.randperm(len(faces), generator=torch.Generator().manual_seed(0))
    train = faces[order[:320]]
validation = load_faces("synthfer", split="val")[::3]  # chooses the epoch
tuned = finetune(aligned(train), aligned(validation), recipe, progress=False)
fgw = tuned.model.cpu().float()
for row in tuned.history[:: max(1, len(tuned.history) // 5)]:
    print(f"epoch {row['epoch']:3}   loss {row['loss']:.3f}"
          f"   validation accuracy {row['validation_accuracy']:.3f}")

# %%
assert tuned.history[-1]["loss"] < tuned.history[0]["loss"]

# %% [markdown]
# How far does the vector $\bar r_k$ of each region move when the mouth is covered? We measure the length of its
# change, relative to its own length, and set it beside the share of the region that the block covers.

# %% tags=["nbval-ignore-output"] mystnb={"image": {"alt": "Bars for the five regions: on the left the share covered by the block, larger for the lower two and the centre than for the upper two; on the right how much the feature vector of each region changed."}}
@torch.inference_mode()
def inside(images):
    return fgw(images)


before, after = inside(clean), inside(covered)
change = (after.features - before.features).norm(dim=2)  # [V, 5]
change = change / before.features.norm(dim=2)
figure, axes = plt.subplots(1, 2, figsize=(8, 2.7), sharey=True)
for axis, values, title in (
    (axes[0], share, "share of the region that is covered"),
    (axes[1], change, "change of its feature vector"),
):
    axis.barh(REGIONS, values.mean(dim=0), color=BLUE)
    axis.set_title(title)
    for number, value in enumerate(values.mean(dim=0).tolist()):
        axis.text(value, number, f" {value:.2f}", va="center", fontsize=9)
    axis.margins(x=0.15)
axes[0].invert_yaxis()
stamp(figure, f"SynthFER, {len(test)} test faces")
plt.show()

# %%
assert change[:, :2].mean() < change[:, 2:4].mean()

# %% [markdown]
# The regions are not equally touched, which is the point of having them: what the upper ones report stays nearer to what
# they reported before.
#
# Does spatial attention turn away from the block? We compare the weight of the map's places that lie under the
# block with the weight that the same places of the same faces had before it was there.

# %% tags=["nbval-ignore-output"]
h, w = before.attention.shape[-2:]
hidden = five_regions(mask[:, None].float(), size).squeeze(2)  # [V, 5, size, size]
hidden = F.adaptive_avg_pool2d(hidden, (h, w))  # covered share of a place
under, clear = hidden > 0.5, hidden < 0.1


def ratio(places):
    return (after.attention[places].mean() / before.attention[places].mean()).item()


scored = [
    evaluate(fgw, replace(straight, images=(images * 255).round().byte()))
    for images in (clean, covered)
]
accuracy = [
    "{:.0f} % (95 % interval {:.0f} to {:.0f})".format(*(100 * x for x in (each.accuracy, *each.interval())))
    for each in scored
]
display(Markdown(
    f"At the {recipes.TIER} tier, after {len(tuned.history)} epochs, the map has "
    f"{h}×{w} places. Under the block their mean weight is {ratio(under):.2f} times "
    f"what it was before the block came, and in the open {ratio(clear):.2f} times. The "
    f"accuracy on {len(straight)} test faces is {accuracy[0]} with the mouth visible and "
    f"{accuracy[1]} with the mouth covered."
))

# %%
assert scored[0].accuracy > 1 / len(EMOTIONS), "better than guessing"

# %% [markdown]
# Ratios near 1 mean that the weights do not notice the block; a first ratio well below the second would mean
# that attention turns away from it. After so short a training, on faces that were never covered, you should not
# expect much, and features under a grey block are somewhat weaker anyway, whatever their weight. Whether long
# training on real faces changes this is a question for measurement; chapter 10 asks it with exact masks. Until
# then it is safest to think of this attention as a learnt scaling and not as something that knows what is
# covered.
#
# ## Exercises

# %% [markdown]
# ````{exercise} By area
# :label: fgw-area
#
# Draw the two maps of "how many regions see each place" for `share="area"`. How much of a corner region does
# the opposite corner region see as well? What is lost?
# ````
#
# ````{solution} fgw-area
# :class: dropdown
#
# The side becomes $\sqrt{0.75} \approx 0.866$, so diagonal corners share a square of side
# $2 \cdot 0.866 - 1 = 0.732$, which is 54 hundredths of the picture and more than seven tenths of either region.
# By side they share a square of side 0.5, a quarter of the picture. By area the looks are so alike that little is
# left for five of them to tell apart.
# ````

# %% [markdown]
# ````{exercise} Attention one stage earlier
# :label: fgw-stage
#
# `replace(recipe, attention_after=-2)` puts attention after ResNet's third stage, where the map has about twice as
# many places along each side. Fine-tune with it, print the shape of `before.attention`, repeat the experiment, and
# compare the ratios with those above: the further apart the two of one map lie, the better it tells the block from the
# open. Does a finer map do so better?
# ````
#
# ````{solution} fgw-stage
# :class: dropdown
#
# The map has 5×5 places in the smoke tier's experiment (6×6 on its usual 48 pixels) and 7×7 with ResNet18 on 112
# pixels, so that the 7×7 window no longer sees everything from everywhere. More places lie wholly under the block or wholly in the open,
# so that both ratios are means over purer places. Whether they lie further apart, after so short a training, is up to the run: repeat it
# with `seed=1` and `seed=2`, and compare the differences between seeds with that between the two maps.
# ````

# %% [markdown]
# ````{exercise} The cut is differentiable
# :label: fgw-gradient
#
# Compute the gradient of one entry of `output.logits` by the *picture*, through `five_regions`. Show its absolute
# value as a picture. How does the overlap of the regions show in it?
# ````
#
# ````{solution} fgw-gradient
# :class: dropdown
#
# `images = batch[:1].clone().requires_grad_()`, then `fgw(images).logits[0, 3].backward()`; the picture is
# `images.grad.abs().sum(1)`. Places that several regions see collect a gradient from each of them, so that the
# middle of the face tends to be brighter than its rim.
# ````

# %% [markdown]
# ````{exercise} One network for each region
# :label: fgw-shared
#
# How many weights does it take to give every region attention of its own, by `attention="per_region"`? How many would
# five separate backbones need? Which of the two would you expect to help, and why?
# ````
#
# ````{solution} fgw-shared
# :class: dropdown
#
# Attention has $2 C \cdot C/16 + 2 \cdot 7^2$ weights for $C$ channels, and needs four times as many more. That is few beside a
# backbone, and an eyebrow may deserve other channels than a mouth. Five backbones would need five times the weights of nearly
# the whole network, and each would see a fifth of the pictures, so that what one learns of edges and skin the others have to
# learn again. `occfer reproduce readings` has the first of the two among its rows (chapter 11).
# ````

# %% [markdown]
# ## What to read next
#
# The attention is CBAM {cite:p}`woo2018cbam`, which extends the channel attention of squeeze-and-excitation
# networks {cite:p}`hu2018squeeze` by the maximum and by places. Region attention networks {cite:p}`wang2020ran`
# cut a face in a similar way, into upper corners, a lower middle and central crops beside the whole face, and give
# each *region* one weight; they are the nearest relative of FGW, and their collection of really occluded faces will test it in chapter 9. Patches around landmarks, gated by how
# visible they are, are the idea of gACNN {cite:p}`li2019gacnn`. That cutting can be part of a network and learnt
# is shown by spatial transformers {cite:p}`jaderberg2015transformer`. The backbone is ResNet
# {cite:p}`he2016resnet`, and the paper followed here is Xi's {cite:p}`xi2022occluded`.
#
# FGW has five opinions on every face. The next chapter asks what the whole should have to do with its parts.

# %% tags=["nbval-ignore-output"]
from occfer.engine.records import peak_memory

display(Markdown(
    f"*This notebook took {time.perf_counter() - begun:.0f} seconds and at most "
    f"{peak_memory() / 2**30:.1f} GiB of memory at the {recipes.TIER} tier.*"
))
