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
# # 6 · The whole and its parts: local–global supervision
#
# FGW looks at five regions of a face and classifies what it has seen of all five together. It would
# be odd if one region alone knew the answer better than the whole. Yet nothing so far forbids it:
# the classification loss only asks that the whole be right. The third idea of Xi's paper,
# *local–global deep supervision* (LGDS, §2.4), forbids it with a second loss that is positive
# whenever a region is surer of the truth than the whole.
#
# That sounds simple, and it is the part of the paper that leaves most to the reader. The same
# classifier is said to score vectors of different lengths; and one obvious way out of this makes the
# loss worthless, without anybody noticing. When you have worked through this chapter you will be able to
#
# - write the restraint from its equation and compute its gradients by hand;
# - build one classifier that scores both the whole and each part, and prove what ties them together;
# - say when the restraint can be met at all;
# - recognise the trap, and see it spring in a training run.
#
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

from occfer import FGW, LocalGlobalLoss, load_faces, recipes, restrain_loss
from occfer.engine.batches import epoch_batches
from occfer.lgds import SlicedHead, true_class_probability
from occfer.plots import BLUE, GREEN, GREY, RED, stamp, style
from occfer.randomness import seeded_modules
from occfer.regions import REGIONS

begun = time.perf_counter()
style()

# %% [markdown]
# ## The restraint
#
# Let $P(r)$ be the probability that the classifier gives to the *true* class when it sees the vector
# $r$: a linear layer, a softmax, and of the result the entry that belongs to the label. This is
# equation (7). It can be computed for the whole, $P(r_g)$, and for each region, $P(r_m^k)$. The
# restraint, equation (8), adds up by how much the regions exceed the whole (the paper prints its sum without
# an index; over the regions is meant):
#
# $$
# L_\mathrm{restrain} = \sum_{k=1}^{K} \max\bigl(0,\; P(r_m^k) - P(r_g)\bigr)
# $$
#
# A term of this form is called a *hinge*: it is flat on one side and rises on the other. A region below the
# whole is left alone, and one above it is charged for the difference. The numbers in the next figure are
# made up, to show how the charge is found.

# %% mystnb={"image": {"alt": "Five bars for the regions' probability of the true class and a dashed line for the whole at 0.6. Two bars rise above the line; the parts above it are coloured and labelled 0.15 and 0.25, and their sum is 0.40."}}
example = torch.tensor([0.35, 0.75, 0.50, 0.85, 0.45])
whole = 0.6
figure, axis = plt.subplots(figsize=(7, 2.7))
axis.bar(REGIONS, example.clamp(max=whole), color=BLUE, width=0.6)
above = (example - whole).clamp(min=0)
axis.bar(REGIONS, above, bottom=whole, color=RED, width=0.6, hatch="//")
axis.axhline(whole, color="black", linestyle="--", linewidth=1.5)
axis.text(4.55, whole, "$P(r_g)$", va="center", fontsize=11)
for number, charge in enumerate(above.tolist()):
    if charge:
        axis.text(number, whole + charge + 0.02, f"+{charge:.2f}", ha="center")
axis.set(xlim=(-0.5, 4.5), ylim=(0, 1), ylabel="$P(r_m^k)$")
axis.set_title(f"an example: the restraint charges {above.sum():.2f}")
plt.show()

# %% [markdown]
# In code, first as a loop over faces and regions that nobody can misread, and then beside the library's,
# which does all of it at once. The sum runs over regions; over the faces of a batch we take the mean, since
# the paper does not say.

# %%
def restrain_loop(logits, region_logits, targets):
    """logits [B, 7], region_logits [B, K, 7], targets [B] → one number."""
    total = 0.0
    for face, label in enumerate(targets.tolist()):
        p_whole = torch.softmax(logits[face], dim=0)[label]
        for scores in region_logits[face]:
            p_region = torch.softmax(scores, dim=0)[label]
            total = total + max(torch.tensor(0.0), p_region - p_whole)
    return total / len(targets)


