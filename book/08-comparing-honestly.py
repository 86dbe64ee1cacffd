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
# # 8 · Table 2: comparing honestly
#
# A table in which the last row is the highest number is what most papers of this field end with. The
# paper's Table 2 (§3.4) is one of them. This chapter reads it together with our own recorded runs, and then
# asks of each habit that can lift a number without any better method: by how much? You will learn
#
# - to tell apart numbers that were measured side by side from numbers that were copied together;
# - how large a difference has to be before the test faces alone cannot explain it;
# - what it is worth to let the test split choose among networks, or to report the best of several runs;
# - why two rows need several seeds *and* the same faces to be compared;
# - what a leak is, and how to see one in a record.
#
# Nothing is trained here: everything is computed from stored predictions and from numbers that others
# report, which are labelled as theirs. The last cell prints how long this notebook took, and how much
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
from itertools import pairwise
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Markdown, display
from scipy.stats import norm

from occfer import recipes
from occfer.engine.measurements import interval_of_mean
from occfer.engine.records import peak_memory
from occfer.experiments import comparison, duplicates, paper, table1, table2
from occfer.experiments.study import Study
from occfer.plots import BLUE, ORANGE, style

begun = time.perf_counter()
style()
RESULTS, TIER = Path("results"), "laptop"
studies = {data: Study(data, TIER, RESULTS) for data in ("fer2013", "rafdb", "synthfer")}

# %% [markdown]
# ## The table, with a name behind each number
#
# In the column "by whom", *the paper, quoting* means that the paper took the number from another paper:
# another network, other pre-training, other code, perhaps another choice of the epoch. *The paper* means its
# own method, and SimCLR, of which it does not say who ran it: SimCLR's authors report no faces, so we suppose
# that the paper did. Only the column of ours was measured here, and only rows of that column share their data
# and their rules. They do not share everything: the runs were made at different times, each with the state of this
# library of its day, and in one of two number formats. Each record keeps both, and below the tables and beside
# each comparison on FER2013 you find them.
#
# Where a row of ours has several seeds, its mean stands with "±" and the standard deviation over seeds; where it
# has one, its accuracy stands with the 95 % interval of Wilson in brackets, which asks for other faces.

# %%
def made_with(records):
    """In which precision some runs were made, and by how many states of the library."""
    precisions = sorted({record.values["recipe"]["precision"] for record in records})
    states = len({record.values["environment"]["commit"] for record in records})
    return f"in {' and '.join(f'`{each}`' for each in precisions)}, by {states} state{'s' * (states > 1)} of the library"


def without(columns, table, data):
    """A table of Table 2's kind without some columns, counted from 0, that would be empty."""
    kept = [
        [cell for number, cell in enumerate(line.split("|")[1:-1]) if number not in columns]
        for line in table2.as_markdown(table, data, TIER).split("\n")
    ]
    return "\n".join(f"|{'|'.join(cells)}|" for cells in kept)


for data in ("fer2013", "rafdb"):
    table = [row for row in table2.rows(studies[data]) if row.quoted is not None]
    ours = [row.ours for row in table if row.ours is not None and row.ours.records]
    how = "; ".join(f"{line.row} {made_with(line.records)}" for line in ours)
    display(Markdown(f"**Table 2, {data}** (accuracy in per cent)\n\n"
                     f"{without((5,), table, data)}\n\n"
                     f"*Ours were trained: {how or 'none'}.*"))

# %% [markdown]
# Our networks of this tier are small and see small faces, so their numbers stand far below and must not be
# read against the paper's. What they can be read against is each other.
#
# ## How far can chance carry a number?
#
# Suppose a method recognises each face with probability $p$. On $N$ test faces its accuracy then scatters
# around $p$ with the standard error
#
# $$ \sigma = \sqrt{\frac{p\,(1-p)}{N}}. $$
#
# For two methods on *different* faces the variances add up, and their difference has the standard error
# $\sqrt 2\,\sigma$. On the same faces it is usually less, but only those who have the predictions of both can
# know by how much. Nobody publishes them. So for quoted numbers $\sqrt 2\,\sigma$ is all one has.

# %%
FACES = {"rafdb": 3068, "fer2013": 3589}  # of the test splits


