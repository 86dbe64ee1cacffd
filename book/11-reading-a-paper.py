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
# # 11 · Reading a paper critically
#
# This book followed one paper from its first formula to its last figure. On the way we met formulas that
# cannot be meant as they are printed, sentences that can be read in two ways, and claims that rest on one
# run. None of this is rare, and little of it was found by reading alone. Most of it showed when the paper was
# turned into code, for code asks for every number and every sign. This chapter collects what we found, and
# the simple tools that found it. You will learn
#
# - to take a paper apart into claims, and to ask of each what it rests on;
# - to test a printed formula before you implement it, by a limit, a sign or a shift that should not matter;
# - to check whether numbers agree with each other, and whether they *can* be what they are said to be;
# - to count the readings that a text leaves open, and to write down which one you took;
# - that a result may be right although a formula is wrong, and the other way round.
#
# To criticise is not to accuse. The paper {cite:p}`xi2022occluded` says more than most about its data, its
# ablation has a row for each idea, and whatever follows could be said of many others, some of ours included.
# The last cell prints how long this notebook took, and how much memory.

# %% tags=["colab", "remove-cell"]
# Where occfer is missing, as on Colab, this installs it, beside the recorded runs that the page reads.
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

if importlib.util.find_spec("occfer") is None:
    if not Path("occfer").exists():
        clone = ["git", "clone", "--quiet", "--depth", "1", "https://github.com/occfer/occfer"]
        subprocess.run(clone, check=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "./occfer"], check=True)
if Path("occfer/book/results").is_dir():
    os.chdir("occfer/book")

# %%
import itertools
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from IPython.display import Markdown, display

from occfer import FGW, EMOTIONS, load_faces, recipes
from occfer.engine.records import peak_memory
from occfer.experiments import comparison, figure3, figure4, paper, table1
from occfer.plots import style
from occfer.randomness import seeded_modules

begun = time.perf_counter()
style()
RESULTS = Path("results")
TIER = "laptop"

# %% [markdown]
# ## A ledger of claims
#
# Read a paper three times {cite:p}`keshav2007read`: once for what it is about, once for what it claims, and
# once with a pencil, as if you had to build it. After the second time, write a ledger: each claim, what it
# rests on, and *what you would have to see to stop believing it*. A claim that nothing could contradict says
# nothing.
#
# Here is the ledger of this paper's evidence, with what our records say in the last columns. They are small
# networks on small faces and decide nothing about the paper's numbers. They do show what a claim looks like
# when it is asked with several seeds.

# %%
CLAIMS = {
    "pre-training with OCL helps (§3.3)": ("OCL+Res18", "Res18-scratch", "Res18"),
    "FGW helps (§3.3)": ("OCL+Res18+FGW", "OCL+Res18", "OCL+Res18"),
    "LGDS helps (§3.3)": ("OCL+Res18+FGW+LGDS", "OCL+Res18+FGW", "OCL+Res18+FGW"),
}
rows = {
    data: {line.row: comparison.by_seed(line.records) for line in table1.lines(RESULTS, data, TIER)}
    for data in ("fer2013", "synthfer")
}


def ours(data, first, second):
    """Points and verdict of two rows, from the records."""
    found = comparison.compare(rows[data].get(first, {}), rows[data].get(second, {}))
    if found is None:
        return "not run"
    seeds = len(found.differences)
    return f"{found.mean:+.2f}, {found.verdict} ({seeds} seed{'s' if seeds > 1 else ''})"


table = ["| claim | the paper's evidence, FER2013 | seeds | ours, FER2013 | ours, SynthFER |", "|---|---|--:|---|---|"]
for claim, (first, second, below) in CLAIMS.items():
    step = paper.TABLE1[first]["fer2013"] - paper.TABLE1[below]["fer2013"]
    table.append(
        f"| {claim} | {step:+.2f} points | 1 | {ours('fer2013', first, second)} "
        f"| {ours('synthfer', first, second)} |"
    )


def falls(data, row):
    """Mean fall from 0 to 30 % covered, in points, of a row of Figure 3."""
    (curve,) = [each for each in figure3.curves(RESULTS, data, TIER) if each.row == row] or [None]
    return "not run" if curve is None else f"{np.mean([points for points, _ in curve.drops]):.1f}"


