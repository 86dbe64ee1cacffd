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
# # 4 · Learning from covered faces: contrastive pre-training
#
# Somebody has to say what a face expresses before a network can be taught to say it, and
# labels are slow, costly and often disputed. Faces without labels are plentiful. This chapter
# builds the first idea of Xi's paper, *occlusion-aware contrastive learning* (OCL, §2.2), which
# learns from faces alone: show the network one face twice, each time with another part of it
# covered, and ask it to notice that both pictures show the same face.
#
# When you have worked through this chapter you will be able to
#
# - draw two random views of a face, and explain what each change in them teaches a network;
# - cover a stated share of a picture to the pixel;
# - write the contrastive loss twice, once so that it is obvious and once so that it is fast, and
#   say why the formula in the paper cannot be the one that was minimised;
# - pre-train an encoder and check, without wishful thinking, what it has learnt.
#
# You need PyTorch and no knowledge of facial expressions. The last cell prints how long this
# notebook took, and how much memory.

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
import math
import time
from dataclasses import replace

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from IPython.display import Markdown, display
from torch import nn

from occfer import EMOTIONS, Encoder, TwoViews, load_faces, nt_xent, pretrain, recipes
from occfer.plots import (
    BLUE, GREY, ORANGE, RED, show_face, show_faces, show_history, stamp, style,
)

begun = time.perf_counter()
style()

# %% [markdown]
# The faces come with the library. They are rendered, not photographed, so that everybody may see
# and share them; nobody ever felt what they show. `load_faces` returns a `FaceSet`: pixels as
# bytes, labels, a name for each face, and five landmarks. In this chapter the labels serve only
# to choose pictures and, at the very end, to check what was learnt.

# %% mystnb={"image": {"alt": "Seven rendered faces in a row, one for each of the seven expressions from anger to neutral."}}
faces = load_faces("synthfer", split="train")
by_class = [(faces.labels == y).nonzero()[:, 0] for y in range(len(EMOTIONS))]
one_of_each = [int(chosen[7 * y]) for y, chosen in enumerate(by_class)]  # seven people
seven = faces.images[one_of_each]  # uint8 [7, 3, 112, 112]
show_faces(seven, EMOTIONS, columns=7)
plt.show()

# %% [markdown]
# ## Why contrast
#
# Suppose you may look at faces, but nobody tells you what they express. What could you learn?
# One answer is to invent a task whose solution is known for free. Take a face, make two
# different pictures of it by cropping, covering and recolouring it at random, and hide them in a
# crowd of pictures of other faces. Whoever can find the partner of every picture must have
# understood what stays the same when a face is cropped, covered and recoloured, and what differs
# from face to face.
#
# The two pictures of one face are called its *views*. A picture and its partner are a *positive
# pair*; a picture and any view of another face are a *negative pair*. An encoder turns pictures
# into vectors, and training pulls the vectors of positive pairs together and pushes those of
# negative pairs apart. The figure shows four faces, hence eight views, and who should be similar
# to whom.

# %% mystnb={"image": {"alt": "Left: four faces, each in two views with different crops, colours and covered blocks. Right: an eight by eight table in which each view has one partner, marked dark, six negatives, marked light, and itself, crossed out."}}
generator = torch.Generator().manual_seed(11)
anchors = seven[[3, 5, 0, 4]]
first, second = TwoViews(size=112, occlusion=1.0)(anchors, generator)

PALE = "#dbe9f4"
figure = plt.figure(figsize=(8, 3.3))
left, right = figure.subfigures(1, 2, width_ratios=[1, 1.35])
axes = left.subplots(3, 4)
for column in range(4):
    show_face(axes[0, column], anchors[column], f"face {column + 1}")
    show_face(axes[1, column], first[column])
    show_face(axes[2, column], second[column])
for row, name in enumerate(("anchor", "view 1", "view 2")):
    axes[row, 0].set_ylabel(name, fontsize=9)

axis = right.subplots()
for i in range(8):
    for j in range(8):
        colour = "white" if i == j else BLUE if abs(i - j) == 4 else PALE
        corner = (j - 0.5, i - 0.5)
        axis.add_patch(plt.Rectangle(corner, 1, 1, facecolor=colour, edgecolor="white"))