generator = torch.Generator().manual_seed(0)
targets = torch.randint(7, (32,), generator=generator)
logits = torch.randn(32, 7, generator=generator)
region_logits = torch.randn(32, 5, 7, generator=generator)
ours = restrain_loop(logits, region_logits, targets)
theirs = restrain_loss(logits, region_logits, targets)
print(f"loop {ours:.6f}, library {theirs:.6f}")
assert abs(ours - theirs) < 1e-6

# %% [markdown]
# The whole loss, equations (9) and (10), is the cross-entropy of $r_g$ plus $\lambda$ times the restraint, with
# $\lambda = 0.5$:
#
# $$
# L = L_\mathrm{cls} + \lambda\, L_\mathrm{restrain}
# $$
#
# The paper prints (9) with a denominator that sums over $n$, the index of the face; it must sum over the
# classes, as every softmax does.

# %%
from types import SimpleNamespace

output = SimpleNamespace(logits=logits, region_logits=region_logits)
whole_loss = F.cross_entropy(logits, targets) + 0.5 * ours
assert abs(LocalGlobalLoss(weight=0.5)(output, targets) - whole_loss) < 1e-6
print(f"L = {whole_loss:.6f}, and the library agrees")

# %% [markdown]
# ## One classifier for two widths
#
# Now read (7) again: "whether $r$ is the global representation or the weighted feature of a region, it goes
# through a fully connected layer $FC(\cdot)$ and softmax". One layer. But $r_g$ is the concatenation of five
# vectors and has $5D$ numbers, and a region's vector has $D$. No matrix can be multiplied with both. What can
# be meant? There are three ways out.
#
# - *Two layers.* One for the whole and another one for the regions. It is the first thing that comes to
#   mind, and it is the trap; we come to it.
# - *Fuse by the mean.* Then $r_g$ has $D$ numbers as well. But the paper says concatenate.
# - *Slice.* A layer on a concatenation is a sum of layers on its parts. Each region already has its own
#   part of the weights; use that to score it.
#
# The third keeps the paper's words and is the library's default. Write $z$ for logits from here on
# (chapter 4's $z$ were projections), the weights as
# $W = [W_1 \,|\, \dots \,|\, W_K]$, and $\bar r_k$ for the $D$ numbers that are left of $r_m^k$ when it is averaged over
# its places, as at the end of chapter 5 (the paper does not say what its $m$ stands for). The whole is scored by
#
# $$
# z_g = W r_g + b = W_1 \bar r_1 + \dots + W_K \bar r_K + b ,
# $$
#
# and region $k$ by its own slice,
#
# $$
# z_k = K\, W_k \bar r_k + b .
# $$
#
# Why the factor $K$? $W_k \bar r_k$ is one of $K$ contributions to a sum; alone it would be a fifth of the evidence
# against the full bias. With the factor, $z_k$ answers a clear question: *what would the classifier say if all
# regions had voted like region $k$?* And the scores are tied together by an identity that holds for all weights
# and all faces: the mean of the $z_k$ is $z_g$.

# %%
class OurSlicedHead(nn.Module):
    """Features [B, K, D] → logits of the whole [B, Y] and of the regions [B, K, Y]; Y classes."""

    def __init__(self, channels, regions=5, classes=7):
        super().__init__()
        self.fc = nn.Linear(regions * channels, classes)  # the one FC(·)

    def forward(self, features):
        regions, channels = features.shape[1:]
        whole = self.fc(features.flatten(1))  # [B, Y]
        slices = self.fc.weight.split(channels, dim=1)  # K times [Y, D]
        votes = [features[:, k] @ slices[k].T for k in range(regions)]  # K times [B, Y]
        return whole, regions * torch.stack(votes, dim=1) + self.fc.bias


torch.manual_seed(0)
ours, theirs = OurSlicedHead(128), SlicedHead(128)
ours.load_state_dict(theirs.state_dict())
features = torch.randn(16, 5, 128, generator=generator)
z_g, z_k = ours(features)
assert torch.allclose(z_g, theirs(features)[0], atol=1e-5)
assert torch.allclose(z_k, theirs(features)[1], atol=1e-5)
assert torch.allclose(z_k.mean(dim=1), z_g, atol=1e-5)
print(f"whole {tuple(z_g.shape)}, regions {tuple(z_k.shape)}, as in the library;")
print("the mean over the regions is the whole")