def told_apart(data):
    """Quoted methods that lie further from the paper's own number than twice its uncertainty."""
    numbers = {name: found[data] for name, found in paper.TABLE2.items() if found[data]}
    best = numbers.pop("the paper")
    reach = 2 * np.sqrt(2) * table2.standard_error(best, FACES[data])
    return reach, [name for name, number in numbers.items() if best - number > reach], numbers


for data in FACES:
    reach, apart, numbers = told_apart(data)
    display(Markdown(
        f"On {data}, {len(apart)} of {len(numbers)} other methods lie more than {reach:.2f} points below "
        f"the paper's number, and could be told apart from it by the test faces: "
        f"{', '.join(apart) or 'none'}."
    ))

# %% [markdown]
# ## When the test split chooses
#
# A common recipe prints the test accuracy after every epoch and reports the best. No single look is
# wrong, but the *maximum* of many looks is no estimate any more: chance is what it selects. Take networks
# that are all equally good, look at $n$ of them, and report the best. With errors that are independent
# from look to look, this is what it gains. The epochs of one run make many errors in common, so there the
# gain is smaller; runs with different seeds come closer to the curve, but two seeds of one row still err alike.
# If the errors of any two runs have the correlation $\rho$, what they share lifts or lowers all of them at once and
# gains nothing, and $\sqrt{1-\rho}$ of the gain is left. For $p$ we take the paper's own best number on FER2013.

# %% mystnb={"image": {"alt": "Line plot, with a logarithmic axis of looks, of the points that are gained by reporting the best of n equally good networks on a test split: from zero at one look the line rises, on this axis nearly straight, up to two hundred looks."}}
right = paper.TABLE2["the paper"]["fer2013"] / 100
looks = np.array([1, 2, 3, 5, 10, 20, 50, 100, 200])
chance = np.random.default_rng(0)
scores = chance.binomial(FACES["fer2013"], right, size=(2000, looks.max())) / FACES["fer2013"]
gain = [100 * (scores[:, :n].max(axis=1).mean() - right) for n in looks]
figure, axis = plt.subplots(figsize=(6, 3))
axis.plot(looks, gain, color=BLUE, marker="o")
axis.set(xscale="log", xlabel="networks looked at", ylabel="points gained by choosing alone")
axis.set_xticks([1, 10, 100], ["1", "10", "100"])
axis.set_title(f"Best of n equally good networks, p = {right:.2%} (the paper's)")
plt.show()

# %%
steps = [found["fer2013"] for found in paper.TABLE1.values()]
display(Markdown(
    f"The best of 5 equally good networks with independent errors gains {gain[list(looks).index(5)]:.2f} points, the best of 100 "
    f"gains {gain[list(looks).index(100)]:.2f}. The steps of the paper's Table 1 on FER2013 are "
    f"{', '.join(f'{b - a:.2f}' for a, b in pairwise(steps))}."
))
assert gain[0] < 0.05 and sorted(gain) == gain

alike = np.concatenate([
    np.corrcoef([record.predictions.correct for record in line.records])[np.triu_indices(len(line.records), 1)]
    for line in table1.lines(studies["fer2013"])
    if len(line.records) > 1
])
display(Markdown(
    f"Two seeds of one row of ours err alike on FER2013: over {len(alike)} pairs the correlation is {alike.mean():.2f} "
    f"in the mean ({alike.min():.2f} to {alike.max():.2f}), which leaves {np.sqrt(1 - alike.mean()):.0%} of the gain. "
    f"An exercise below draws that curve."
))

# %% [markdown]
# That was a calculation. Our records let us *see* it. Take all networks of Table 1 that are recorded on
# FER2013 at the laptop tier, split the test faces into two random halves, and let the first half choose the best network. Its
# accuracy on that half is what would be reported. Its accuracy on the other half is what it is worth. (Half
# of the faces are a coarser measure than all of them, and choose with $\sqrt 2$ times as much chance.)

# %%
records = [record for line in table1.lines(studies["fer2013"]) for record in line.records]
correct = np.array([record.predictions.correct for record in records])  # [networks, faces]


