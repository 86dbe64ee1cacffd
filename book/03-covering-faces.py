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
# # 3 · Covering faces: an occlusion zoo with exact masks
#
# A network that is to read covered faces needs covered faces, to learn from and to be tested on.
# Photographs of people behind masks and hands exist, but nobody has marked which of their pixels
# belong to the hand, and nobody can photograph the same moment again without it. So this chapter
# takes the other way and covers faces itself. What we draw we know to the pixel: the face below
# it, the thing on top, and the line between the two. The line is called the *mask* of the
# occluder, and it is a picture of yes and no, not the thing that people wear.
#
# When you have worked through this chapter you will be able to
#
# - cover a stated share of a picture to the pixel, with a shape of any form;
# - read from five landmarks how a head is turned, and check your answer against the truth;
# - fill a polygon so that its edges are smooth, for a whole batch at once;
# - put a mask on a face, lit like the face, and say which of its parts a thing hides;
# - write down a test set as a recipe of a few lines from which the same pixels come back anywhere.
#
# You need PyTorch and no knowledge of computer graphics. The last cell prints how long this
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
import tempfile
import time
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from IPython.display import Markdown, display

from occfer import load_faces, occlusion, recipes
from occfer.plots import ORANGE, show_face, show_faces, style
from occfer.randomness import generator_for

begun = time.perf_counter()
style()
plt.rcParams["figure.dpi"] = 90  # many photographs: keep the notebook small

# %% [markdown]
# ## A share of the face, to the pixel
#
# The simplest occluder is a block, and the paper tests with blocks over 0, 5, 10, … 30 hundredths
# of the face. If the claim is "accuracy at 20 % occlusion", then 20 % should be covered, not
# 18 on one face and 23 on the next. For a rectangle one can work out sides that fit, as chapter 4
# does. What about an ellipse, a slanted stripe, a polygon that hangs half out of the picture?
#
# There is one idea that answers for all shapes. Give every pixel a number that says how much the
# shape would have to grow to reach it. Mathematicians call that number the *gauge* of the shape.
# Then sort the pixels by it, and cover the first $n = \mathrm{round}(\text{share} \cdot HW)$. The
# shape grows until exactly $n$ pixels are covered, and nothing needs to be solved.

# %%
def ellipse_gauge(centre, angle, aspect, size):
    """By how much an ellipse has to grow to reach each pixel: [B, size, size]."""
    pixels = torch.arange(size) + 0.5  # centres of pixels
    across = pixels - centre[:, 0, None, None] * size
    down = pixels[:, None] - centre[:, 1, None, None] * size
    cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
    stretch = aspect.sqrt()[:, None, None]
    across, down = (cos * across + sin * down) * stretch, (cos * down - sin * across) / stretch
    return (across**2 + down**2).sqrt()


def first_pixels(gauge, share):
    """The pixels with the least gauge: bool [B, H, W] with round(share · H · W) of them."""
    count = round(share * gauge[0].numel())
    order = gauge.flatten(1).argsort(dim=1, stable=True)  # [B, H·W], nearest first
    mask = torch.zeros_like(order, dtype=torch.bool)
    mask.scatter_(1, order[:, :count], True)
    return mask.view_as(gauge)


# %% mystnb={"image": {"alt": "Left: the gauge of a slanted ellipse, dark in its middle and brighter outwards. Then three masks that grow out of it, covering more and more pixels."}}
one = dict(centre=torch.tensor([[0.6, 0.45]]), angle=torch.tensor([0.6]))
gauge = ellipse_gauge(**one, aspect=torch.tensor([2.5]), size=112)
figure, axes = plt.subplots(1, 4, figsize=(8, 2.2))
show_face(axes[0], gauge[0] / gauge.max(), "gauge")
for axis, share in zip(axes[1:], (0.05, 0.15, 0.30), strict=True):
    mask = first_pixels(gauge, share)
    show_face(axis, mask[0].float(), f"{int(mask.sum())} of {112 * 112} pixels")
plt.show()

# %% [markdown]
# The library's `occfer/occlusion/shapes.py` does the same for several shapes of four kinds. From
# the same drawn numbers, both must cover the same pixels.