# %% [markdown]
# ## When can the restraint be met?
#
# The identity has a consequence that deserves a moment's thought. The whole is the *mean* of its parts. How could
# a mean be larger than everything it is a mean of? If probabilities were averaged, it could not: some region would
# lie above the whole unless all were equal. The restraint could then vanish only if all regions agreed, and that
# would be all it teaches.
#
# But it is logits that are averaged. For **two classes** this changes nothing. The probability of the truth is a
# rising function of one number, the margin $m = z_\mathrm{true} - z_\mathrm{other}$, the whole's margin is the mean of
# the regions' margins, and some region has at least the mean margin. The restraint is zero only if all agree.
#
# For **more classes** there is a second way. In terms of the margins against each rival $c$,
#
# $$
# P = \frac{1}{1 + \sum_{c} e^{-m_c}} ,
# $$
#
# and the whole's margin against *each* rival is the mean over the regions. For each rival some region does at least as
# well as the whole, but it need not be the same region for all of them. If one region takes fear for surprise, another
# takes it for anger, and a third for sadness, then each is unsure, each because of a different rival; their doubts
# average away and the whole is surer than any of them. Here are five such regions.

# %%
truth = 0
z = torch.zeros(5, 7)
z[:, truth] = 4.0
for region in range(5):
    z[region, region + 1] = 4.0  # a rival as likely as the truth, in each another one
p_regions = z.softmax(dim=1)[:, truth]
p_whole = z.mean(dim=0).softmax(dim=0)[truth]
print("regions:", *(f"{p:.3f}" for p in p_regions), f"  whole: {p_whole:.3f}")
assert (p_regions < p_whole).all()

# %% [markdown]
# A lower bound comes for free. The logarithm of the softmax is a concave function of the logits, so the whole is never
# below the geometric mean of its regions, $\log P(r_g) \ge \frac1K \sum_k \log P(r_m^k)$. Forecasters know such a whole as
# a *logarithmic opinion pool* {cite:p}`genest1986combining`, and machine learners as a product of experts
# {cite:p}`hinton2002products`.
#
# So the restraint can be met in two ways: by regions that *agree*, or by regions that *err in different directions*. How
# often does the second happen by itself? Let the logits of the regions be random. Raising the true logit of all regions
# by the same amount divides the doubts $\sum_c e^{-m_c}$ of the regions and of the whole by the same factor and decides nothing, so
# only the noise counts. We draw it in two ways: in all logits; and in the rivals' only, which are regions equally sure of
# the truth that differ in what they would take it for.

# %% mystnb={"image": {"alt": "Share of faces on which the whole beats all five regions, against the size of the noise. It is zero for two classes; for seven classes it levels off near an eighth if all logits are noisy, and near one half if only the rivals are."}}
def whole_beats_all(classes, noise, rivals_only=False, faces=20_000):
    generator = torch.Generator().manual_seed(0)
    z = noise * torch.randn(faces, 5, classes, generator=generator, dtype=torch.float64)
    if rivals_only:
        z[:, :, 0] = 0.0  # class 0 is the truth
    margin = z[:, :, :1] - z[:, :, 1:]  # [faces, regions, rivals]
    doubt = torch.logsumexp(-margin, dim=2)  # log of Σ exp(−m), small where P is large
    doubt_of_whole = torch.logsumexp(-margin.mean(dim=1), dim=1)
    return (doubt_of_whole < doubt.min(dim=1).values).double().mean().item()


noises = (0.25, 0.5, 1, 2, 4, 8, 16)
cases = {
    "7 classes, rivals differ": ((7,), dict(rivals_only=True), GREEN, "--"),
    "7 classes, all logits differ": ((7,), {}, BLUE, "-"),
    "2 classes": ((2,), {}, GREY, ":"),
}
figure, axis = plt.subplots(figsize=(7, 2.8))
highest = {}
for name, (classes, options, colour, line) in cases.items():
    shares = [whole_beats_all(*classes, noise, **options) for noise in noises]
    highest[name] = 100 * max(shares)
    axis.plot(noises, shares, line, color=colour, marker="o", label=name)