def chosen_by_half(correct, chance):
    """Accuracy of the network that one half of the faces chose, on that half and on the other."""
    order = chance.permutation(correct.shape[1])
    half, other = np.array_split(order, 2)
    best = correct[:, half].mean(axis=1).argmax()
    return correct[best, half].mean(), correct[best, other].mean()


chance = np.random.default_rng(0)
seen, worth = 100 * np.array([chosen_by_half(correct, chance) for _ in range(500)]).T
display(Markdown(
    f"Of {len(records)} networks that are recorded at the {TIER} tier, the one that half of PrivateTest chooses scores "
    f"{seen.mean():.2f} on the half that chose it and {worth.mean():.2f} on the other (mean of 500 halves): "
    f"{(seen - worth).mean():+.2f} points come from the choosing."
))
assert (seen - worth).mean() > 0

# %% [markdown]
# In this library the validation split chooses the epoch, the test split is scored once, and every seed that was
# finished is in the mean. What the habit of reporting the best run would have added, the next figure shows for every
# row with more than one recorded seed.

# %% mystnb={"image": {"alt": "Dot plot: for each row with several seeds, a circle for SynthFER and a square for FER2013 at the points by which its best seed lies above its mean, from near nothing to several points."}}
added = {
    data: {
        line.row: max(line.accuracies) - np.mean(line.accuracies)
        for line in table1.lines(studies[data]) if len(line.records) > 1
    }
    for data in ("synthfer", "fer2013")
}
order = sorted(added["synthfer"] | added["fer2013"], key=lambda row: [found.get(row, 0) for found in added.values()])
places = {row: place for place, row in enumerate(order)}
figure, axis = plt.subplots(figsize=(6.5, 4))
for (data, found), colour, marker in zip(added.items(), (BLUE, ORANGE), "os", strict=True):
    axis.plot(found.values(), [places[row] for row in found], color=colour, marker=marker, linestyle="", label=data)
axis.set(yticks=range(len(places)), xlabel="points gained by reporting the best seed instead of the mean")
axis.set_yticklabels(places, fontsize=8)
axis.grid(axis="y", linewidth=0.5)
axis.legend()
plt.show()

# %% [markdown]
# ## Two kinds of chance
#
# A difference between two rows has to survive two questions. Would it be there with *other test faces*?
# That is asked face by face, by counting those that only one of the two recognises: McNemar's test. Would
# it be there with *another seed*? That can only be asked of several runs of each row, and the answer is in
# the scatter of the differences. Seeds that were scored on the same faces are no new faces, so their counts
# must not be simply added up. If $v_i$ is the number of seeds with which only the first row recognises
# face $i$, minus that with which only the second does, then
#
# $$ z = \frac{\sum_i v_i}{\sqrt{\sum_i v_i^2}} $$
#
# is McNemar's test over all seeds {cite:p}`durkalski2003clustered`. With one seed, $v_i$ is 1, 0 or −1 and $z^2$ is
# McNemar's own.
#
# Each question holds the other fixed. The scatter over seeds is asked on these faces, and the faces are asked of these
# networks. Each is asked at five per cent, and a difference that passes both has not thereby passed one test at five
# per cent, for in truth both chances add up. With two or three seeds the scatter itself is hardly known: the
# sentences below then say "of so few seeds". And whoever asks many such questions should correct for their number, as
# chapter 7 does.
#
# One more thing is taken for granted wherever faces are counted or drawn: that they are independent. Of FER2013
# we cannot tell how many people it shows. SynthFER's test faces are ten of each of a hundred people, and there one can
# see what that does.

# %%
synthetic = {line.row: comparison.by_seed(line.records) for line in table1.lines(studies["synthfer"])}
questions = [
    ("OCL+Res18", "Res18-scratch"),
    ("OCL+Res18", "SimCLR+Res18"),
    ("OCL+Res18+FGW", "OCL+Res18"),
    ("OCL+Res18+FGW+LGDS", "OCL+Res18+FGW"),
    ("OCL+Res18+FGW+LGDS", "Res18-scratch-long"),
]


