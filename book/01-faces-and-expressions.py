# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 1 · Faces and expressions
#
# Before a computer can recognise an expression on a covered face, we have to say what an expression is,
# where on the face it sits, and what a data set of expressions really contains. You will learn
#
# - which seven expressions nearly all work in this field is about, and which muscles make them;
# - what SynthFER is, the set of rendered faces that every chapter of this book can use;
# - why the problem is easy for somebody who knows the muscles and hard for somebody who sees pixels;
# - which part of the face tells which expression, and so why it matters what is covered.
#
# You need PyTorch; nothing is trained. The last cell prints how long this notebook took, and how much
# memory.

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

import matplotlib.pyplot as plt
import seaborn as sns
import torch
from IPython.display import Markdown, display

from occfer import EMOTIONS, load_faces, recipes
from occfer.data.synthfer import action_names
from occfer.plots import show_faces, style

begun = time.perf_counter()
style()
train = load_faces("synthfer", split="train")
test = load_faces("synthfer", split="test")
print(train)
print(test)

# %% [markdown]
# ## Seven words
#
# Anger, disgust, fear, happiness, sadness, surprise, and neutral. Ekman and Friesen proposed the first
# six as displays that people of many cultures name alike; the paper, like most of the field, adds a face
# at rest and stops there. It is a coarse list. People mix expressions, hide them, and show many that have
# no place in it, and a display is not a feeling: what a face shows says less about what its owner
# feels than was long believed {cite:p}`barrett2019expressions`. Whenever this book says "recognise
# anger", read "give the display the name that most people would give it".
#
# The faces below are rendered. They belong to SynthFER, a set of five hundred people who do not exist,
# made for this book so that everyone may see, keep and use them; its [data card](synthfer) says how it
# was made, what was measured on it, and what it must not be used for.

# %% mystnb={"image": {"alt": "Three rendered people in three rows, each showing the seven expressions anger, disgust, fear, happiness, sadness, surprise and neutral from left to right."}}
def strongest(identity, label):
    """The most intense face of one person and class."""
    here = ((train.extras["identity"] == identity) & (train.labels == label)).nonzero()[:, 0]
    return int(here[train.extras["intensity"][here].argmax()])


people = train.extras["identity"].unique()[[2, 7, 16]]
chosen = [strongest(identity, label) for identity in people for label in range(len(EMOTIONS))]
titles = [*EMOTIONS] + [""] * (len(chosen) - len(EMOTIONS))
show_faces(train.images[chosen], titles=titles, columns=len(EMOTIONS))
plt.show()

# %% [markdown]
# ## The muscles behind them
#
# The Facial Action Coding System of Ekman and Friesen describes a face without naming any emotion, by
# *action units*: movements that one can see, each made by a muscle or two. An expression is then a
# combination of a few units. The table gives the prototypes that SynthFER draws from, after EMFACS (the
# short form of the system, which keeps only what speaks of emotions) and the frequencies that
# {cite:t}`du2014compound` counted. It names the main units; SynthFER has up to three variants of each class.
#
# | expression | action units | muscles | what one sees |
# |---|---|---|---|
# | anger | 4, 5, 7, 23, 24 | corrugator, lid muscles, orbicularis oris | brows down and together, tight lids, pressed or bared lips |
# | disgust | 9, 10, 17 | levator labii, mentalis | wrinkled nose, raised upper lip |
# | fear | 1, 2, 4, 5, 20, 25 | frontalis, corrugator, risorius | brows up and together, wide eyes, stretched mouth |
# | happiness | 6, 12 | zygomatic major, orbicularis oculi | corners of the mouth up, cheeks raised |
# | sadness | 1, 4, 15, 17 | inner frontalis, depressor anguli oris | inner ends of the brows up, corners of the mouth down |
# | surprise | 1, 2, 5, 26 | frontalis, jaw | brows up, wide eyes, open mouth |
# | neutral | none | | |
#
# SynthFER keeps for each face how far its muscles moved, in 52 facial actions under the names that
# Apple's ARKit gave them. Averaged over the faces of a class, the prototypes reappear. Left and right are
# averaged here as well, and only actions that some class really uses are shown.