axis.set(xlabel="noise in the logits", ylabel="whole beats all", xscale="log")
axis.set_xticks(noises, [f"{noise:g}" for noise in noises])
axis.minorticks_off()
axis.legend()
plt.show()
assert highest["2 classes"] == 0
rivals, everything, _ = highest.values()
display(Markdown(
    f"With two classes the whole never beats all its regions. With seven it does so on at "
    f"most {everything:.0f} % of these faces if all logits are noisy, and on at most "
    f"{rivals:.0f} % if only the rivals are."
))

# %% [markdown]
# Said plainly: with the sliced head the whole can be ahead of all its parts only by as much as the parts err *differently*.
# Where the regions are unsure for the same reason, or where one has seen what the others have not, some region is ahead, and
# the restraint is a tax on that lead. Training can lower it by making the regions agree, or by making them fail in different
# ways. Making all of them better lowers it as well, since near certainty there is little left to differ by, but does not change
# who is ahead. So the paper's demand, that the whole beat every part, really asks the regions to doubt in different directions; and
# the more their certainty differs, the more different their doubts have to be.
#
# ## Who is pushed, and where
#
# Gradients say the same. Let $A$ be the set of regions above the whole, $n$ their number. By the logit of the true class,
# $\partial P / \partial z = P\,(1-P)$; and through the mean, every region's logit moves the whole's by a $K$-th. So
#
# $$
# \frac{\partial L_\mathrm{restrain}}{\partial z_{k,\mathrm{true}}}
#   = \underbrace{[k \in A]\; P_k (1 - P_k)}_{\text{hold the leaders back}}
#   \;-\; \underbrace{\frac{n}{K}\, P_g (1 - P_g)}_{\text{lift everybody}} ,
# $$
#
# whereas the cross-entropy lifts all regions alike: its derivative is $-(1-P_g)/K$ for each. We check this with automatic differentiation for one face
# whose second region is far ahead.

# %% mystnb={"image": {"alt": "For each of five regions, the step that gradient descent takes on its true logit: cross-entropy lifts all alike, the restraint lowers the leading region and lifts the others a little, and with detached regions it lifts all."}}
z = torch.zeros(1, 5, 7, dtype=torch.float64)
z[0, :, truth] = torch.tensor([0.5, 4.0, 0.8, 0.2, 0.6])
z.requires_grad_()
target = torch.tensor([truth])
probability = z.detach().softmax(dim=2)[0, :, truth]
p_g = z.detach().mean(dim=1).softmax(dim=1)[0, truth]
leads = (probability > p_g).double()
by_hand = leads * probability * (1 - probability)
by_hand = by_hand - leads.sum() / 5 * p_g * (1 - p_g)

z_g = z.mean(dim=1)
losses = {
    "cross-entropy (9)": F.cross_entropy(z_g, target),
    "restraint (8)": restrain_loss(z_g, z, target),
    "(8), regions detached": restrain_loss(z_g, z, target, detach_regions=True),
}
steps = {
    name: -torch.autograd.grad(loss, z, retain_graph=True)[0][0, :, truth]
    for name, loss in losses.items()
}
assert torch.allclose(steps["restraint (8)"], -by_hand)

figure, axis = plt.subplots(figsize=(8, 2.9))
places = torch.arange(5)
looks = ((GREY, "", -0.26), (BLUE, "//", 0), (GREEN, "..", 0.26))
for (name, step), (colour, hatch, shift) in zip(steps.items(), looks, strict=True):
    axis.bar(places + shift, step, width=0.24, color=colour, hatch=hatch, label=name)