def width_by_person(first, second):
    """Width of the interval that draws people, as a multiple of that of the one that draws faces."""
    shared = first.keys() & second.keys()
    votes = np.mean([first[seed].correct.astype(float) - second[seed].correct for seed in shared], axis=0)
    people = [name.split("/")[1] for name in next(iter(first.values())).ids]
    _, person, count = np.unique(people, return_inverse=True, return_counts=True)
    assert set(count) == {10}, "a mean over people should be the mean over faces"
    by_person = np.bincount(person, votes) / count
    return np.divide(*(np.ptp(interval_of_mean(each)) for each in (by_person, votes)))


widths = [width_by_person(synthetic[first], synthetic[second]) for first, second in questions]
display(Markdown(
    f"Drawing the hundred people instead of the faces changes the width of the intervals of {len(widths)} comparisons on "
    f"SynthFER by no more than {max(abs(width - 1) for width in widths):.0%}."
))

# %%
runs = {line.row: line.records for line in table1.lines(studies["fer2013"])}
ours = {row: comparison.by_seed(each) for row, each in runs.items()}
first, second = ours["OCL+Res18+FGW+LGDS"], ours["OCL+Res18"]
shared = sorted(first.keys() & second.keys())
votes = sum(first[s].correct.astype(int) - second[s].correct.astype(int) for s in shared)
z = votes.sum() / np.sqrt((votes**2).sum())

library = comparison.clustered_mcnemar(votes)
half_step = np.gcd.reduce(votes) / np.sqrt((votes**2).sum())
assert np.isclose(library, 2 * norm.sf(abs(z) - half_step))
display(Markdown(
    f"Over {len(shared)} seeds the formula above gives p = {2 * norm.sf(abs(z)):.2g}, and the library {library:.2g} "
    "(the library also takes off half a step, for counts are whole)."
))

# %%
pairs = [
    ("OCL+Res18", "Res18-scratch"),
    ("OCL+Res18+FGW", "OCL+Res18"),
    ("OCL+Res18+FGW+LGDS", "OCL+Res18+FGW"),
    ("OCL+Res18+FGW+LGDS", "OCL+Res18"),
]


def with_what(first, second):
    """How the runs were made that two rows are compared by."""
    shared = ours[first].keys() & ours[second].keys()
    sides = [made_with([record for record in runs[row] if record.values["seed"] in shared]) for row in (first, second)]
    return f"*(Each {sides[0]}.)*" if sides[0] == sides[1] else f"*(The first {sides[0]}; the second {sides[1]}.)*"


sentences = []
for better, worse in pairs:
    found = comparison.compare(ours[better], ours[worse])
    sentences.append(f"- {found.sentence(better, worse)} {with_what(better, worse)}" if found
                     else f"- {better} and {worse} share no recorded seed: not run.")
display(Markdown("\n".join(sentences)))

# %% [markdown]
# ## When a test face was seen before
#
# The strongest way to lift a number is to have seen the answers. FER2013 was collected by image searches, and the same
# photograph came up under many words. `occfer duplicates fer2013` counted the copies, exactly (every pixel the same)
# and perceptually (the hash of chapter 2), and its record keeps the name of every face that has an exact copy, so that
# nobody has to believe the exact counts.

# %%
copies = duplicates.recorded(RESULTS, "fer2013")
if copies is None:
    display(Markdown("The duplicates of FER2013 were not measured: not run."))
else:
    counted, members = copies
    kinds = ("exact", "perceptual")
    told = {
        "groups of copies": [counted[kind]["groups"] for kind in kinds],
        "faces to spare": [counted[kind]["spare"] for kind in kinds],
        "groups across splits": [counted[kind]["across"] for kind in kinds],
        "groups with contradicting labels": [counted[kind]["contradictory"] for kind in kinds],
        "test faces with a copy in training": [
            counted[kind]["shared"]["test"]["train"] for kind in kinds
        ],
    }
    head = ["| FER2013 | exact | perceptual |", "|---|---|---|"]
    body = [f"| {what} | {exact:,} | {near:,} |" for what, (exact, near) in told.items()]
    dropped = (
        f"`drop_leaks` takes {counted['leaks_dropped']:,} faces from the training split: those whose "
        "pixels also stand in one of the other two."
    )
    display(Markdown("\n".join(head + body)), Markdown(dropped))