whole, plain = "OCL+Res18+FGW+LGDS", "Res18-scratch"
told = [f"{falls(data, whole)} against {falls(data, plain)} points" for data in rows]
drops = paper.FIGURE3_DROP
table.append(
    f"| the method loses less under blocks than a plain network (§3.5) | {drops['the paper']:.2f} against "
    f"{drops['Res18']:.2f} | 1 | {' | '.join(told)} |"
)
looks = figure4.values_of(figure4.recorded(RESULTS, "synthfer", TIER)[whole], figure4.MASK, "attention ratio")
table.append(
    f"| attention looks past a mask (§3.6) | some pictures | 1 | not run | "
    f"{np.nanmean(looks):.2f} of what a blind map puts on the mask |"
)
display(Markdown("\n".join(table)))

# %% [markdown]
# Look at what the columns compare. The paper's first step compares OCL with *ImageNet*, ours with nothing at
# all, since those weights fit no network as small as ours: the same words, "pre-training helps", are two
# claims. And the last line is the weakest kind of evidence: a picture that somebody chose. {doc}`Chapter 10
# <10-looking-inside>` measures the same thing on every test face.
#
# ## A formula, before you build it
#
# Three cheap questions find most misprints. *In which direction does it push?* Follow the sign of the
# gradient. *What happens at the limit*, where everything is perfect, or nothing is? *What should not matter*,
# and does it? Chapter 4 asked the first of equation (1), which is printed without its logarithm and would
# push the two views of a face apart.
#
# Let us ask the third of equation (9), the cross-entropy:
#
# $$
# L_{\text{cls}} = - \sum_{n=1}^N y_i \log \frac{\exp(W^T \cdot r_g)}{\sum_n \exp(W^T \cdot r_g)}.
# $$
#
# The sum below the fraction runs over $n$, and $n$ counts *pictures*. A class would then compete with itself
# on other faces, and not with other classes on the same face. Should it matter if a network were surer of
# anger by ten on *every* face? To a classifier, very much: it would call everybody angry.

# %%
def as_meant(logits, targets):
    """Cross-entropy: below the fraction stand the classes of one face."""
    return F.cross_entropy(logits, targets)


def as_printed(logits, targets):
    """(9) to the letter: below the fraction stands one class of all faces."""
    return -logits.log_softmax(dim=0).gather(1, targets[:, None]).mean()


def blocks_of(faces):
    """Grey means of 16 x 16 blocks, [N, 256]; enough for a linear classifier."""
    return F.adaptive_avg_pool2d(faces.images.float().mean(dim=1, keepdim=True) / 255, 16).flatten(1)


train, test = load_faces("synthfer", "train"), load_faces("synthfer", "test")
x, x_test = blocks_of(train), blocks_of(test)
x, x_test = ((each - x.mean(dim=0)) / x.std(dim=0) for each in (x, x_test))