axis.axhline(0, color="black", linewidth=0.8)
pairs = zip(REGIONS, probability, strict=True)
axis.set_xticks(places, [f"{name}\n$P$ = {p:.2f}" for name, p in pairs])
axis.set_ylabel("step on its true logit")
axis.set_title(f"one region leads; the whole has $P$ = {p_g:.2f}")
axis.set_ylim(top=0.17)
axis.legend(ncols=3, loc="upper center")
plt.show()

# %% [markdown]
# The restraint takes from the leader and gives to the rest. Whether it is a good idea to hold the leader back is open
# to doubt, for it is the region that has understood the face. With `detach_regions=True` the loss may only lift the whole and
# not lower a region. The paper does not mention such a stop, so by default the gradient flows.
#
# ## The trap
#
# Back to the first way out: a second layer for the regions, trained by nothing but (8). To see what must happen, ask what this
# layer gains by being right. Nothing: no term of the loss rewards a region for knowing the truth. And by being wrong? Every region
# that falls below the whole stops paying. The cheapest way to let the whole win is to have parts that know nothing. The layer will
# learn to be bad, the restraint will fall to zero, and the curve will look like success. The sliced head cannot do this, since its
# region scores *are* the classifier: with $z_g = \frac1K \sum_k z_k$, ruining the parts ruins the whole.
#
# We train the same network three times from the same weights, on the same faces in the same order: with each head, and with the
# sliced head once more without the restraint, $\lambda = 0$, which shows what cross-entropy alone would do.

# %%
train, validation = load_faces("synthfer", "train"), load_faces("synthfer", "val")
network = recipes.finetuning().network
epochs, batch_size = {"smoke": (7, 16), "laptop": (20, 32), "paper": (40, 32)}[recipes.TIER]
if recipes.TIER == "smoke":
    network = replace(network, width=8, size=32)
    train, validation = (
        faces[torch.randperm(len(faces), generator=torch.Generator().manual_seed(0))[:320]]
        for faces in (train, validation)
    )
device = "cuda" if torch.cuda.is_available() else "cpu"


def measure(output, targets):
    """What (8) does with one batch, and what the region classifier is worth."""
    whole = true_class_probability(output.logits, targets)[:, None]  # [B, 1]
    regions = true_class_probability(output.region_logits, targets)  # [B, 5]
    right = output.region_logits.argmax(dim=2) == targets[:, None]
    return torch.stack([
        (regions > whole).float().mean(),  # share of active hinges
        right.float().mean(),  # accuracy of single regions
        (output.logits.argmax(dim=1) == targets).float().mean(),  # and of the whole
        (regions <= whole).all(dim=1).float().mean(),  # share of faces with no hinge active
    ])