# %% mystnb={"image": {"alt": "Heat map of the mean strength of facial actions such as browDown, jawOpen and mouthSmile for each of the seven expressions; each expression has a pattern of its own."}}
actions = train.extras["actions"]
names = [name.removesuffix("Left").removesuffix("Right") for name in action_names()]
both = {name: [i for i, other in enumerate(names) if other == name] for name in names}
strength = torch.stack([actions[:, columns].mean(dim=1) for columns in both.values()], dim=1)
mean = torch.stack([strength[train.labels == label].mean(dim=0) for label in range(len(EMOTIONS))])
used = (mean.amax(dim=0) > 0.12).nonzero()[:, 0].tolist()
figure, axis = plt.subplots(figsize=(8, 2.9))
sns.heatmap(
    mean[:, used], cmap="cividis", vmin=0, yticklabels=EMOTIONS,
    xticklabels=[list(both)[i] for i in used], cbar_kws={"label": "mean strength"}, ax=axis,
)
axis.tick_params(axis="x", rotation=60, labelsize=8)
plt.show()

# %%
by_name = dict(zip(both, mean.T, strict=True))
assert EMOTIONS[int(by_name["mouthSmile"].argmax())] == "happiness"
assert EMOTIONS[int(by_name["noseSneer"].argmax())] == "disgust"
assert EMOTIONS[int(by_name["mouthFrown"].argmax())] == "sadness"
assert EMOTIONS[int(by_name["jawOpen"].argmax())] == "surprise"

# %% [markdown]
# Expressions come in degrees. Every face of SynthFER but the neutral ones has an *intensity* between 0.3
# and 1, by which its prototype is scaled. At the low end a person would often say "neutral", and so
# will a network; a set in which every face shouts its label would make the task look easier than it is.

# %% mystnb={"image": {"alt": "Eight rendered faces showing happiness with intensity rising from 0.3 on the left to 1 on the right, from a hint of a smile to a broad one."}}
happy = (train.labels == EMOTIONS.index("happiness")).nonzero()[:, 0]
intensity = train.extras["intensity"][happy]
steps = torch.linspace(float(intensity.min()), float(intensity.max()), 8)
places = [int(happy[(intensity - step).abs().argmin()]) for step in steps]
show_faces(train.images[places], titles=[f"{train.extras['intensity'][i]:.2f}" for i in places])
plt.show()

# %% [markdown]
# ## The task, and why it is hard
#
# A classifier takes a picture $x$ and returns a probability for each of the seven classes,
#
# $$ p(x) \in [0, 1]^7, \qquad \sum_{c=1}^{7} p_c(x) = 1, $$
#
# and its *accuracy* is the share of test faces for which the largest probability falls on the true
# class. Guessing gets one in seven.
#
# How much is there to be known? Try the simplest rule there is: remember the mean of each class, and give a
# new face the name of the nearest mean. First let the rule see the muscles, which no camera can. Then
# let it see what a camera gives, the pixels.

# %%
def nearest_mean(known, labels, asked):
    """Name each row of ``asked`` [M, D] after the nearest class mean of ``known`` [N, D]."""
    means = torch.stack([known[labels == label].mean(dim=0) for label in range(len(EMOTIONS))])
    return torch.cdist(asked, means).argmin(dim=1)


def pixels(faces):
    """Grey pictures of 28 x 28 pixels as rows, each with mean 0 and length 1."""
    grey = faces.images.float().mean(dim=1, keepdim=True)
    rows = torch.nn.functional.interpolate(grey, 28, mode="area").flatten(1)
    return torch.nn.functional.normalize(rows - rows.mean(dim=1, keepdim=True))


accuracy = {
    seen: float((nearest_mean(known, train.labels, asked) == test.labels).float().mean())
    for seen, known, asked in [
        ("the muscles", train.extras["actions"], test.extras["actions"]),
        ("the pixels", pixels(train), pixels(test)),
    ]
}
sentences = [f"Seeing {seen}, it names {share:.0%} rightly." for seen, share in accuracy.items()]
display(Markdown(" ".join([*sentences, f"Guessing names {1 / len(EMOTIONS):.0%}."])))

# %%
assert accuracy["the muscles"] > 0.7 > 0.3 > accuracy["the pixels"]

# %% [markdown]
# Between those two numbers lies the whole field. The label is in the face; but in the pixels it is a small
# ripple on large waves: who the person is, how the head is turned, where the light stands, what the hair
# does. A network has to learn to see past all of that. And then somebody puts on a mask.
#
# ## What is lost when a part is covered
#
# The muscles of an expression are spread over the face, but not evenly. A simple way to
# see where two expressions differ is to subtract mean faces: below, for each class, the mean face minus the
# mean neutral face. Red is brighter than neutral, blue is darker.