# %%
from occfer.occlusion.shapes import draw_shapes, shape_mask

drawn = draw_shapes(50, generator_for(1), "ellipse")
ours = first_pixels(
    ellipse_gauge(drawn.centre[:, 0], drawn.angle[:, 0], drawn.aspect[:, 0], 112), 0.2)
theirs = shape_mask(drawn, torch.full((50,), 0.2), 112, 112)
print(f"50 ellipses of {int(theirs[0].sum())} pixels; {int((ours != theirs).sum())} pixels differ")
assert torch.equal(ours, theirs)

# %% [markdown]
# What stands where the face is covered matters as much as where. A black block removes
# information and nothing else. Noise adds edges that no face has. Another person's mouth in the
# place of the mouth is the cruellest: it does not look like an occluder at all.

# %% mystnb={"image": {"alt": "A face under blocks: in the upper row a rectangle, an ellipse, a stripe, a polygon and three ellipses; in the lower row the same place filled black, with the mean colour, with texture, blurred, and with the same place of another face."}}
faces = load_faces("synthfer", split="test")
# People who look at us, at least nearly, and wear no glasses yet.
level = (faces.extras["pose"][:, 0].abs() < 12) & (faces.extras["glasses"] < 0.5)
frontal = faces[level]
some = torch.linspace(0, len(frontal) - 1, 5).long()
batch = frontal.images[some] / 255

looks = [dict(shape=kind) for kind in ("rectangle", "ellipse", "stripe", "polygon")]
looks += [dict(shape="ellipse", count=3)]
looks += [dict(fill=fill) for fill in ("black", "mean", "texture", "blur", "patch")]
names = ["rectangle", "ellipse", "stripe", "polygon", "three of them"]
names += ["black", "mean", "texture", "blur", "another face"]
zoo = [
    occlusion.block(batch, 0.2, generator=generator_for(3, number), **look)[0][number % 5]
    for number, look in enumerate(looks)
]
show_faces(zoo, names, columns=5, height=1.45)
plt.show()

# %% [markdown]
# ## How is the head turned?
#
# A block lies anywhere. A mask lies on the mouth, and when the head turns, it turns along. To
# draw one we have to know how the head is turned, and all we have are five points: two eyes, the
# nose, two corners of the mouth.
#
# The nose gives it away. It stands out from the plane of eyes and mouth, by about
# $N_z = 0.54$ eye distances on the rendered people of this book. When a head turns by the *yaw*
# $\psi$, points in that plane move together, but the tip of the nose moves ahead by
# $N_z \sin\psi$, while the distance between the eyes shrinks to $e = \cos\psi$. The ratio of the
# two no longer depends on the size of the picture. The nose is measured from the middle line, which
# runs from between the eyes to the centre of the mouth, so that a tilted head changes nothing. But the
# mouth, too, stands out a little, by $M_z$, and draws the middle line along. At the height of the nose,
# $N_y / M_y$ of the way down from the eyes to the mouth, the line has moved by that part of
# $M_z \sin\psi$, and the nose is ahead of it by so much less:
#
# $$
# \frac{\text{nose beside the middle line}}{\text{eye distance}} =
# \left( N_z - \frac{N_y}{M_y} M_z \right) \tan\psi .
# $$
#
# In code, with all points seen from between the eyes:

# %%
NOSE_Y, NOSE_Z, MOUTH_Y, MOUTH_Z = 0.61, 0.54, 1.12, 0.08  # in eye distances


def our_yaw(landmarks):
    """Five landmarks [B, 5, 2] → yaw [B] in degrees, positive where the nose moves right."""
    left, right, nose, *corners = landmarks.unbind(dim=1)
    between, mouth = (left + right) / 2, (corners[0] + corners[1]) / 2
    eyes = right - left
    distance = eyes.norm(dim=1)
    across = eyes / distance[:, None]  # unit vector from eye to eye
    share = NOSE_Y / MOUTH_Y  # how far down the middle line the nose sits
    beside = (nose - between) - share * (mouth - between)
    ahead = (beside * across).sum(dim=1) / distance
    return (ahead / (NOSE_Z - share * MOUTH_Z)).atan().rad2deg()