def train_with(head, weight=0.5, seed=0):
    """Train from scratch; the network, and [epochs, 4] of what ``measure`` saw."""
    with seeded_modules(seed):
        model = FGW(network.backbone, width=network.width, stem=network.stem,
                    size=network.size, head=head).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loss_of = LocalGlobalLoss(weight, region_ce=head == "separate+ce")
    history = []
    for epoch in range(epochs):
        seen = torch.zeros(4)
        for _, index in epoch_batches(len(train), batch_size, seed, epoch):
            images = (train.images[index] / 255).to(device)
            targets = train.labels[index].to(device)
            output = model(images)
            loss = loss_of(output, targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                seen += measure(output, targets).cpu() * len(index) / len(train)
        history.append(seen)
    return model.eval(), torch.stack(history)


# %% tags=["nbval-ignore-output"] mystnb={"image": {"alt": "Three panels over the epochs for the sliced head, the separate head, and the sliced head without the restraint: with the separate head the share of active hinges falls to zero and the accuracy of single regions stays near chance, while with the sliced head it falls to a sixth and single regions come to name most faces rightly; without the restraint nearly a third of the hinges stay active; the whole ends equally well with all three."}}
runs = {head: train_with(head) for head in ("sliced", "separate")}
runs["sliced, $\\lambda = 0$"] = train_with("sliced", weight=0.0)
figure, axes = plt.subplots(1, 3, figsize=(8, 2.9))
panels = ("active hinges", "accuracy of single regions", "accuracy of the whole")
looks = {"sliced": dict(color=BLUE, linestyle="-", marker="o", markersize=4),
         "separate": dict(color=RED, linestyle="--", marker="s", markersize=4),
         "sliced, $\\lambda = 0$": dict(color=GREY, linestyle="-.", marker="^", markersize=4)}
for number, (axis, title) in enumerate(zip(axes, panels, strict=True)):
    for head, (_, history) in runs.items():
        steps = range(1, epochs + 1)
        axis.plot(steps, history[:, number], label=head, **looks[head])
    if number:
        axis.axhline(1 / 7, color=GREY, linestyle=":", linewidth=1.5)
    axis.set(title=title, xlabel="epoch", ylim=(0, 1.05))
axes[0].legend()
stamp(figure, f"SynthFER, {len(train)} training faces; dotted: chance")
plt.show()

# %% tags=["nbval-ignore-output"]
sliced, separate, unrestrained = (history[-1] for _, history in runs.values())
display(Markdown(
    f"In the last epoch the hinge is active for {100 * sliced[0]:.0f} % of the regions "
    f"with the sliced head and for {100 * separate[0]:.0f} % with the separate one. A "
    f"single region names the right class for {100 * sliced[1]:.0f} % of the training "
    f"faces with the sliced head and for {100 * separate[1]:.0f} % with the separate one; "
    f"guessing would reach {100 / 7:.0f} %. No region of a face is ahead of the whole on "
    f"{100 * sliced[3]:.0f} % of the faces with the sliced head, against "
    f"{100 * runs['sliced'][1][0, 3]:.0f} % in the first epoch. Without the restraint the hinge would be "
    f"active for {100 * unrestrained[0]:.0f} %, and the whole ahead on {100 * unrestrained[3]:.0f} %. "
    f"({recipes.TIER} tier, one run of each.)"
))

# %%
assert separate[0] < sliced[0], "the separate head's hinge should die away"
assert separate[1] < sliced[1], "because its regions know less"

# %% [markdown]
# The middle panel is the one to remember. A paper, or a colleague, may show you that the restraint falls during training and
# conclude that the whole has learnt to beat its parts. Ask to see the accuracy of the parts. With the sliced head the hinge grows
# quieter, too, while its regions know more and more. The third line tells how much of that is the restraint's doing: compare, in the
# sentence above, on how many faces the whole is ahead of all its parts with the restraint and without it. That the regions come
# to doubt in different directions is the likely reason; nothing here measures it. `head="separate+ce"` gives the
# second layer a cross-entropy of its own and with it a reason to be right; it is the honest version of that way out, close to
# what deep supervision {cite:p}`lee2015deeply` originally did, and an exercise below tries it.
#
# ## How heavy should the restraint be?
#
# The paper sets $\lambda = 0.5$ and shows no other value. To see what $\lambda$ does we need not train whole networks: we freeze the
# features that the sliced network has learnt (with $\lambda = 0.5$) and train only the head on top of them, for several $\lambda$. That
# takes seconds at any tier.

# %% tags=["nbval-ignore-output"] mystnb={"image": {"alt": "Against lambda from 0 to 8: the restraint on the training faces, which falls; the share of faces on which the whole is ahead of all its regions, which rises; and the accuracy on validation faces of a head trained on frozen features, which changes by less than its error bars."}}
@torch.inference_mode()
def frozen_features(model, faces):
    batches = (part.to(device) / 255 for part in faces.images.split(128))
    return torch.cat([model(batch).features.cpu() for batch in batches])  # [N, 5, D]


model = runs["sliced"][0]
seen, unseen = frozen_features(model, train), frozen_features(model, validation)
mean, std = seen.mean(dim=0), seen.std(dim=0) + 1e-6
seen, unseen = ((x - mean) / std for x in (seen, unseen))


def train_head(weight, steps=100):
    with seeded_modules(0):
        head = SlicedHead(seen.shape[2])
    optimizer = torch.optim.Adam(head.parameters(), lr=3e-3, weight_decay=1e-3)
    for _ in range(steps):
        logits, region_logits = head(seen)
        output = SimpleNamespace(logits=logits, region_logits=region_logits)
        loss = LocalGlobalLoss(weight)(output, train.labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        logits, region_logits = head(seen)
        charged = restrain_loss(logits, region_logits, train.labels).item()
        whole = true_class_probability(logits, train.labels)[:, None]  # [N, 1]
        regions = true_class_probability(region_logits, train.labels)  # [N, 5]
        right = (head(unseen)[0].argmax(dim=1) == validation.labels).float().mean()
    ahead = (regions <= whole).all(dim=1).float().mean().item()
    apart = regions.std(dim=1).mean().item()
    rivals = region_logits.scatter(2, train.labels[:, None, None].expand(-1, 5, 1), -torch.inf).argmax(dim=2)
    pair = torch.triu_indices(5, 5, 1)
    alike = (rivals[:, pair[0]] == rivals[:, pair[1]]).float().mean().item()
    return charged, ahead, right.item(), apart, alike


weights = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
results = torch.tensor([train_head(weight) for weight in weights])
figure, axes = plt.subplots(1, 3, figsize=(8, 2.7))
titles = ("restraint, training faces", "whole ahead of all regions", "accuracy, validation")
for axis, title, values in zip(axes, titles, results.T[:3], strict=True):
    axis.plot(range(len(weights)), values, color=BLUE, marker="o")
    axis.axvline(weights.index(0.5), color=GREY, linestyle=":", linewidth=1.5)
    axis.set_xticks(range(len(weights)), [f"{weight:g}" for weight in weights])
    axis.set(title=title, xlabel="λ", ylim=(0, 1.15 * values.max()))
error = (results[:, 2] * (1 - results[:, 2]) / len(validation)).sqrt()
axes[2].errorbar(range(len(weights)), results[:, 2], error, color=BLUE, capsize=3)
axes[2].set_ylim(0, 1.15 * (results[:, 2] + error).max())
stamp(figure, f"SynthFER, features of {len(train)} faces; dotted: the paper's λ")
plt.show()

# %% tags=["nbval-ignore-output"]
charged, ahead, _, apart, alike = results.T
print(f"standard deviation of a face's five P(r_m^k): {apart[0]:.2f} with λ = 0, {apart[-1]:.2f} with λ = 8")
print(f"pairs of regions that share their strongest rival: {alike[0]:.0%} with λ = 0, {alike[-1]:.0%} with λ = 8")
assert charged[-1] < charged[0], "a heavier restraint should leave less to charge"
assert ahead[-1] > ahead[0], "by holding the leaders back"
assert apart[-1] > apart[0] / 2 and abs(alike[-1] - alike[0]) < 0.1, "and the regions stay what they were"

# %% [markdown]
# A heavier restraint lowers the charge, and it does so by holding the leaders back, as the gradients foretold: on more and more faces
# the whole is ahead of all its regions. It takes little for that. These features know their faces by heart, so the leaders lead by
# hairs, as the scale of the first panel says, and a small push takes their lead away. The regions stay what they were: neither do
# they come to agree, nor do they come to doubt in other ways, as the two numbers under the figure say, and most pairs of them fear
# different rivals already when $\lambda = 0$.
#
# Whether it helps to recognise expressions is another matter. The bars in the last panel are one standard error to either side, as if
# each $\lambda$ had been asked about other faces. It was asked about the same ones, so two of them should be compared by the faces on
# which they disagree (McNemar's test, chapter 8). At the smoke tier the network has, moreover, learnt its few faces by heart, as the
# right panel of the figure before shows, and has little to say about other people. In the paper the restraint adds less than one
# percentage point on either data set, and the paper gives one number for each. Chapter 7 repeats that comparison.
#
# ## Exercises

# %% [markdown]
# ````{exercise} The smallest example
# :label: lgds-smallest
#
# Above, five regions and seven classes were needed for a whole that is ahead of all its regions. Find the smallest numbers of regions and
# of classes for which this can happen, and write down the logits of such a face.
# ````
#
# ````{solution} lgds-smallest
# :class: dropdown
#
# One region is the whole, and two classes were ruled out above. Two regions and three classes are enough: with the truth first, let
# $z_1 = (4, 4, 0)$ and $z_2 = (4, 0, 4)$. Each region is torn between the truth and one rival, $P(r_m^k) = 1 / (2 + e^{-4}) < \frac12$. The mean
# is $(4, 2, 2)$, and $P(r_g) = 1 / (1 + 2 e^{-2})$, nearly four fifths. `torch.tensor([[4.0, 4, 0], [4, 0, 4]])` and `softmax` check it.
# ````

# %% [markdown]
# ````{exercise} The geometric mean
# :label: lgds-geometric
#
# The whole is never below the geometric mean of its regions. When is it equal to it, and can it be equal while the regions differ
# in their $P(r_m^k)$?
# ````
#
# ````{solution} lgds-geometric
# :class: dropdown
#
# The bound is Jensen's inequality for $\log P = z_\mathrm{true} - \log \sum_c e^{z_c}$, whose first term is linear. The second, the logarithm
# of a sum of exponentials, is strictly convex in every direction but one: adding a constant to all logits. So the sides are equal
# only where the $z_k$ differ by constants. Then all regions give the same probabilities, and none differs in anything.
# ````

# %% [markdown]
# ````{exercise} A reason to be right
# :label: lgds-ce
#
# Add `"separate+ce"` to `runs` and to `looks`, and draw the three panels again. Does its hinge live? How good are its regions, and is the
# whole better for it?
# ````
#
# ````{solution} lgds-ce
# :class: dropdown
#
# The cross-entropy teaches the regions: at the smoke tier a single one is right far more often in the last epoch than without it,
# where it hardly does better than guessing. The hinge dies all the same, because the whole knows its training faces by heart long before
# the regions do. So a quiet hinge alone does not tell the trap from success; the middle panel does. Whether the whole gains needs more than one seed and the validation faces: `train_with(head, seed=1)`, and so on.
# ````

# %% [markdown]
# ````{exercise} Without the factor
# :label: lgds-factor
#
# Suppose a region were scored by $z_k = W_k \bar r_k + b$, without the factor $K$. What is then the relation between $z_g$ and the $z_k$?
# Is the hinge more or less often active? To find out, write a subclass of `SlicedHead` and put it in the place of `model.head` in
# `train_with`, before the optimizer is made.
# ````
#
# ````{solution} lgds-factor
# :class: dropdown
#
# $z_g = \sum_k z_k - (K-1)\, b$. In the subclass, `forward` calls the parent's and returns the regions' logits as
# `(votes - self.fc.bias) / votes.shape[1] + self.fc.bias`. Each region shows a fifth of the evidence, so its
# probabilities lie near those of the bias alone. Where the whole is wrong they lie above its own, and the hinge is active, which in the
# first epoch is often. Where the whole is right and sure, hardly any region reaches it. So the hinge is active less and less often as the
# whole learns its faces, in the end far less often than with the factor, whatever the regions know.
# ````

# %% [markdown]
# ## What to read next
#
# Supervising parts of a network by losses of their own goes back to deeply supervised nets {cite:p}`lee2015deeply`. The closest relative of
# the restraint is the region-biased loss of region attention networks {cite:p}`wang2020ran`, which asks that the best of the regions' *weights* exceed that
# of the whole face by a margin; it is instructive to compare which of the two is held back there. Self-cure networks {cite:p}`wang2020scn` rank
# faces instead of regions by how much they can be trusted. On pooling opinions by their logits, read Genest and Zidek
# {cite:p}`genest1986combining` and Hinton {cite:p}`hinton2002products`. The paper followed here is Xi's {cite:p}`xi2022occluded`.
#
# All parts are now in place. The next chapter trains them.

# %% tags=["nbval-ignore-output"]
from occfer.engine.records import peak_memory

display(Markdown(
    f"*This notebook took {time.perf_counter() - begun:.0f} seconds and at most "
    f"{peak_memory() / 2**30:.1f} GiB of memory at the {recipes.TIER} tier.*"
))