# %% mystnb={"image": {"alt": "Six maps, one for each expression but neutral, of the difference between its mean face and the mean neutral face: the mouth stands out for surprise, fear and happiness, the brows for anger, disgust and surprise, and little stands out for sadness."}}
frontal = train.extras["pose"].abs().amax(dim=1) < 12
grey = train.images.float().mean(dim=1)
neutral = grey[frontal & (train.labels == EMOTIONS.index("neutral"))].mean(dim=0)
shown = [emotion for emotion in EMOTIONS if emotion != "neutral"]
figure, axes = plt.subplots(1, len(shown), figsize=(8, 1.7))
for axis, emotion in zip(axes, shown, strict=True):
    mean_face = grey[frontal & (train.labels == EMOTIONS.index(emotion))].mean(dim=0)
    axis.imshow(mean_face - neutral, cmap="RdBu_r", vmin=-25, vmax=25)
    axis.set_title(emotion, fontsize=9)
    axis.set_axis_off()
plt.show()

# %% [markdown]
# In these means fear and happiness stand out at the mouth, anger at the brows, and sadness hardly at all. A
# mean picture is a poor witness, though. It shows where brightness changes in the same place on everybody, and
# not what a network can use. On the [data card](synthfer), a network that sees only the upper half of a face
# still reads fear well, and it is happiness that it loses; one that sees only the lower half loses anger.
# So every part tells something, and no part tells all. A method for covered faces must therefore do two
# things: notice *that* a part is missing, and lean on the parts that are left. The paper's three ideas are three ways to get there.
# Contrastive pre-training on covered views (chapter 4) teaches the network that a face stays the same
# face when a part of it disappears; five regions (chapter 5) give it parts that may be whole while others
# are not; and the loss of chapter 6 keeps the fused decision ahead of each part.
#
# ```{exercise}
# :label: ex-half-muscles
# Repeat the nearest-mean rule on the muscles of the mouth and jaw alone, and on those of the brows, eyes
# and nose alone (tell them apart by the names in `action_names()`). Which classes does each half confuse?
# Compare with the two matrices of the [data card](synthfer), where a network had to find that out from
# pixels.
# ```
#
# ```{solution} ex-half-muscles
# :class: dropdown
# Take `lower = [i for i, name in enumerate(action_names()) if name.startswith(("mouth", "jaw"))]`, with
# `("brow", "eye", "nose")` in the same way as `upper`, and call `nearest_mean` on the columns of each. With
# `given` for what it answers, `torch.bincount(7 * test.labels + given, minlength=49).reshape(7, 7)` counts the
# pairs of true and given names. Mouth and jaw alone confuse mainly anger with disgust. Brows, eyes and nose
# take some angry and disgusted faces for happy ones, and some frightened ones for sad. The networks of the
# data card, which have to find the muscles in pixels, do far worse.
# ```
#
# ```{exercise}
# :label: ex-intensity
# How does the accuracy of the rule on muscles depend on the intensity of the test face? Draw it in bins of
# a tenth. At which intensity would you, looking at the pictures, begin to be sure?
# ```
#
# ```{solution} ex-intensity
# :class: dropdown
# Put each face into a bin with `bins = (10 * test.extras["intensity"]).long()` and take the mean of what
# is right over the faces of each bin. Leave the neutral faces out, for they have no intensity to speak
# of. Movements that are scaled to a third lie nearer to those of a neutral face, and so the rule often
# says "neutral" there.
# ```
#
# ## What to read next
#
# {cite:t}`du2014compound` count which action units people really use, for 21 expressions instead of six;
# {cite:t}`barrett2019expressions` review how far a face can tell a feeling at all. The
# [data card](synthfer) has the measurements on SynthFER. The next chapter collects faces of one's own, and
# chapter 3 puts things over them.

# %% tags=["nbval-ignore-output"]
from occfer.engine.records import peak_memory

display(Markdown(
    f"*This notebook took {time.perf_counter() - begun:.0f} seconds and at most "
    f"{peak_memory() / 2**30:.1f} GiB of memory at the {recipes.TIER} tier.*"
))