# %% mystnb={"image": {"alt": "Scatter plot of the yaw read off five landmarks against the true yaw of rendered heads. The points follow the diagonal from minus 35 to plus 35 degrees."}}
true_yaw = faces.extras["pose"][:, 0]
ours = our_yaw(faces.landmarks)
figure, axis = plt.subplots(figsize=(3.6, 3.2))
axis.plot(true_yaw, ours, "o", markersize=3, alpha=0.6)
axis.axline((0, 0), slope=1, color=ORANGE, linewidth=1)
axis.set(xlabel="true yaw in degrees", ylabel="read off the landmarks")
plt.show()
error = (ours - true_yaw).abs()
display(Markdown(
    f"*Five points are {error.mean():.1f} degrees off on average; the worst of "
    f"{len(faces)} heads is off by {error.max():.0f}.*"
))

# %% [markdown]
# Four numbers of a mean face know nothing of the person's own nose, and yet this is enough to
# place a mask. The library's `fit_head` does the same for *pitch*, the nodding. There the nose's
# height between eyes and mouth is the clue, and a worse one, because noses differ in length as
# much as heads nod; the library halves what it reads, and more. Size, tilt and place then
# come from a least-squares fit of the turned model to the landmarks.

# %%
from occfer.occlusion.fitting import fit_head

head = fit_head(faces.landmarks)
pitched = head.pitch.cos()
theirs = (head.yaw.tan() * pitched).atan().rad2deg()  # ours leaves the pitch out
print(f"{len(faces)} heads, largest difference {(theirs - ours).abs().max():.5f} degrees")
assert torch.allclose(theirs, ours, atol=1e-2)

# %% [markdown]
# ## Filling a polygon
#
# Everything we want to draw has an outline, and an outline is a polygon with enough corners. Which
# pixels lie inside? Walk along a row of pixels from the left and count: every edge that crosses the
# row from above, on its way down, adds one, every edge on its way up takes one away. Where the count is not zero, you are
# inside. That count is the *winding number*.
#
# Edges rarely cross in the middle between two pixels, and a pixel that is only half inside should
# be painted half. So the pixel in which the crossing lies gets its share, and all pixels after it
# the rest. Written once per crossing and summed up along the row, this fills a polygon
# without looking at most of its pixels; four rows per pixel make slanted edges smooth as well.

# %%
def our_fill(outline, size, rows_per_pixel=4):
    """One polygon [P, 2] of (x, y) → the covered share of each pixel [size, size]."""
    change = torch.zeros(size * rows_per_pixel, size + 2, dtype=torch.float64)
    for (x0, y0), (x1, y1) in zip(outline.tolist(), outline.roll(-1, 0).tolist(), strict=True):
        for row in range(size * rows_per_pixel):
            y = (row + 0.5) / rows_per_pixel - 0.5  # pixel 0 reaches from -0.5 to 0.5
            if (y0 <= y) == (y1 <= y):
                continue  # this edge does not cross this row
            x = x0 + (y - y0) / (y1 - y0) * (x1 - x0) + 0.5
            x = min(max(x, 0), size)
            sign = 1 if y1 > y0 else -1
            column = math.floor(x)
            change[row, column] += sign * (1 - (x - column))
            change[row, column + 1] += sign * (x - column)
    covered = change.cumsum(dim=1)[:, :size].abs().clamp(max=1)
    return covered.view(size, rows_per_pixel, size).mean(dim=1)


# %% mystnb={"image": {"alt": "A five-pointed star on 24 by 24 pixels, its edges in shades of grey; beside it the same star on 112 pixels."}}
from occfer.occlusion.drawing import constant, fill, mirrored, smooth

corner = torch.arange(10) * math.pi / 5
radius = torch.where(torch.arange(10) % 2 == 0, 0.45, 0.19)
star = torch.stack([corner.sin() * radius + 0.5, 0.5 - corner.cos() * radius], 1).double()
figure, axes = plt.subplots(1, 2, figsize=(4.4, 2.2))
for axis, size in zip(axes, (24, 112), strict=True):
    ours = our_fill(star * size, size)
    assert torch.allclose(ours, fill(star[None] * size, size, size)[0])
    show_face(axis, ours.float(), f"{size} pixels")