anger = torch.zeros(len(EMOTIONS))
anger[EMOTIONS.index("anger")] = 10
logits = torch.randn(len(test), len(EMOTIONS), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
for name, loss in {"as meant": as_meant, "as printed": as_printed}.items():
    moved = float(loss(logits + anger, test.labels) - loss(logits, test.labels))
    print(f"{name}: everybody called angry costs {moved:+.6f}")
assert abs(as_printed(logits + anger, test.labels) - as_printed(logits, test.labels)) < 1e-9

# %% [markdown]
# As printed, nothing happens. So (9) is a misprint, and every implementation that "worked" has used the usual
# cross-entropy. Has it? Let us train the smallest of all classifiers by either formula.

# %%
def trained(loss, classes_kept=1.0):
    """Test accuracy of a linear classifier; of anger only a share of the training faces is kept."""
    angry = train.labels == EMOTIONS.index("anger")
    kept = ~angry | (torch.arange(len(train)) % 100 < 100 * classes_kept)
    with seeded_modules(0):
        network = torch.nn.Linear(x.shape[1], len(EMOTIONS))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    for _ in range(200):
        optimizer.zero_grad()
        loss(network(x[kept]), train.labels[kept]).backward()
        optimizer.step()
    with torch.inference_mode():
        said = network(x_test).argmax(dim=1)
    return float((said == test.labels).float().mean()), float((said == EMOTIONS.index("anger")).float().mean())


table = ["| anger in training | formula | recognised | called angry |", "|---|---|--:|--:|"]
scores = {}
for share in (1.0, 0.1):
    for name, loss in {"as meant": as_meant, "as printed": as_printed}.items():
        scores[share, name] = right, called = trained(loss, share)
        table.append(f"| {share:.0%} of its faces | {name} | {right:.1%} | {called:.1%} |")
display(Markdown("\n".join(table)))

# %% [markdown]
# With as many faces of each class, the misprinted formula trains nearly as well as the right one. Its classes
# start at the same level, nothing pulls them apart, and to rank faces within a class is a good part of the
# work. What it cannot do is to lift or lower a class *as a whole*. Take nine in ten angry faces away. The
# right formula learns that anger is rare and hardly ever says it. The misprinted one never compares anger
# with anything else, and calls every second face angry. So remember both halves. **A good number does not
# show that the formula is right**, and a wrong formula in a paper does not show that its number is wrong.
#
# ## Do the numbers agree with each other?
#
# The text says by how many "%" pre-training raises accuracy, and how many "%" the method loses under blocks.
# Are those points, or a share of what was there? The paper never says, but its sentences about Tables 1 and 2
# can be checked against the tables:

# %%
t1, best = paper.TABLE1, paper.TABLE2["the paper"]
quoted = {
    "OCL against ImageNet, RAF-DB": (1.23, t1["OCL+Res18"]["rafdb"], t1["Res18"]["rafdb"]),
    "OCL against ImageNet, FER2013": (1.92, t1["OCL+Res18"]["fer2013"], t1["Res18"]["fer2013"]),
    "the method against RAN, RAF-DB": (0.24, best["rafdb"], paper.TABLE2["RAN-ResNet18"]["rafdb"]),
    "the method against PG-CNN, RAF-DB": (3.87, best["rafdb"], paper.TABLE2["PG-CNN"]["rafdb"]),
    "the method against BLOCK-FRENET, FER2013": (7.22, best["fer2013"], paper.TABLE2["BLOCK-FRENET"]["fer2013"]),
}
table = ["| what the text compares | it says | in points | relative, in per cent |", "|---|--:|--:|--:|"]
for what, (said, high, low) in quoted.items():
    table.append(f"| {what} | {said:.2f} | {high - low:.2f} | {100 * (high - low) / low:.2f} |")
    assert abs(said - (high - low)) < 0.005 + 1e-9
display(Markdown("\n".join(table)))

# %% [markdown]
# All five are points. So the loss under blocks is read as points too, which is what {doc}`chapter 9
# <09-accuracy-under-occlusion>` does; relative to where a curve starts it would be another number.
#
# Agreement of another kind fails. The abstract calls the results *comparable* to the state of the art, and
# §3.4 calls them better than the leading methods. §3.3 says that OCL+Res18 gains "without" OCL, where it must
# mean with. The 29,672 pictures of RAF-DB in §3.1 are all of it, and the part that is used has 15,339.
# References 18 to 20 stand in another order than the text calls them by, and the one for SIFT leads to a
# program of that name for *amino acids*. Equation (2) counts regions from 0 to K, which is one more than K.
# Each is harmless. Together they say how often the text was read against its sources, and that is why one
# checks the rest.
#
# ## Can the numbers be what they are said to be?
#
# An accuracy is a count divided by a count. With 3,589 test faces there are 3,590 possible accuracies, 0.028
# points apart, so that two numbers out of three that one could write down with two decimals *cannot occur*.
# Psychologists check reported means in this way and call it the GRIM test {cite:p}`brown2017grim`. It takes
# three lines.

# %%
FACES = {"rafdb": 3068, "fer2013": 3589}  # of the test splits


def can_occur(percent, faces):
    """Whether some whole number of faces, divided by all of them, rounds to this percentage."""
    near = round(percent / 100 * faces)
    return any(abs(100 * count / faces - percent) <= 0.005 + 1e-9 for count in (near - 1, near, near + 1))


# Any accuracy that was counted passes, and of arbitrary numbers about a third do.
assert all(can_occur(round(100 * count / 3589, 2), 3589) for count in range(3590))
passing = {
    data: np.mean([can_occur(each / 100, faces) for each in range(6000, 9000)]) for data, faces in FACES.items()
}
print({data: f"{share:.2f}" for data, share in passing.items()})

# %%
groups = {
    "Table 1, the paper's own": paper.TABLE1,
    "Table 2, SimCLR": {"SimCLR": paper.TABLE2["SimCLR"]},
    "Table 2, quoted from others": {
        name: found for name, found in paper.TABLE2.items() if name not in ("SimCLR", "the paper")
    },
}
table = ["| numbers | can occur | cannot | to be expected of arbitrary ones |", "|---|---|---|--:|"]
for group, found in groups.items():
    numbers = [(each[data], data) for each in found.values() for data in FACES if each[data]]
    passed = {True: [], False: []}
    for number, data in numbers:
        passed[can_occur(number, FACES[data])].append(f"{number:.2f}")
    expected = sum(passing[data] for _, data in numbers)
    table.append(
        f"| {group} | {', '.join(passed[True]) or 'none'} | {', '.join(passed[False]) or 'none'} "
        f"| {expected:.1f} of {len(numbers)} |"
    )
display(Markdown("\n".join(table)))
assert not any(can_occur(row[data], faces) for row in paper.TABLE1.values() for data, faces in FACES.items())

# %% [markdown]
# Most of the numbers that the paper quotes from others pass, as they should. Of its own eight, not one does.
# What does that mean? First, what it does *not* mean: it is no sign that anybody made a number up. It means
# that they are no plain shares of these test faces. Something else was computed, and the paper does not say what.
# Three innocent things are common: a mean over several runs; a test set of another size; and a mean over
# *batches*, in which the last, smaller batch counts as much as a full one. The last is the commonest slip in
# hand-written evaluation loops. Does it make a difference that one would see?

# %%
record = table1.recorded(RESULTS, "fer2013", TIER, "Res18-scratch")[0]
correct = record.predictions.correct


def mean_over_batches(correct, batch):
    """What a loop reports that averages the accuracy of its batches."""
    return 100 * np.mean([part.mean() for part in np.split(correct, range(batch, len(correct), batch))])


table = ["| batch | faces in the last one | the mean over batches | can occur |", "|--:|--:|--:|---|"]
table.append(f"| all | | {100 * correct.mean():.2f} | {can_occur(round(100 * correct.mean(), 2), len(correct))} |")
for batch in (16, 32, 64, 128, 256):
    found = round(float(mean_over_batches(correct, batch)), 2)
    assert len(correct) % batch == 5
    table.append(f"| {batch} | {len(correct) % batch} | {found:.2f} | {can_occur(found, len(correct))} |")
display(Markdown("\n".join(table)))
steps = [b["fer2013"] - a["fer2013"] for a, b in itertools.pairwise(paper.TABLE1.values())]
moved = abs(mean_over_batches(correct, 256) - 100 * correct.mean())
assert sum(moved > step for step in steps) == 2

# %% [markdown]
# It does, and by more than we had expected. Batches of any of these sizes leave five faces of FER2013's test
# split over, and those five then weigh as much as all the faces of a full batch. With batches of 256 the
# number here moves by more than two of the three steps of the paper's Table 1. We cannot know whether this
# happened there. Nor can anyone else, and that is the point: the text does not say how its accuracy was
# computed, and nothing is published from which it could be computed again. That is why every record here
# keeps the prediction for each face: the number follows from it, whatever the loop did.
#
# ## How many methods does the text describe?
#
# Where a text leaves something open, an implementation has to choose. Each choice below is an argument of the
# library, so that the other readings can be tried, and the code that follows builds every one of them.

# %%
READINGS = {  # what the text leaves open: every reading with its argument, ours first, and the chapter that looks at it
    "which views are occluded (§2.2)": ({"both": False, "one": True}, 4),
    "75 % and 85 % of what (§3.2)": ({"of a side": "side", "of the area": "area"}, 5),
    "attention's weights (§2.3)": ({"one set for all regions": "shared", "a set for each": "per_region"}, 5),
    "where attention sits (§2.3)": ({"after the last stage": -1, "after the one before": -2}, 5),
    "attention's details": ({"as in (6)": False, "as its authors published it": True}, 5),
    "how regions are fused (§2.3)": ({"one beside the other": "concat", "their mean": "mean"}, 5),
    "FC(·) for two widths in (7)": (
        {"slices of one": "sliced", "two": "separate", "two, both trained by (9)": "separate+ce"}, 6
    ),
    "does (8) move P(r_k) too": ({"yes": False, "no": True}, 6),
    "rate of 0.00025, or of 0.01 (§3.2)": ({"the first, with Adam": "adam", "the second, with SGD": "sgd"}, 7),
}
table = ["| what is open | ours | other readings | in chapter |", "|---|---|---|--:|"]
for what, ((first, *others), chapter) in READINGS.items():
    table.append(f"| {what} | {first} | {', '.join(others)} | {chapter} |")
display(Markdown("\n".join(table)))
count = int(np.prod([len(options) for options, _ in READINGS.values()]))
display(Markdown(
    f"That makes {count} methods that are all described by the same text, before anyone has chosen a temperature, "
    "a batch size or the size of the occluders in pre-training, none of which the paper gives."
))

# %%
open_in_fgw = ("share", "attention", "attention_after", "official", "fusion", "head")
options = [READINGS[what][0].values() for what in list(READINGS)[1:7]]
small = dict(backbone="resnet18", width=8, stem="small", size=24)
face = test.images[:2].float() / 255
built = 0
for chosen in itertools.product(*options):
    with torch.inference_mode():
        output = FGW(**small, **dict(zip(open_in_fgw, chosen, strict=True))).eval()(face)
    assert output.logits.shape == (2, len(EMOTIONS)) and output.region_logits.shape == (2, 5, len(EMOTIONS))
    built += 1
print(f"{built} networks built from the six choices that shape one, and each says something of two faces")

# %% [markdown]
# Which of these matter? Chapter 6 shows that one does: with a separate classifier for the regions, equation
# (8) has a cheap way out, and dies. Of most of the others we know only that they can be run. A choice that
# was never varied is not thereby unimportant, and *not run* is the honest entry. When you implement a paper,
# keep such a list from the first day. It is the first thing that the next reader will need, and the second
# thing is which entries you tried before you settled. A reading that was chosen because it gave the best test
# accuracy is a test split that selects.
#
# ## What would have helped
#
# Nothing here asks for more pages. A seed and a spread; the predictions, one small file; the code, or at
# least the evaluation loop; one sentence on which split chose the epoch. Conferences that asked their authors
# such questions {cite:p}`pineau2021reproducibility` got more papers with code, and the questions fit on one
# page. The habits that make papers hard to check, explanations that nothing tests and gains whose source
# nobody looks for, have been described by people from within the field {cite:p}`lipton2019troubling`.
#
# Here is the page, to be held against any paper, and first of all against your own:
#
# 1. *Claims.* Which sentences would be false if the method did not work? What does each rest on?
# 2. *Formulas.* Does each push where the text says? What should not change it, and does not?
# 3. *Numbers.* Do text and tables agree? Can each number occur with so many faces?
# 4. *Chance.* How many seeds, how many faces, which split chose?
# 5. *Cost.* Is the better row also the longer one?
# 6. *Gaps.* Which choices does the text leave open, and what were they?
# 7. *Pictures.* Who chose them, and what would a map show that knows nothing?
#
# ```{exercise}
# :label: ex-grim
# Apply `can_occur` to the three falls of Figure 3, which are differences of two accuracies on the same test
# faces. Why is the test valid for a difference too? And why would it say nothing about a set of 100,000
# faces?
# ```
#
# ```{solution} ex-grim
# :class: dropdown
# `{name: can_occur(each, FACES["rafdb"]) for name, each in paper.FIGURE3_DROP.items()}` has the answer for
# each. A difference of two counts is a whole number as well, if both were divided by the same number of
# faces. But a difference of two *rounded* percentages may be off by one hundredth, so allow for that before
# you say that one cannot occur. With 100,000 faces the possible accuracies are closer to each other than two
# decimals can tell apart, and every number passes.
# ```
#
# ```{exercise}
# :label: ex-shift
# Equation (8) sums over the regions. Suppose somebody reads it as a mean. Which λ makes the two losses (10)
# equal? What does this say about papers that compare values of λ?
# ```
#
# ```{solution} ex-shift
# :class: dropdown
# The mean over five regions is a fifth of the sum, so λ has to be five times as large. Values of λ from two
# implementations can be compared only if both say whether they sum or average; a table of λ without that says
# nothing to a reader who has only the text.
# ```
#
# ```{exercise}
# :label: ex-prior
# Take away nine in ten faces of *happiness* rather than of anger, and then of all classes but one. When does
# the misprinted formula (9) cost most? Give the classifier of the misprinted formula back what it lacks: add
# the logarithm of each class's share of the training faces to its logits.
# ```
#
# ```{solution} ex-prior
# :class: dropdown
# It costs most where the test faces have the same uneven mix as the training faces, and SynthFER's have not.
# The shares are `train.labels[kept].bincount(minlength=7) / kept.sum()`; adding their logarithm shifts every
# face alike, which the misprinted loss cannot see. On a test split in which all classes are as frequent,
# knowing the shares even hurts.
# ```
#
# ```{exercise}
# :label: ex-ledger
# Write the ledger of a paper that you like. For each claim, name the one experiment that would change your
# mind, and what it would cost.
# ```
#
# ```{solution} ex-ledger
# :class: dropdown
# There is no solution, but there is a test: give your ledger to somebody who has not read the paper. If they
# can say which claims are well supported, the ledger is good.
# ```
#
# ## What to read next
#
# {cite:t}`keshav2007read` is two pages long and says how to read a paper in three passes.
# {cite:t}`brown2017grim` found how many published means cannot occur. {cite:t}`lipton2019troubling` names the
# habits, and {cite:t}`pineau2021reproducibility` tells what a conference did about them.

# %% tags=["nbval-ignore-output"]
display(Markdown(
    f"*This notebook took {time.perf_counter() - begun:.0f} seconds and at most "
    f"{peak_memory() / 2**30:.1f} GiB of memory at the {recipes.TIER} tier.*"
))