# %% [markdown]
# Where labels contradict each other in the column *exact*, the same pixels were called by two different names. No
# network can be right on both, and so these groups are a lower bound on how noisy the labels are.
#
# In our runs the pool of pre-training holds none of the leaked faces, although it looks at no label: a face that was
# seen a thousand times is not a new face. Fine-tuning does see them. What do they do to a result? The honest experiment
# trains the plain network once more on the faces that `drop_leaks` leaves: the row `Res18-scratch-unleaked`. A quicker
# look needs no training. The record beside each run says of every test face whether it was recognised, so we can ask
# for the accuracy on the leaked test faces and on the others.

# %%
from collections import defaultdict

splits_of = defaultdict(set)
for group, split, *_ in members if copies else []:
    splits_of[group].add(split)
leaked = {
    face for group, split, _, face in members if split == "test" and "train" in splits_of[group]
} if copies else set()


def is_leaked(predictions):
    """Which faces of the test split have an exact copy in the training split."""
    return np.array([face in leaked for face in predictions.ids])


if not leaked:
    display(Markdown("Not run."))
else:
    said = []
    for seed, predictions in ours["Res18-scratch"].items():
        known, right = is_leaked(predictions), predictions.correct
        assert known.sum() == len(leaked)
        gain = known.mean() * (right[known].mean() - right[~known].mean())
        said.append(
            f"- Seed {seed}: of the {known.sum()} leaked test faces the plain network "
            f"recognises {right[known].mean():.1%}, of the others {right[~known].mean():.1%}. If copies "
            f"were otherwise as hard as other faces, the leaks would have added {100 * gain:.2f} points."
        )
    display(Markdown("\n".join(said)))

# %% [markdown]
# The honest experiment then asks the same of both networks. If leaks help, the network that saw them
# should be ahead on the leaked faces and no better on the others.

# %%
def where_it_matters(first, second):
    """Two rows on all test faces of FER2013, on the leaked ones alone, and on the others."""
    if not leaked or comparison.compare(ours[first], ours[second]) is None:
        yield f"`{first}` against `{second}`: not run."
        return
    for which, wanted in (("all", None), ("the leaked", True), ("the other", False)):
        some = [
            {
                seed: each if wanted is None else each.among(is_leaked(each) == wanted)
                for seed, each in ours[row].items()
            }
            for row in (first, second)
        ]
        found = comparison.compare(*some)
        shares = [np.mean([each[seed].accuracy for seed in found.differences]) for each in some]
        yield (
            f"- On {which} test faces: {shares[0]:.1%} against {shares[1]:.1%}. "
            + found.sentence(first, second)
        )


display(Markdown("\n".join(where_it_matters("Res18-scratch", "Res18-scratch-unleaked"))))
if ours["Res18-scratch-unleaked"]:
    display(Markdown(
        f"{with_what('Res18-scratch', 'Res18-scratch-unleaked')} So the leaks are not all that differs between them."
    ))

# %% [markdown]
# A caution on all these numbers. Faces that have copies are not like the others: what comes up in many searches
# is often a clear, posed picture, which is easier to recognise with or without a copy. And dropping the
# leaks also makes the training set a little smaller.
#
# Nor are all rows affected alike. Whoever trains for longer has seen each copy more often, and may know it
# by heart. So the comparison of {doc}`chapter 7 <07-training>` that decides most, the method against a plain network of
# equal cost, has to be asked once more, on the leaked faces and on the others.

# %%
pair = ("OCL+Res18+FGW+LGDS", "Res18-scratch-long")
display(Markdown("\n".join(where_it_matters(*pair)) + f"\n\n{with_what(*pair)}"))

# %% [markdown]
# What a row owes to copies says nothing for it, so the last line is the fairer one; its interval decides
# whether it says anything. Fine-tuning in the rows of Table 1 uses the training split as it is, as most published
# numbers do. That is a choice, and it is stated. Pictures that were cropped or compressed differently have other
# pixels and are not found by comparing pixels at all.
#
# ## What others report
#
# Here is where the field stands beyond the paper's table, all of it quoted. Read the last column first.

# %%
for data in ("fer2013", "rafdb", "ferplus-occluded"):
    display(Markdown(f"**{data}**\n\n{without((3, 4), table2.field(data), data)}"))