plt.show()

# %% [markdown]
# The library's `fill` has no loop: all edges, all rows and all pictures of a batch are one tensor.
#
# ## From five points to a mask
#
# Now put the parts together. We describe the mask once, on a head that looks at us, in
# eye distances. Its outline is given by a few points on the surface of the head: how far around
# (the *azimuth*, in degrees from the nose), how far down, and how far off the skin. The right half
# is enough, the left is its mirror image. `wrap` turns the head, finds where each point appears in
# the picture, and lets points that have turned away stop at the head's outline. `smooth` draws a curve through all points,
# with a corner where a point is given twice; `mirrored` adds the left half, and `constant` makes a tensor of it.

# %%
half = [(0, 0.36, 0.30), (10, 0.40, 0.22), (24, 0.54, 0.10), (42, 0.60, 0.05),
        (62, 0.62, 0.02), (62, 0.62, 0.02), (61, 1.1, 0.02), (58, 1.55, 0.03),
        (58, 1.55, 0.03), (40, 1.82, 0.06), (20, 1.97, 0.09), (0, 2.0, 0.12)]
outline = smooth(constant(mirrored(half)), closed=True)

turns = [int((true_yaw - wanted).abs().argmin()) for wanted in (-30, -15, 0, 15, 30)]
five, points = faces.images[turns] / 255, faces.landmarks[turns]
head = fit_head(points)
cover = fill(head.wrap(outline), 112, 112)[:, None]  # [5, 1, 112, 112]
blue = torch.tensor([0.50, 0.72, 0.86])[:, None, None]
flat = cover * blue + (1 - cover) * five

# %% [markdown]
# It lies where it should, but it looks like paper: it shines where the face is in the shade. The
# light can be read off the face. Where the skin is evenly coloured, its brightness depends on the
# direction $\mathbf{n}$ in which it faces, to a good approximation linearly:
# $Y \approx a + \mathbf{b} \cdot \mathbf{n}$. The directions we know, since we know how the head is
# turned, and so a linear regression of brightness on direction finds $a$ and $\mathbf{b}$. Then we
# paint the mask with the same formula.

# %% mystnb={"image": {"alt": "Five heads turned from left to right. First row as they are, with landmarks; second row with a flat blue mask; third row with a mask that is as light and dark as the face; last row with the library's mask with folds, straps and shadow."}}
from occfer.occlusion.light import estimate_light

light = estimate_light(five, head)
shaded = cover * light.expose(blue[None], light.shade) + (1 - cover) * five
worn, mask = occlusion.wear(five, points, "surgical_mask", generator_for(8))

rows = torch.cat([five, flat, shaded, worn])
titles = ["landmarks", "an outline", "in its light", "the library's"]
figure, axes = show_faces(rows, columns=5, height=1.35, row_titles=titles)
for axis, five_points in zip(axes[0], points, strict=True):
    axis.plot(*five_points.T, "o", color=ORANGE, markersize=3)
plt.show()

# %% [markdown]
# The rest is patience: folds, seams, straps, and a soft shadow on the skin, each a line or a
# polygon of its own, painted one over the other. The mask of yes and no follows from the paint:
# a pixel is covered if any paint lies on it. The shadow next to it is not covered, since the skin is
# still to be seen.
#
# ## The zoo
#
# Eleven things are in it. Most are flat shapes that lie on the head, and the phone is a flat box with round
# corners. Hands, the one that holds the phone among them, the microphone and the arch of the headset are made of
# cones with round ends, and are lit by the directions in which *they* face; a hand takes its colour from
# the face it covers. Colour, size and cut are drawn for each face.