axis.plot(range(8), range(8), "x", color=GREY, markersize=8)
names = [f"{face}{view}" for view in "ab" for face in range(1, 5)]
axis.set(xlim=(-0.5, 7.5), ylim=(7.5, -0.5), aspect="equal")
axis.set_xticks(range(8), names)
axis.set_yticks(range(8), names)
axis.set_title("who should be similar to whom\n(a: view 1, b: view 2)")
axis.spines[:].set_visible(False)
axis.tick_params(length=0)
keys = {
    "positive": plt.Rectangle((0, 0), 1, 1, color=BLUE),
    "negative": plt.Rectangle((0, 0), 1, 1, color=PALE),
    "itself": plt.Line2D([], [], marker="x", color=GREY, linestyle=""),
}
axis.legend(keys.values(), keys.keys(), loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()

# %% [markdown]
# What the encoder learns depends on what the views share. Were both views equal, comparing
# pixels would do, and nothing would be learnt. If the views differ in colour, colour no longer
# helps, and the encoder must look at form. The paper's step is to add *local occlusion* to the
# list: if the mouth is covered in one view and an eye in the other, then only an encoder that
# has grasped how the parts of a face belong together can find the partner. That is the hope; at
# the end of the chapter we shall see how much of it can be measured.
#
# ## Two views, one change at a time
#
# The paper names five changes: random crop, local occlusion, horizontal flip, colour jitter and
# greyscale. We build all five on whole batches, and we hold to one rule:
#
# > Draw all random numbers first, apply them second.
#
# Drawn numbers can be looked at, tested and applied again, and a batch of any size needs only a
# handful of calls. (For what fills a covered block that would be a number for every pixel; there we draw a
# *seed*, from which the pixels come back.) Every random number comes from a generator that we pass in, so that the same
# seed gives the same pictures on every run.
#
# ### Crop and flip
#
# A random crop takes between 30 and 100 hundredths of the picture's area, at a random place and
# with an aspect ratio between 3:4 and 4:3, and enlarges it to the size of the view. A flip is
# a crop that is read from right to left. Both are one resampling: for every pixel of the view we
# compute where in the original it comes from, and let `grid_sample` interpolate there.

# %%
def draw_crop(batch, generator):
    """Centre (x, y) and extent (width, height) of crops, in shares of the picture."""
    area = 0.3 + 0.7 * torch.rand(batch, generator=generator)  # [B]
    log_aspect = math.log(4 / 3) * (2 * torch.rand(batch, generator=generator) - 1)
    width, height = (area * log_aspect.exp()).sqrt(), (area / log_aspect.exp()).sqrt()
    extent = torch.stack([width, height], dim=1).clamp(max=1)  # [B, 2]
    room = (1 - extent) / 2  # how far the centre may move
    centre = 0.5 + room * (2 * torch.rand(batch, 2, generator=generator) - 1)
    return centre, extent


def crop_and_flip(images, centre, extent, flip, size):
    """[B, 3, H, W] → [B, 3, size, size]; ``flip`` is a boolean for each picture."""
    pixels = (2 * torch.arange(size) + 1) / size - 1  # centres, -1 (left) … 1 (right)
    direction = torch.where(flip, -1.0, 1.0)[:, None]  # [B, 1]
    x = (2 * centre[:, :1] - 1) + extent[:, :1] * direction * pixels  # [B, size]
    y = (2 * centre[:, 1:] - 1) + extent[:, 1:] * pixels  # [B, size]
    x, y = x[:, None, :].expand(-1, size, -1), y[:, :, None].expand(-1, -1, size)
    grid = torch.stack([x, y], dim=-1)  # [B, size, size, 2]
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


# %% mystnb={"image": {"alt": "One smiling face, then seven random crops of it; some are mirrored."}}
face = seven[3:4] / 255  # [1, 3, 112, 112] in [0, 1]
eight = face.expand(8, -1, -1, -1)
generator = torch.Generator().manual_seed(3)
centre, extent = draw_crop(8, generator)
flip = torch.rand(8, generator=generator) < 0.5
crops = crop_and_flip(eight, centre, extent, flip, size=112)
titles = [
    f"{100 * w * h:.0f} % of area{', flipped' if mirrored else ''}"
    for (w, h), mirrored in zip(extent.tolist(), flip.tolist(), strict=True)
]
show_faces([face[0], *crops[1:]], ["original", *titles[1:]], columns=4, height=1.9)
plt.show()

# %% [markdown]
# ### Local occlusion, to the pixel
#
# Next comes the change that gives OCL its name. A rectangular block covers a share of the view,
# drawn from 5 to 30 hundredths of its area; the paper does not give the bounds, so these are
# ours, and so are the aspect ratios from 0.3 to 3.3. In chapter 9 the same blocks will test the
# finished classifier, and there the share is the x-axis of a figure. So we want blocks that
# cover what they claim to cover *exactly*, and not merely on average.
#
# A rectangle with whole sides can rarely have a given number of pixels: 1,882, say, is 2 × 941 and
# nothing else. The way out is to count the pixels of the block column by column and to stop when
# the number is reached, so that only its last column may be shorter than the others.

# %%
def draw_block(share, size, generator):
    """Corner, rows and pixels of one block per picture, each [B]; ``share``: [B]."""
    batch = len(share)
    low, high = math.log(0.3), math.log(3.3)  # bounds of height : width
    log_aspect = low + (high - low) * torch.rand(batch, generator=generator)
    place = torch.rand(2, batch, generator=generator)

    pixels = (share.double() * size * size).round().long()  # exactly this many
    fewest_rows = (pixels + size - 1) // size  # or it would be too wide
    rows = (pixels * log_aspect.double().exp()).sqrt().round().long()
    rows = rows.clamp(max=size).maximum(fewest_rows).clamp(min=1)
    columns = (pixels + rows - 1) // rows
    top = (place[0] * (size - rows + 1)).long().minimum(size - rows)
    left = (place[1] * (size - columns + 1)).long().minimum(size - columns)
    return top, left, rows, pixels


def mask_of(top, left, rows, pixels, size):
    """[B, size, size], True where the block covers the picture."""
    down = torch.arange(size)[None, :, None] - top[:, None, None]
    across = torch.arange(size)[None, None, :] - left[:, None, None]
    inside = (down >= 0) & (down < rows[:, None, None]) & (across >= 0)
    number = across * rows[:, None, None] + down  # column by column
    return inside & (number < pixels[:, None, None])


# %% mystnb={"image": {"alt": "The smiling face under eight blocks of noise of growing size and different shape."}}
shares = torch.tensor([0.05, 0.10, 0.10, 0.15, 0.20, 0.20, 0.25, 0.30])
generator = torch.Generator().manual_seed(9)
mask = mask_of(*draw_block(shares, 112, generator), size=112)  # [8, 112, 112]
noise = torch.rand(8, 3, 112, 112, generator=generator)
covered = torch.where(mask[:, None], noise, eight)  # [8, 3, 112, 112]
counts = mask.sum(dim=(1, 2))
titles = [f"{count} of {112 * 112} pixels" for count in counts]
show_faces(covered, titles, columns=4, height=1.9)
plt.show()

# %%
for share, count in zip(shares.tolist(), counts.tolist(), strict=True):
    print(f"{share:.2f} of it are {share * 112**2:6.1f} pixels; covered: {count}")
assert torch.equal(counts, (shares.double() * 112**2).round().long())

# %% [markdown]
# The library's `occfer/occlusion/blocks.py` does the same with its own arithmetic. From generators
# in the same state both must cover the same pixels, and they do.

# %%
from occfer.occlusion.blocks import block_mask, draw_blocks, draw_fill

many = 0.05 + 0.25 * torch.rand(500, generator=torch.Generator().manual_seed(0))
ours = mask_of(*draw_block(many, 112, torch.Generator().manual_seed(1)), size=112)
blocks = draw_blocks(many, 112, 112, torch.Generator().manual_seed(1))
theirs = block_mask(blocks, 112, 112)
print(f"{len(many)} blocks, {int((ours != theirs).sum())} pixels differ")
assert torch.equal(ours, theirs)

# %% [markdown]
# What should be seen where the face is covered? If it were always black, the encoder could learn
# what black rectangles look like and be lost before a blue mask. The default, `fill="mixed"`,
# takes one of three fills for each face: a random colour, noise, or a smooth texture.

# %% mystnb={"image": {"alt": "The smiling face under the same block four times: black, one colour, noise, and a smooth coloured texture."}}
fills = ("black", "constant", "noise", "texture")
generator = torch.Generator().manual_seed(5)
same_mask = mask[6].expand(1, 1, -1, -1)
covers = [draw_fill(face, fill, generator) for fill in fills]
filled = [torch.where(same_mask, cover, face)[0] for cover in covers]
show_faces(filled, fills, columns=4, height=1.9)
plt.show()

# %% [markdown]
# ### Colour jitter and greyscale
#
# The last changes act on colours. All but one are a single line with the *luminance*, the weighted sum of
# red, green and blue that a grey picture shows; to turn the hue takes a rotation.

# %%
LUMA = torch.tensor([0.299, 0.587, 0.114])


def luminance(x):
    """[B, 3, H, W] → [B, 1, H, W]."""
    return torch.einsum("bchw,c->bhw", x, LUMA)[:, None]


def brightness(x, factor):
    return factor * x


def contrast(x, factor):
    return factor * x + (1 - factor) * luminance(x).mean(dim=(2, 3), keepdim=True)


def saturation(x, factor):
    return factor * x + (1 - factor) * luminance(x)


def hue(x, turn):
    """Turn the colours by a share of the circle around grey: the I–Q plane of YIQ."""
    to_yiq = torch.tensor([[0.299, 0.587, 0.114],
                           [0.595716, -0.274453, -0.321263],
                           [0.211456, -0.522591, 0.311135]])
    y, i, q = torch.einsum("ij,bjhw->ibhw", to_yiq, x)  # three of [B, H, W]
    angle = 2 * math.pi * turn[:, 0]  # [B, 1, 1]
    cos, sin = torch.cos(angle), torch.sin(angle)
    turned = torch.stack([y, cos * i - sin * q, sin * i + cos * q])
    return torch.einsum("ij,jbhw->bihw", torch.linalg.inv(to_yiq), turned)


def grey(x, chosen):
    return torch.where(chosen, luminance(x), x)


# %% mystnb={"image": {"alt": "The smiling face darker and brighter, with low and high contrast, pale and vivid, with two shifted hues, and in grey."}}
def number(value):
    return torch.full((1, 1, 1, 1), value)


examples = {
    "original": face,
    "brightness 0.6": brightness(face, number(0.6)),
    "brightness 1.4": brightness(face, number(1.4)),
    "contrast 0.6": contrast(face, number(0.6)),
    "contrast 1.4": contrast(face, number(1.4)),
    "saturation 0.6": saturation(face, number(0.6)),
    "saturation 1.4": saturation(face, number(1.4)),
    "hue −0.1": hue(face, number(-0.1)),
    "hue +0.1": hue(face, number(0.1)),
    "grey": grey(face, torch.tensor(True)),
}
show_faces([image[0] for image in examples.values()], list(examples), columns=5)
plt.show()

# %% [markdown]
# ### All of it, and the library's version
#
# The class `TwoViews` of the library draws all parameters of a batch with `draw` and applies them
# with `apply`. There, crop and flip are one resampling as above, and the five colour changes,
# which are all linear in red, green and blue, contrast up to a constant, become *one* matrix of 3×4
# numbers for each face, so that the pixels are touched once and not five times. Because drawing and applying
# are separate, we can take the parameters the library has drawn, apply them with our own
# functions, and compare the pictures. Only the pixels of the fill, from their seed, are the library's.

# %%
two_views = TwoViews(size=112)
batch = faces.images[:64] / 255  # [64, 3, 112, 112]
drawn, _ = two_views.draw(64, torch.Generator().manual_seed(0))
for name in ("centre", "extent", "flip", "brightness", "hue", "grey", "occlusion"):
    values = getattr(drawn, name)[0].flatten().tolist()
    print(f"{name:>10} of face 0:", *(round(value, 2) for value in values))


def our_view(images, p, size):
    x = crop_and_flip(images, p.centre, p.extent, p.flip, size)
    b = p.blocks
    mask = mask_of(b.top, b.left, b.height, b.pixels, size)
    fill = draw_fill(x, "mixed", torch.Generator().manual_seed(p.fill_seed))
    x = torch.where(mask[:, None], fill, x)
    x = brightness(x, p.brightness[:, None, None, None])
    x = contrast(x, p.contrast[:, None, None, None])
    x = saturation(x, p.saturation[:, None, None, None])
    x = hue(x, p.hue[:, None, None, None])
    return grey(x, p.grey[:, None, None, None]).clamp(0, 1)


difference = our_view(batch, drawn, 112) - two_views.view.apply(batch, drawn)
assert difference.abs().max() < 1e-5
print("over 64 views, no pixel differs from the library's by more than 0.00001")

# %% mystnb={"image": {"alt": "Seven faces; under each, its two random views, which differ in crop, direction, colour and in what is covered."}}
views = two_views(seven, torch.Generator().manual_seed(21))
rows = ("anchor", "view 1", "view 2")
show_faces([*seven, *views[0], *views[1]], columns=7, row_titles=rows)
plt.show()

# %% [markdown]
# By default half of all views are covered, so a quarter of all pairs are covered on both sides,
# each in its own place. The paper gives neither this probability nor the strength of any other change;
# all defaults are ours and stand in `recipes.ViewRecipe`. The paper's sentence that both samples get "local occlusion and other
# augmentation" is read here as: both, independently. `TwoViews(one_view=True)` covers the first
# view only.
#
# ## Encoder and projector
#
# The encoder $h = \mathrm{Enc}(x)$ is a convolutional network without its classifier. The network
# halves the picture's sides again and again while the number of channels grows, until a small
# map is left; the average over the map's places is the vector $h$. It is this $h$ that later
# chapters use.

# %%
network = recipes.pretraining().network
encoder = Encoder(network.backbone, width=network.width, stem=network.stem).eval()
size = network.size
picture = F.interpolate(seven / 255, size=size, mode="bilinear", antialias=True)
shapes = []
with torch.inference_mode():
    feature_map = (picture - encoder.backbone.mean) / encoder.backbone.std
    for stage in encoder.backbone.stages:
        feature_map = stage(feature_map)
        shapes.append(tuple(feature_map.shape))
    h = encoder(picture)
print(f"pictures      {tuple(picture.shape)}")
for stage, shape in enumerate(shapes, start=1):
    print(f"after stage {stage} {shape}")
print(f"h             {tuple(h.shape)}")
assert torch.allclose(h, feature_map.mean(dim=(2, 3)), atol=1e-6)

# %% [markdown]
# The loss is not computed from $h$ but from $z = \mathrm{Proj}(h)$, where the projector is a small
# network with one hidden layer. The paper says only that it is shallow; we take that of SimCLR
# {cite:p}`chen2020simclr`, the method on which OCL builds. The detour
# has a reason. The loss rewards $z$ for forgetting everything in which two views of a face may
# differ, such as colour, the direction of the gaze in the picture, or an open mouth that is covered
# in one of them. Some of this may matter later. With a projector in between, $z$ can forget it
# while $h$ still knows, and after pre-training the projector is thrown away.

# %%
class Projector(nn.Module):
    """h [B, channels] → z [B, dimensions]."""

    def __init__(self, channels, hidden=512, dimensions=128):
        super().__init__()
        self.hidden = nn.Linear(channels, hidden, bias=False)  # the norm has one
        self.norm = nn.BatchNorm1d(hidden)
        self.out = nn.Linear(hidden, dimensions)

    def forward(self, h):
        return self.out(torch.relu(self.norm(self.hidden(h))))


from occfer import ocl

ours, theirs = Projector(encoder.channels), ocl.Projector(encoder.channels)
weights = zip(ours.state_dict(), theirs.state_dict().values(), strict=True)
ours.load_state_dict(dict(weights))
h = torch.randn(16, encoder.channels, generator=torch.Generator().manual_seed(0))
assert torch.allclose(ours(h), theirs(h), atol=1e-6)
print(f"h {tuple(h.shape)} → z {tuple(ours(h).shape)}, as in the library")

# %% [markdown]
# ## The loss
#
# A batch of $N$ faces gives $2N$ views and $2N$ vectors $z$. How similar two of them are is
# measured by the cosine of the angle between them, $\mathrm{sim}(u, v) = u^\top v / (\|u\|\,\|v\|)$.
# For view $i$ with partner $j$, the loss asks: of all the *other* $2N-1$ views, how clearly is
# $j$ the most similar one?
#
# $$
# \ell(i,j) = -\log \frac{\exp(\mathrm{sim}(z_i, z_j)/\tau)}
#                        {\sum_{k \ne i} \exp(\mathrm{sim}(z_i, z_k)/\tau)}
# $$
#
# This is equation (1) of the paper, with a $-\log$ to which we return below. It is averaged over
# all views in both directions, $(i,j)$ and $(j,i)$. The number $\tau$ is the *temperature*. The loss
# goes by the name NT-Xent, the normalised temperature-scaled cross-entropy.
#
# Written down just as it stands, it is a loop over all pairs.

# %%
def nt_xent_loop(z1, z2, tau):
    z = torch.cat([z1, z2])  # [2N, D]; view i and view i + N show the same face
    views, faces = len(z), len(z1)
    total = 0.0
    for i in range(views):
        partner = (i + faces) % views
        similarity = [F.cosine_similarity(z[i], z[k], dim=0) for k in range(views)]
        above = torch.exp(similarity[partner] / tau)
        below = sum(torch.exp(similarity[k] / tau) for k in range(views) if k != i)
        total = total - torch.log(above / below)
    return total / views


# %% [markdown]
# The loop is easy to believe and slow. To make it fast, notice that the fraction is a softmax.
# Each view faces a question with $2N-1$ possible answers, *which of the others is my partner?*, the
# similarities over $\tau$ are its logits, and $-\log$ of the softmax at the right answer is the
# cross-entropy of ordinary classification. All logits together are one matrix product, from
# which the diagonal is taken out because no view may choose itself.

# %%
def nt_xent_fast(z1, z2, tau):
    z = F.normalize(torch.cat([z1, z2]), dim=1)  # [2N, D], every row of length 1
    views, faces = len(z), len(z1)
    similarity = z @ z.T / tau  # [2N, 2N]
    others = ~torch.eye(views, dtype=torch.bool)
    logits = similarity[others].view(views, views - 1)  # [2N, 2N - 1], row by row
    i = torch.arange(views)
    partner = (i + faces) % views
    answer = partner - (partner > i).long()  # one column is missing to its left
    return F.cross_entropy(logits, answer)


# %%
generator = torch.Generator().manual_seed(0)
z1, z2 = torch.randn(2, 16, 32, generator=generator, dtype=torch.float64)
results = {
    "loop": nt_xent_loop(z1, z2, 0.2),
    "cross-entropy": nt_xent_fast(z1, z2, 0.2),
    "library": nt_xent(z1, z2, temperature=0.2),
}
for name, value in results.items():
    print(f"{name:>13}: {value:.10f}")
assert max(results.values()) - min(results.values()) < 1e-10

# %% [markdown]
# One value is worth knowing by heart when you watch a loss fall. If all vectors are equal, every
# answer is equally likely, and the loss is $\log(2N-1)$. An encoder that has understood nothing starts
# near it, or above it where its vectors differ at random: a confident guess costs more than none. And
# the loss cannot fall to zero, for the denominator of even a perfect encoder contains its negatives; an
# exercise below asks for the limit.

# %%
equal = torch.ones(16, 32)
print(f"all equal: {nt_xent(equal, equal):.6f}   log(2·16 − 1) = {math.log(31):.6f}")
assert abs(nt_xent(equal, equal).item() - math.log(31)) < 1e-5

# %% [markdown]
# ## The −log that is not in the paper
#
# The paper prints (1) as the bare fraction, without $-\log$, and says that this loss is computed for
# all positive pairs. A loss is minimised. What would happen if the fraction were? Call it $p$. Its
# derivative by the similarity of the positive pair is $p\,(1-p)/\tau$, which is never negative, so
# a step *against* the gradient makes the two views of a face less similar. That is the opposite of
# what the text promises. For $-\log p$ the derivative is $-(1-p)/\tau$, and the step goes the right way.
# Automatic differentiation confirms the signs, and a toy with six faces in the plane shows where
# either road leads.

# %%
similarities = torch.tensor([0.3, 0.5, -0.2, 0.1], requires_grad=True)
p = F.softmax(similarities / 0.2, dim=0)[0]  # the first is the partner
losses = {"fraction as printed": p, "−log of the fraction": -p.log()}
for name, loss in losses.items():
    (gradient,) = torch.autograd.grad(loss, similarities, retain_graph=True)
    change = "apart" if gradient[0] > 0 else "together"
    print(f"{name:>20}: d loss / d sim = {gradient[0]:+.3f}: they move {change}")
    assert (gradient[0] > 0) == (name == "fraction as printed")

# %% mystnb={"image": {"alt": "Two lines over 200 steps: minimising the negative logarithm lifts the similarity of the two views of a face towards one, minimising the printed fraction lowers it towards minus one."}}
def fraction_as_printed(z1, z2, tau):
    z = F.normalize(torch.cat([z1, z2]), dim=1)
    itself = torch.eye(len(z), dtype=torch.bool)
    p = (z @ z.T / tau).masked_fill(itself, -math.inf).softmax(dim=1)  # [2N, 2N]
    partner = torch.arange(len(z)).roll(len(z1))
    return p[range(len(z)), partner].mean()


figure, axis = plt.subplots(figsize=(8, 2.8))
ends = {}
for name, loss, colour, line in (
    ("minimising −log of the fraction", nt_xent_fast, BLUE, "-"),
    ("minimising the fraction as printed", fraction_as_printed, RED, "--"),
):
    generator = torch.Generator().manual_seed(1)
    z = torch.randn(2, 6, 2, generator=generator, requires_grad=True)
    curve = []
    for _ in range(200):
        curve.append(F.cosine_similarity(z[0], z[1]).mean().item())
        (gradient,) = torch.autograd.grad(loss(z[0], z[1], 0.5), z)
        z = (z - 0.5 * gradient).detach().requires_grad_()
    ends[name] = curve[-1] - curve[0]
    axis.plot(curve, color=colour, linestyle=line, label=name)
axis.set(xlabel="step of gradient descent", ylim=(-1.05, 1.05))
axis.set_ylabel("mean similarity of\na face's two views")
axis.legend(loc="center right")
plt.show()
rises, falls = ends.values()
assert rises > 0 > falls

# %% [markdown]
# So the $-\log$ is what the paper must mean, and it is what SimCLR's equation has. One could also
# repair (1) by *maximising* the fraction. Then the pull on every pair is $p\,(1-p)/\tau$: pairs that are
# half found pull most, and pairs that are missed pull almost nothing. The logarithm divides the factor
# $p$ out, so that the hardest pairs pull most.
#
# ## Temperature
#
# The derivative of the loss by the similarity of view $i$ to a negative $k$ is $p_{ik}/\tau$, where
# $p_{ik}$ is the softmax weight of $k$. The smaller $\tau$, the more of the push goes to the few
# negatives that are most similar already. A temperature near zero lets one negative take all; a
# large one pushes everybody alike. Among the most similar negatives are faces with the *same*
# expression, which we would rather not push away, so a very small temperature is not simply better.
# The figure supposes one negative at every similarity from −1 to 1.

# %% mystnb={"image": {"alt": "Three curves over the similarity of a negative from minus one to one: at temperature 0.1 nearly all of the push goes to negatives near similarity one, at 0.2 it is spread wider, at 0.5 wider still."}}
negatives = torch.linspace(-1, 1, 201)
figure, axis = plt.subplots(figsize=(8, 2.6))
for tau, colour, line in ((0.1, RED, "-"), (0.2, BLUE, "--"), (0.5, GREY, "-.")):
    weight = F.softmax(negatives / tau, dim=0)
    nearest_half = weight[negatives > 0.5].sum()
    label = f"τ = {tau}: {100 * nearest_half:.0f} % of the push beyond similarity 0.5"
    axis.plot(negatives, weight / weight.max(), line, color=colour, label=label)
axis.set(xlabel="similarity of the negative", ylabel="push, relative\nto the largest")
axis.legend(loc="upper left")
plt.show()

# %% [markdown]
# The paper does not give its $\tau$, nor the number of faces in a batch or the projector's size. The
# library's defaults are $\tau = 0.2$, $N = 256$ and a projector of 512 hidden and 128 final
# numbers; each is an argument.
#
# ## Pre-training
#
# `pretrain` joins the parts: draw two views of a batch, encode and project them, compute the loss,
# step. Its inner loop in `occfer/engine/pretrain.py` is short enough to read now. The recipe holds
# every setting and depends on the *tier*: at `smoke` everything is so small that it runs in seconds
# on two processor cores, at `paper` it is what the paper says, 800 rounds through the data
# included. At the smoke tier we take a sample of the faces, half of the network's width, smaller
# views, and a few more rounds than the tier's default, so that there is something to see.

# %%
recipe = recipes.pretraining()
pool = faces
if recipes.TIER == "smoke":
    order = torch.randperm(len(faces), generator=torch.Generator().manual_seed(0))
    pool = faces[order[:640]]
    network = replace(recipe.network, width=8, size=32)
    epochs = 8000 // len(pool)  # 120 steps
    recipe = replace(recipe, network=network, epochs=epochs, learning_rate=1e-3)
print(
    f"{len(pool)} faces, {recipe.epochs} epochs, batches of {recipe.batch_size}, "
    f"views of {recipe.network.size} pixels, τ = {recipe.temperature}"
)

# %% [markdown]
# ### What to watch beside the loss
#
# A falling loss shows that the task is being solved. It does not show that the solution is worth
# anything, and it cannot even be compared from run to run: easier views, fewer negatives and another
# temperature all change it, whatever the encoder has learnt. Wang and Isola
# {cite:p}`wang2020alignment` take the loss apart into two properties that can be seen. Write
# $u = z / \|z\|$ for the direction of a projection, a point on the unit sphere.
#
# *Alignment* asks whether the two views $u_i$ and $u_i'$ of a face lie close together, and *uniformity*
# whether the faces $u_1, \dots, u_N$ are spread evenly over the sphere:
#
# $$
# A = \frac1N \sum_i \| u_i - u_i' \|^2 \in [0, 4], \qquad
# U = \log \frac{1}{N(N-1)} \sum_{i \ne j} e^{-2 \| u_i - u_j \|^2}
# \in \bigl[-\tfrac{4N}{N-1},\, 0\bigr] .
# $$
#
# Of both, less is better. On the unit sphere $\|u - v\|^2 = 2 - 2\,\mathrm{sim}(u, v)$, so the two are
# old acquaintances: $A$ comes from the numerators of (1), and $U$ from the similarities of different faces in its
# denominators, at a temperature of a quarter. Neither is worth anything without the other. An encoder that sends all
# faces to one point aligns them perfectly, $A = 0$, and its $U$ is 0, the worst there is. Random directions
# in many dimensions are spread about as well as can be, $U \approx -4$, and the two views of a face are strangers, $A \approx 2$.

# %%
def alignment(z1, z2):
    u1, u2 = F.normalize(z1, dim=1), F.normalize(z2, dim=1)
    return (u1 - u2).square().sum(dim=1).mean()


def uniformity(z):
    u = F.normalize(z, dim=1)
    distance = 2 - 2 * u @ u.T  # squared, of every pair
    apart = ~torch.eye(len(z), dtype=torch.bool)
    return (-2 * distance[apart]).exp().mean().log()


from occfer.engine import probes

z1, z2 = torch.randn(2, 500, 128, generator=torch.Generator().manual_seed(0))
point = torch.eye(128)[:1].expand(500, 128)  # a single direction, 500 times
print(f"one point:         A = {alignment(point, point):.2f}   U = {uniformity(point):+.2f}")
print(f"random directions: A = {alignment(z1, z2):.2f}   U = {uniformity(z1):+.2f}")
assert torch.isclose(alignment(z1, z2), probes.alignment(z1, z2))
assert torch.isclose(uniformity(z1), probes.uniformity(z1), atol=1e-4)

# %% [markdown]
# Neither knows what the features are wanted for. That is asked by two classifiers which train nothing in
# the encoder. The first names a face after the commonest label among its 20 nearest training faces, by the
# angle between their vectors $h$: the *k-nearest-neighbour* check, or k-NN. It asks whether faces with the same
# expression lie near each other, *among all the ways in which faces differ*. The second, the *linear
# probe*, is a logistic regression on $h$. It may weigh the numbers in $h$, so it asks for less: whether
# the expression can be read off $h$ at all. Both learn from the labels of the faces that pre-training
# has seen and are asked about the validation split, which shows *other people*. The labels never reach the
# encoder.

# %%
def vote(queries, gallery, labels, k=20):
    """Majority among the k most similar gallery faces: [Q, D], [G, D], [G] → [Q]."""
    nearest = (F.normalize(queries, dim=1) @ F.normalize(gallery, dim=1).T).topk(k).indices
    return F.one_hot(labels[nearest], len(EMOTIONS)).sum(dim=1).argmax(dim=1)


from sklearn.linear_model import LogisticRegression

labels = torch.arange(500) % len(EMOTIONS)
assert torch.equal(vote(z2, z1, labels), probes.nearest_neighbours(z1, labels, z2))


def probe(queries, features, labels):
    """What a logistic regression on standardised features says."""
    mean, std = features.mean(dim=0), features.std(dim=0, correction=0)
    learnt = LogisticRegression(max_iter=1000).fit((features - mean) / std, labels)
    return torch.from_numpy(learnt.predict((queries - mean) / std))


asked, known = z2[:, :16] + labels[:, None] / 4, z1[:, :16] + labels[:, None] / 4
said = probe(asked, known, labels)
assert (said == labels).double().mean() > 2 / len(EMOTIONS)  # there is something to be found
agree = (said == probes.linear_probe(known, labels, asked)).double().mean()
assert agree > 0.99  # the library standardises in double precision
print("alignment, uniformity, k-NN and linear probe agree with the library's")

# %% [markdown]
# `Probes` measures all four between two epochs. It is a *watcher*, a function that is called after every
# epoch: `pretrain` shows it the network, and what it returns goes into the history beside the loss. (Beside an accuracy stands its 95 % interval, of which
# more below.)

# %% tags=["nbval-ignore-output"]
from occfer.engine.pretrain import build_encoder, build_views

validation = load_faces("synthfer", split="val")
if recipes.TIER == "smoke":
    generator = torch.Generator().manual_seed(1)
    order = torch.randperm(len(validation), generator=generator)
    validation = validation[order[:300]]

size = recipe.network.size
every = max(1, recipe.epochs // 20)  # a probe costs time, and 20 points make a curve
watcher = probes.Probes(pool, validation, build_views(recipe), size, every=every)
pretrained = pretrain(pool, recipe, progress=False, watchers=[watcher])
for row in pretrained.history[:: max(1, recipe.epochs // 6)]:
    print(f"epoch {row['epoch']:3}   loss {row['loss']:.3f}   {row['seconds']:6.1f} s")

# %% tags=["nbval-ignore-output"] mystnb={"image": {"alt": "Three panels over the epochs of pre-training. The loss falls from a value near the dotted line of an encoder whose vectors are all equal. The accuracies of the k-NN and of the linear probe on validation faces, with a dotted line for the commonest class. Alignment and uniformity on the unit sphere."}}
losses = [row["loss"] for row in pretrained.history]
all_equal = math.log(2 * recipe.batch_size - 1)
commonest = max(validation.counts().values()) / len(validation)
figure = show_history(pretrained.history)
for axis, height, name in zip(
    figure.axes, (all_equal, commonest), ("all equal: log(2N − 1)", "commonest class"), strict=False
):
    axis.axhline(height, color=GREY, linestyle=":", linewidth=1.5, label=name)
    axis.legend(fontsize=8, loc="lower left")
figure.axes[1].set_ylim(bottom=0)
plt.show()

# %% tags=["nbval-ignore-output"]
from scipy.stats import binomtest


def percent(hits, faces):
    """Accuracy with Wilson's interval."""
    interval = binomtest(hits, faces).proportion_ci(method="wilson")
    low, high = 100 * interval.low, 100 * interval.high
    return f"{100 * hits / faces:.1f} % (95 % interval {low:.1f} to {high:.1f})"


probed = [row for row in pretrained.history if "alignment" in row]
first, last = probed[0], probed[-1]
knn, linear = (
    percent(round(last[name] * len(validation)), len(validation))
    for name in ("knn_accuracy", "linear_accuracy")
)
display(Markdown(
    f"From epoch {first['epoch']} to epoch {last['epoch']} alignment went from "
    f"{first['alignment']:.2f} to {last['alignment']:.2f} and uniformity from "
    f"{first['uniformity']:.2f} to {last['uniformity']:.2f}. In the end the k-NN names {knn} of "
    f"{len(validation)} validation faces rightly, and the linear probe {linear}. Always saying "
    f"the commonest class would reach {100 * commonest:.1f} %."
))

# %%
assert losses[-1] < losses[0], "the loss should fall"
assert losses[-1] < all_equal, "the encoder should tell faces apart"

# %% [markdown]
# Read the three panels together. Where the loss falls and uniformity with it, the encoder is telling faces
# apart. Alignment may rise meanwhile, for it starts from an encoder to which all faces look nearly alike.
# And where the loss goes on falling while k-NN and probe stand still, what is being learnt is not what the
# labels ask for. A long pre-training is worth watching for that alone; `show_history` draws these curves
# for any run, and `occfer pretrain` writes them beside its checkpoints.
#
# ## What has been learnt?
#
# We ask two questions of the validation faces, which the encoder has never seen. Each question is put
# to an untrained encoder as well, because random convolutional networks are better at many things
# than one would think.
#
# **Does it find a covered face again?** We draw two views of each validation face and cover the second
# with a block of noise. Is the first view of that face among the five that are most similar, of all first
# views? We ask four times, with other views each time, since the split is small.

# %%
@torch.inference_mode()
def vectors(encoder, images):
    """Frozen h of pictures in [0, 1], each of length 1: [B, 3, H, W] → [B, D]."""
    device = next(encoder.parameters()).device
    if images.shape[-1] != size:
        images = F.interpolate(images, size=size, mode="bilinear", antialias=True)
    parts = [encoder(part.to(device)).cpu() for part in images.split(256)]
    return F.normalize(torch.cat(parts), dim=1)


# %% [markdown]
# One thing has to be fair: a fresh network's batch normalisations have seen no data. We let the
# untrained encoder look at the same faces once, which sets them to the means over all batches and changes
# no weight.

# %%
untrained = build_encoder(recipe).train()
for layer in untrained.modules():
    if isinstance(layer, nn.BatchNorm2d):
        layer.momentum = None  # a mean over all batches, not a moving one
vectors(untrained, pool.images / 255)
encoders = {"untrained": untrained.eval(), "pre-trained": pretrained.encoder}

# %% tags=["nbval-ignore-output"] mystnb={"image": {"alt": "Share of faces found again against the covered share, for both encoders: the pre-trained one finds fewer as more is covered and stays well above the untrained one, which lies near guessing."}}
from occfer import occlusion

clean = validation.images / 255
ratios = (0.0, 0.1, 0.2, 0.3)


def found_again(encoder, fill="noise", repeats=4):
    """Share of faces whose view 1 is among the five nearest to view 2, by covered share."""
    hits = torch.zeros(len(ratios))
    for seed in range(repeats):
        generator = torch.Generator().manual_seed(seed)
        view1, view2 = TwoViews(size=size, occlusion=0.0)(clean, generator)
        known = vectors(encoder, view1)  # [V, D]
        for number, ratio in enumerate(ratios):
            covered, _ = occlusion.block(view2, ratio, fill, generator)
            similarity = vectors(encoder, covered) @ known.T  # [V, V]
            nearer = similarity > similarity.diag()[:, None]
            hits[number] += (nearer.sum(dim=1) < 5).float().mean()
    return (hits / repeats).tolist()


found = {name: found_again(encoder) for name, encoder in encoders.items()}
figure, axis = plt.subplots(figsize=(8, 2.8))
looks = {"untrained": dict(color=ORANGE, linestyle="--", marker="s"),
         "pre-trained": dict(color=BLUE, linestyle="-", marker="o")}
for name, shares in found.items():
    axis.plot(ratios, shares, label=name, **looks[name])
axis.axhline(5 / len(clean), color=GREY, linestyle=":", label="guessing")
axis.set(xlabel="covered share of view 2", ylabel="among the five")
axis.set_ylim(0, 1.3 * max(found["pre-trained"]))
axis.legend(ncols=3, loc="upper right")
stamp(figure, f"SynthFER, {len(validation)} validation faces")
plt.show()

# %%
assert sum(found["pre-trained"]) > sum(found["untrained"])

# %% [markdown]
# **Does it know anything about expressions?** It was never told that expressions exist. The k-NN of
# above asks the frozen encoder, and this time the untrained one beside it. As the people of the two splits
# differ, recognising a person cannot help here; it may well hurt.
#
# An accuracy on a few hundred faces is an estimate, and Wilson's interval says how far the true value may lie
# from it. McNemar's test looks at the faces on which exactly one of the two encoders is right, and gives the
# probability $p$ of so uneven a score, or a more uneven one, if each of them were the toss of a coin. Chapters
# 7 and 8 come back to both.

# %% tags=["nbval-ignore-output"]
right = {}
for name, encoder in encoders.items():
    gallery = vectors(encoder, pool.images / 255)
    answers = vote(vectors(encoder, clean), gallery, pool.labels)
    right[name] = answers == validation.labels  # [V]

# McNemar's exact test looks only at the faces on which the two disagree.
before, after = right["untrained"], right["pre-trained"]
won, lost = int((after & ~before).sum()), int((before & ~after).sum())
chance = binomtest(won, won + lost).pvalue if won + lost else 1.0
verdict = "so the difference could well be luck"
if chance <= 0.05:
    word = "better" if won > lost else "worse"
    verdict = f"so pre-training is {word} by more than luck"
shares = [percent(int(hits.sum()), len(hits)) for hits in (before, after)]
display(Markdown(
    f"At the {recipes.TIER} tier the vote is right for {shares[0]} of "
    f"{len(validation)} faces with the untrained encoder, and for {shares[1]} "
    f"with the pre-trained one. Always saying the commonest class would reach "
    f"{100 * commonest:.1f} %. Pre-training wins {won} faces and loses {lost} "
    f"(McNemar's exact test: p = {chance:.2g}), {verdict}."
))

# %%
assert won + lost == int((before != after).sum())

# %% [markdown]
# Read the sentence above as it stands; it is written by the code, from this run. A few rounds over a
# few hundred faces decide nothing about a method that its author trained for 800 rounds on some
# 120,000. But one thing can be said in advance, and it matters for every tier. The task was to tell
# *pictures* apart, and what tells pictures of faces apart best is the person, the light, the pose
# and the background. The expression is one property among these. Contrastive pre-training is given no
# reason to prefer it, and the loss even pushes away other faces that show the same expression. Whether
# the pre-trained weights are a better *start* for learning expressions is another question, and only
# fine-tuning can answer it. That is chapter 7.
#
# ## Exercises

# %% [markdown]
# ````{exercise} One view or both
# :label: ocl-one-view
#
# Pre-train with `replace(recipe, one_view=True)` and with views that are never covered, by
# `replace(recipe, views=replace(recipe.views, occlusion=0.0))`. Add the two encoders to `encoders` and to
# `looks`, and draw the figure of faces found again once more. Which task was easier by its loss, and which encoder copes best with
# covered faces?
# ````
#
# ````{solution} ocl-one-view
# :class: dropdown
#
# Without blocks the two views share more, so the loss is lowest throughout; with one view covered it lies
# between. A lower loss here means an easier task and not a better encoder. In the figure the order is the
# other way round: at the smoke tier, with seed 0, the encoder that saw blocks in both views finds most faces
# again under a block over 30 hundredths, the one that saw them in one view fewer, and the one without blocks
# fewest. Repeat the runs with `seed=1` and `seed=2` before you trust a difference.
# ````

# %% [markdown]
# ````{exercise} How low can it go?
# :label: ocl-limit
#
# Suppose every positive pair has similarity 1. What is the loss if all negatives have similarity 0, for
# $N = 256$ and $\tau = 0.2$? And what is the smallest value it can take at all?
# ````
#
# ````{solution} ocl-limit
# :class: dropdown
#
# Each view has $2N-2 = 510$ negatives, so the loss is $\log(1 + 510\,e^{-1/\tau}) = \log(1 + 510\,e^{-5})
# \approx 1.49$. The mean similarity of $N$ unit vectors to one another cannot be less than $-1/(N-1)$,
# so the smallest value is $\log(1 + 510\,e^{-(1 + 1/255)/\tau})$, which is hardly less. It needs
# as many dimensions as there are faces, less one, so the library's 128 numbers cannot reach it for
# $N = 256$.
# ````

# %% [markdown]
# ````{exercise} A shortcut
# :label: ocl-shortcut
#
# Switch off colour jitter and greyscale with `replace(recipe.views, jitter=0.0, grey=0.0)`. The
# loss becomes lower. What may the encoder be looking at? Test your guess: compute the mean colour of each
# view and count how often the nearest mean colour belongs to the partner.
# ````
#
# ````{solution} ocl-shortcut
# :class: dropdown
#
# Background and skin give each picture a mean colour that survives cropping: among 256 faces the nearest mean
# colour is the partner's for some views in a hundred, and hardly ever with jitter and greyscale (chance alone
# would give one in five hundred). Chen and others show the same with colour histograms.
# ````

# %% [markdown]
# ````{exercise} Always black
# :label: ocl-black
#
# Pre-train with `replace(recipe, views=replace(recipe.views, fill="black"))` and draw the figure of faces found
# again twice, covering with black and with noise by `found_again(encoder, fill)`. Does an encoder that has seen only black blocks also ignore noisy ones?
# ````
#
# ````{solution} ocl-black
# :class: dropdown
#
# Expect the encoder to do better on the fill it has trained with. At the smoke tier, with 30 hundredths
# covered, it finds more faces again under black than under noise, and trained with the mixed fill it is the
# other way round. Where the two lie far apart, it has learnt what a black rectangle looks like rather than to
# do without the covered part.
# ````

# %% [markdown]
# ````{exercise} Views of the same expression
# :label: ocl-supervised
#
# If labels *are* known, one can call every pair of faces with the same expression positive. Write that
# loss as a loop first. What is its value when all vectors are equal?
# ````
#
# ````{solution} ocl-supervised
# :class: dropdown
#
# Average $-\log$ of the softmax over all positives of a view, then over all views. For equal vectors every
# softmax value is $1/(2N-1)$, so the loss is $\log(2N-1)$ again. A second check is (1) itself: if no two faces
# of a batch share a label, the only positive of a view is its partner, and your loop must give what
# `nt_xent_loop` gives, for any vectors. Khosla and others call it supervised contrastive learning.
# ````

# %% [markdown]
# ## What to read next
#
# OCL is SimCLR {cite:p}`chen2020simclr` with one more change in its views; that paper's experiments on
# which changes matter, and on the projector, are the best next step. Its loss goes back to
# instance discrimination {cite:p}`wu2018instance` and contrastive predictive coding {cite:p}`oord2018cpc`,
# and MoCo {cite:p}`he2020moco` shows how to have many negatives without large batches. What the loss
# does to the geometry of $z$ is explained by Wang and Isola {cite:p}`wang2020alignment`, and what the
# temperature does by Wang and Liu {cite:p}`wang2021behaviour`. Tian and others {cite:p}`tian2020views` ask
# which views are good ones. Covering blocks of training pictures is older than its use here: see
# random erasing {cite:p}`zhong2020erasing` and cutout {cite:p}`devries2017cutout`. With labels, the
# same loss becomes supervised contrastive learning {cite:p}`khosla2020supervised`. The paper that this
# chapter follows is Xi's {cite:p}`xi2022occluded`.
#
# The next chapter turns to faces with labels, and looks at them region by region.

# %% tags=["nbval-ignore-output"]
from occfer.engine.records import peak_memory

display(Markdown(
    f"*This notebook took {time.perf_counter() - begun:.0f} seconds and at most "
    f"{peak_memory() / 2**30:.1f} GiB of memory at the {recipes.TIER} tier.*"
))