# %% [markdown]
# Four habits lift numbers in these tables, and none of them is a method.
#
# - *Weights learnt from millions of faces.* A network that starts from face recognition has seen far more
#   than the data set in the table's heading.
# - *The test split picks the epoch,* or the best of several runs is the headline. What it is worth to choose
#   among finished runs was measured above; to choose the epoch was not, for our records keep no test accuracy
#   by epoch.
# - *Ten crops.* The mean over ten shifted and mirrored copies of each test face is a small ensemble. It is a
#   fair thing to do and an unfair thing to compare with one look. We have no record of it: not run.
# - *Leaks.* A number far above what people agree on when they label the same faces should first be asked
#   where its training faces came from.
#
# ## A checklist
#
# Before you write that one method is better than another: Were both run by you, with the same data, code
# and budget? Did a split that is not the test split choose the epoch, the recipe and the seed? How many
# seeds, and is every one of them in the mean? Is the difference larger than either kind of chance? Could
# somebody else compute it again from what you publish?
#
# ```{exercise}
# :label: ex-best-of-five
# Write the function that a hurried author would: it takes a row, and returns the best of its recorded
# seeds. Compare `OCL+Res18` with `Res18-scratch` once by that function and once by
# `comparison.compare`, on SynthFER. Do the two agree?
# ```
#
# ```{solution} ex-best-of-five
# :class: dropdown
# `max(line.accuracies)` for the `line` of either row among `table1.lines(studies["synthfer"])`. What both find stands below. The best of a
# row that scatters more is lifted more, so the hurried function favours unstable methods.
# ```

# %%
line = {line.row: comparison.by_seed(line.records) for line in table1.lines(studies["synthfer"])}
ends = [max(100 * each.accuracy for each in line[row].values()) for row in ("OCL+Res18", "Res18-scratch")]
found = comparison.compare(line["OCL+Res18"], line["Res18-scratch"])
over = "no spread" if found.interval is None else "{:+.1f} to {:+.1f}".format(*found.interval)
display(Markdown(
    f"To the first exercise: the best seeds are {ends[0] - ends[1]:+.1f} points apart, and `compare` finds "
    f"{found.mean:+.2f} points with an interval over seeds of {over} ({len(found.differences)} seeds)."
))

# %% [markdown]
# ```{exercise}
# :label: ex-independent
# The curve of the best of $n$ assumes independent errors. Estimate from the records how alike the errors of
# two seeds of one row are: correlate their `predictions.correct`. Then draw the curve again with errors that
# are so alike.
# ```
#
# ```{solution} ex-independent
# :class: dropdown
# `np.corrcoef([each.correct for each in ours["Res18-scratch"].values()])` holds the correlations of all pairs. For
# errors that are alike, draw one number from a normal distribution for each face, `common`, and one for each face
# and run, `own`. A run is right on a face where `a * common + (1 - a**2) ** 0.5 * own` lies below
# `norm.ppf(accuracy)`; raise `a` until the correlation is the one you measured. What the runs share lifts or lowers
# all of them at once, so their accuracies scatter less about each other, and the best of $n$ gains less than the
# curve for independent errors says.
# ```
#
# ```{exercise}
# :label: ex-quote
# Choose one row of Table 2 and find its number in its own paper. Which network, which pre-training, which
# split chose the epoch? How many runs?
# ```
#
# ```{solution} ex-quote
# :class: dropdown
# The last columns of the tables above show what an answer looks like. Where a paper does not say which split chose the
# epoch, write "not said" and look into its code, if there is any: the line that keeps the best model tells. A single
# number without a spread was nearly always one run, or the best of several.
# ```
#
# ## What to read next
#
# {cite:t}`dietterich1998tests` compares tests for two classifiers on one data set, and {cite:t}`durkalski2003clustered` gives
# the one for votes that belong together. The paper followed here is Xi's {cite:p}`xi2022occluded`.

# %% tags=["nbval-ignore-output"]
display(Markdown(
    f"*This notebook took {time.perf_counter() - begun:.0f} seconds and at most "
    f"{peak_memory() / 2**30:.1f} GiB of memory at the {recipes.TIER} tier.*"
))