# %% mystnb={"image": {"alt": "Eleven columns of three faces each, wearing or holding: surgical mask, N95, cloth mask, scarf, glasses, sunglasses, cap, hand, phone, microphone and headset. In the third row the masks of covered pixels in white."}}
pair = frontal[[0, len(frontal) // 2]]
sheet, masks = [], []
for number, item in enumerate(occlusion.ITEMS):
    covered, mask = occlusion.wear(
        pair.images / 255, pair.landmarks, item, generator_for(21, number))
    sheet += [covered]
    masks += [mask[1].float().expand(3, -1, -1)]
columns = [torch.cat([two, below[None]]) for two, below in zip(sheet, masks, strict=True)]
names = [item.replace("_", " ") for item in occlusion.ITEMS]
for part in (slice(0, 6), slice(6, 11)):
    chosen = torch.stack(columns[part], dim=1).flatten(0, 1)  # row by row
    titles = names[part] + [""] * (2 * len(names[part]))  # above the first row only
    show_faces(chosen, titles, columns=len(names[part]), height=1.33)
    plt.show()

# %% [markdown]
# ## Experiment: what does each thing hide?
#
# SynthFER says of every pixel which part of the face it belongs to, and our masks say of every
# pixel whether it is covered. Counting the pixels in which both agree tells what a
# thing takes away from a network, and no photograph could tell that. Before you look: which
# part does a scarf hide that a surgical mask does not? Which items leave the brows free?

# %% mystnb={"image": {"alt": "A table in colours: rows are the eleven items, columns brows, eyes, nose and mouth, each cell the hidden share of that part. Masks and scarf hide nose and mouth, glasses and cap the upper face, hand, phone and microphone parts of both."}}
from occfer.data.synthfer import PARTS

few = load_faces("synthfer", split="val", size=56)  # the size of the part maps
chosen = few[torch.linspace(0, len(few) - 1, 36).long()]
parts = ("brows", "eyes", "nose", "mouth")
hidden = torch.zeros(len(occlusion.ITEMS), len(parts))
for row, item in enumerate(occlusion.ITEMS):
    _, mask = occlusion.wear(
        chosen.images / 255, chosen.landmarks, item, generator_for(33, row))
    for column, part in enumerate(parts):
        here = chosen.extras["parts"] == PARTS.index(part)
        hidden[row, column] = (here & mask).sum() / here.sum()

figure, axis = plt.subplots(figsize=(4.6, 3.9))
axis.imshow(hidden, cmap="Blues", vmin=0, vmax=1, aspect="auto")
axis.set_xticks(range(len(parts)), parts)
axis.set_yticks(range(len(names)), names)
for row, values in enumerate(hidden.tolist()):
    for column, value in enumerate(values):
        ink = "white" if value > 0.5 else "black"
        axis.text(column, row, f"{value:.2f}", ha="center", va="center", color=ink, fontsize=8)
plt.show()

# %% [markdown]
# Keep this table in mind when a paper reports one accuracy "under occlusion". A block over a fifth
# of the picture and a pair of sunglasses may cover the same number of pixels, and take away very
# different things.
#
# ## A test set is a recipe
#
# Two methods can be compared only on the same covered pixels. One could store the pictures. But most
# data sets may not be passed on, and covered copies of them may not either. So a test set here is a
# *recipe*: which faces, which seed, and which hash the pixels must have when they are done. The
# recipe has a few lines and no picture, and everyone who has the faces can make the rest.
#
# For that to work, a face's occluder must not depend on what happens to stand beside it in the
# batch. All chance is therefore drawn for the whole set before anything is painted.

# %%
from occfer.occlusion.testsets import Manifest, make_manifest, restore

small = faces[:24]
manifest = make_manifest(small, variants=("block-0", "block-20", "sunglasses"))
with tempfile.TemporaryDirectory() as folder:
    path = manifest.save(Path(folder) / "occluded.json")
    again = Manifest.load(path)
    print(f"{path.stat().st_size} bytes describe {3 * len(small)} pictures")
for name, variant in again.variants.items():
    covered = restore(again, small, name)  # raises an error if one pixel differs
    print(f"{name:>11}: share {variant.share:.4f}, SHA-256 {variant.images_sha256[:12]}…")

# %% [markdown]
# For a whole data set, the command `occfer occlude synthfer` writes the recipe and
# `occfer occlude synthfer --check` verifies it. Things that are worn are fitted by landmarks. For faces that
# have none, such as those of FER2013, the command writes the recipe of the blocks alone and says so;
# `add_landmarks` of `occfer/data/landmarks.py` finds points, and a set that is saved with them gets all.
#
# The blocks of a recipe are not those of chapter 9's Figure 3, though both begin with the seed 2022. There
# places and noise are drawn in another way, and the records of Figure 3 hold the hashes of what came of it.
# So there are two sets of covered faces: `restore` gives back a recipe's, and `figure3.cover` in
# `occfer/experiments` the figure's. The surgical masks are the same in both.
#
# None of this is a real occlusion. A drawn mask has no breath behind it, a drawn hand does not
# press on the cheek, and people who cover their mouth may do so *because* of what they feel. For
# FER+ {cite:p}`barsoum2016ferplus` there is a list of 605 faces that were covered when they were photographed
# {cite:p}`wang2020ran`. Three of them show contempt, which is none of our seven expressions;
# `load_faces("ferplus", "occlusion")` reads the other 602, and the recipe names those `real`. Chapter 9 reports the two kinds side by side and never as one number.

# %% [markdown]
# ## Exercises
#
# ````{exercise} A ring
# :label: cover-ring
#
# Cover exactly a tenth of the picture with a ring around its centre. Which gauge do you sort by?
# ````
#
# ````{solution} cover-ring
# :class: dropdown
#
# The distance from a circle: `gauge = (ellipse_gauge(...) - 30).abs()`, then `first_pixels(gauge, 0.1)`. A gauge may
# be any picture of numbers, and the count stays exact.
# ````

# %% [markdown]
# ````{exercise} The price of a flat nose
# :label: cover-nose
#
# Suppose a person's nose stands out by a tenth less than the model's. By how many degrees is the yaw wrong when the
# head is turned by 30 degrees? When it is not turned?
# ````
#
# ````{solution} cover-nose
# :class: dropdown
#
# With $k = N_y / M_y$ the landmarks show $(0.9\, N_z - k M_z) \tan 30°$, which the formula divides by $N_z - k M_z$. The
# estimate is $\arctan\left(\frac{0.9\, N_z - k M_z}{N_z - k M_z} \tan 30°\right) \approx 27.2°$, so the yaw is nearly three
# degrees too small. A head that looks straight at us is read correctly whatever its nose.
# ````

# %% [markdown]
# ````{exercise} Your own item
# :label: cover-item
#
# Draw an eye patch: an outline over one eye, and a strap around the head. Put it on five turned heads with `fit_head`,
# `wrap` and `fill`. What happens to the strap on the far side of a turned head?
# ````
#
# ````{solution} cover-item
# :class: dropdown
#
# Six points make the patch, at azimuths 8, 24 and 40 and at heights -0.25 and 0.35, each 0.1 off the skin; the strap is a narrow band from azimuth -120 to
# 120. `wrap` stops it at the outline of the head, where the real one would go out of sight.
# ````

# %% [markdown]
# ````{exercise} Is the shadow part of the mask?
# :label: cover-shadow
#
# Cover the same faces with and without `shadows=True`. How many pixels outside of the mask differ by more than one
# level of 255? Find an argument for counting them as covered, and one against.
# ````
#
# ````{solution} cover-shadow
# :class: dropdown
#
# `((a - b).abs().amax(1) > 1 / 255) & ~mask` marks them. For: a network may use the shadow to tell that something is
# there. Against: the skin under it is still to be seen, and its expression too.
# ````

# %% [markdown]
# ## What to read next
#
# Random blocks as augmentation come from random erasing {cite:p}`zhong2020erasing` and cutout
# {cite:p}`devries2017cutout`. Region attention networks {cite:p}`wang2020ran` collected the really occluded faces, and
# gACNN {cite:p}`li2019gacnn` tests on both kinds. The landmarks of photographs come from MTCNN
# {cite:p}`zhang2016mtcnn`. The paper followed here is Xi's {cite:p}`xi2022occluded`, which covers RAF-DB
# {cite:p}`li2017rafdb` with blocks and with pictures of masks.
#
# Now that faces can be covered, the next chapter lets a network learn from covered ones.

# %% tags=["nbval-ignore-output"]
from occfer.engine.records import peak_memory

display(Markdown(
    f"*This notebook took {time.perf_counter() - begun:.0f} seconds and at most "
    f"{peak_memory() / 2**30:.1f} GiB of memory at the {recipes.TIER} tier.*"
))
