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
# # 13 · Your own faces
#
# Most chapters took their faces from where faces were already cut out, labelled and split. You have
# photographs. They show whole rooms, the light is what it was, and the people on them wear masks, or hold a
# cup before their mouths. Somebody else has trained a network, and its card says how often it is right. How often
# will it be right on yours?
#
# This chapter goes the whole way, from a folder of photographs to a network that you can hand on. You will
# learn
#
# - to read what comes with a network, and what not to believe of it;
# - to ask it about one photograph, and to see which face, which region and which part of it spoke;
# - to compare a network on the same faces cut out in two ways, and to ask whether luck could explain the difference;
# - to label photographs by folders, and to split them by people;
# - to let a network go on learning: from masks that are drawn, or from a few labels of your own;
# - to let it keep silent where it would guess, and to hand on the result with a card of its own.
#
# You need chapters 2, 3 and 5. Nothing is trained here from the beginning: the network that comes with this book
# learnt on the processor of an ordinary machine, and we only let it go on. The last cell prints how long this
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
import json
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Markdown, display
from PIL import Image
from skimage.data import astronaut

from occfer import EMOTIONS, evaluate, finetune, load_faces, load_model, occlusion, predict, recipes
from occfer.engine.conditions import Conditions
from occfer.engine.evaluate import mcnemar
from occfer.engine.records import Record, make_record
from occfer.plots import GREY, ORANGE, PALETTE, REGION_STYLES, show_face, show_faces, style
from occfer.randomness import generator_for
from occfer.regions import REGIONS
from occfer.saliency import on_pictures

begun = time.perf_counter()
style()
plt.rcParams["figure.dpi"] = 90  # photographs: keep the notebook small
folder = Path(tempfile.mkdtemp())

# %% [markdown]
# ## What comes with a network
#
# A network is handed on as a folder of three files. `model.safetensors` holds weights and nothing that could
# be executed; a file that Python unpickles, as `.pt` files often are, may run whatever its author wrote into
# it. `config.json` says which network the weights belong to, how it was trained, and
# which hash the weights have. `README.md` is the *model card* {cite:p}`mitchell2019modelcards`: from which data it
# learnt, how good it was on which faces, what it is for and what it is not for.

# %%
shipped = Path("models/synthfer")
for file in sorted(shipped.iterdir()):
    print(f"{file.name:20} {file.stat().st_size:9,} bytes")
card = (shipped / "README.md").read_text()
display(Markdown(card[card.index("## Limits"):card.index("## Training")].replace("\n## ", "\n#### ")))

# %% [markdown]
# The card states a number, and the first thing to do with a stated number is to measure it again. The run that
# the card speaks of is one of Figure 3's, and what it said of every test face is stored beside its record.

# %%
model = load_model(shipped)  # checks the hash, and the shapes before it takes memory
test = load_faces("synthfer", "test")
some = test[::5]
record = Record.load("results/figure3/synthfer-laptop-OCL+Res18+FGW+LGDS-seed2.json")
recorded = record.predictions["0"]
chosen = np.isin(recorded.ids, some.ids)
again = evaluate(model, some)
same = (again.labels == recorded.labels[chosen]).mean()
print(f"{len(some)} faces: accuracy {again.accuracy:.3f}, answers as recorded {same:.1%}")
assert same > 0.99  # rounding differs between processors

# %% [markdown]
# ## One photograph
#
# `predict` takes a picture of any size, finds the faces on it, turns and scales each to one template, and asks
# the network. What it gives back says more than a name: the probabilities of all seven expressions, the vote of
# each region, the map of attention, and where on the picture each face lies. The portrait of the
# astronaut Eileen Collins was taken by NASA and is free of copyright. She was not
# asked about this book, so it is one official portrait, and we conclude nothing about her.

# %% mystnb={"image": {"alt": "Left: the portrait of the astronaut, darkened except where the network's attention lies on her face, with a box around the face. Right: bars for the seven expressions as the whole network sees them, with the votes of the five regions as dots."}}
portrait = astronaut()
found = predict(model, portrait)
left, top, right, bottom = found.faces.boxes[0]
attention = on_pictures(model, found, *portrait.shape[:2])[0]
light = (attention / attention.max()).numpy()[..., None]

figure, (look, bars) = plt.subplots(1, 2, figsize=(8.4, 3.4), width_ratios=(1, 1.25))
look.imshow((portrait * (0.3 + 0.7 * light)).astype(np.uint8)[:320, 80:400])
look.add_patch(plt.Rectangle((left - 80, top), right - left, bottom - top, fill=False, color=ORANGE))
look.set_axis_off()
places = np.arange(len(EMOTIONS))
bars.barh(places, found.probabilities[0], color=GREY, label="the whole")
for name, votes in zip(REGIONS, found.region_probabilities[0], strict=True):
    bars.plot(votes, places, "o", color=REGION_STYLES[name][0], markersize=4, label=name)
bars.set(yticks=places, yticklabels=EMOTIONS, xlim=(0, 1), xlabel="probability (bars: the whole; dots: a region each)")
bars.invert_yaxis()
bars.legend(fontsize=7)
plt.show()
print(f"most probable: {found.emotions[0]}, {found.probabilities[0].max():.2f}")

# %% [markdown]
# Everybody sees that she smiles. Whatever the bars say, this is one face, and one face shows that the parts
# fit together and nothing else. The network has never seen a photograph; it learnt from rendered people. Look at the
# dots, too: most regions vote for something else than the whole. LGDS asked for a
# whole that is surer than its parts (chapter 6), and never for parts that are right. And seven bars that add up to
# one are no sign of knowledge: a network gives every face one of the seven names, also a
# face that shows none of them, and even a wall on which MTCNN finds one by mistake.
#
# ## A folder of photographs
#
# Now to your own. We may not show photographs of people who were not asked, so some of SynthFER's *test* people, whom
# the network has never met, play yours. Ten pictures of each were taken somewhere, with tilted
# heads, in all sizes, as JPEG files, and on half of them the person wears a mask. Somebody who was there has
# sorted them into folders named after expressions, and the file names say who is who.

# %%
YOURS = 36 if recipes.TIER == "smoke" else 100
people = test.extras["identity"].unique()[:YOURS]
yours = test[torch.isin(test.extras["identity"], people)]


def dressed(images, landmarks, generator):
    """Faces in [0, 1], a random half of them in masks of three kinds; and which those are."""
    worn = torch.randperm(len(images), generator=generator) % 6
    images = images.clone()
    for number, item in enumerate(("surgical_mask", "n95", "cloth_mask")):
        rows = worn == number
        images[rows], _ = occlusion.wear(images[rows], landmarks[rows], item, generator)
    return images, worn < 3


generator = generator_for(13)
pixels, in_mask = dressed(yours.images / 255, yours.landmarks, generator)

photographs = folder / "photographs"
for number, (face, label, person) in enumerate(
    zip(pixels, yours.labels, yours.extras["identity"], strict=True)
):
    side, tilt = torch.randint(130, 220, (), generator=generator), torch.rand((), generator=generator)
    portrait = Image.fromarray(face.permute(1, 2, 0).mul(255).byte().numpy())
    portrait = portrait.resize((int(side), int(side)), Image.Resampling.BICUBIC).convert("RGBA")
    portrait = portrait.rotate(40 * tilt - 20, Image.Resampling.BICUBIC, expand=True)
    room = Image.new("RGB", (320, 280), (120, 130, 120))
    room.paste(portrait, (30, 20), portrait)
    place = photographs / EMOTIONS[label]
    place.mkdir(parents=True, exist_ok=True)
    worn = "masked" if in_mask[number] else "bare"
    room.save(place / f"person{person:03d}-{number:03d}-{worn}.jpg", quality=88)
for place in sorted(photographs.iterdir()):
    print(place.name, *(file.name for file in sorted(place.iterdir())[:2]), "...")

# %% [markdown]
# One command finds and cuts out the faces and leaves them as pictures in the same folders:
#
# ```bash
# occfer align photographs --out aligned --pictures --choice.no-every
# ```
#
# In Python it is a function of chapter 2, and one that writes files. Look through them before anything else is
# done. A face that was found in a poster, or lies in the wrong folder, can be deleted or moved like any file, and what you
# sorted will not be written over.

# %%
from occfer.data.extract import Choice, extract
from occfer.data.folder import write_pictures

extracted = extract(photographs, folder / "aligned", Choice(every=False), progress=False)
faces = load_faces(write_pictures(extracted, folder / "aligned" / "pictures"))
masked = torch.tensor(["masked" in name for name in faces.ids])
print(f"{len(faces)} faces from {len(yours)} photographs; ", end="")
for name, found, all_of_them in (("bare", ~masked, ~in_mask), ("masked", masked, in_mask)):
    print(f"of {all_of_them.sum()} {name} ones {found.sum() / all_of_them.sum():.0%} found; ", end="")

# %% mystnb={"image": {"alt": "Rendered faces that were cut out of the photographs, upright and of one size, some bare and some in masks, each with the name of its folder."}}
show_faces(list(faces.images[::29] / 255), [EMOTIONS[label] for label in faces.labels[::29]], columns=11, height=1.2)
plt.show()

# %% [markdown]
# The first thing that masks cost is not the expression but the face. MTCNN looks for eyes, a nose and a mouth,
# and where nose and mouth are under cloth, some faces are not found at all; `aligned/rejected.tsv` names the
# photographs. Keep this number: whoever reports the accuracy on the faces that were *found* has left out
# the hardest ones.
#
# ## Cut as the training faces were cut
#
# Here is the network on the same people three times: on the faces as SynthFER cuts them, bare; on the same
# faces cut out of the photographs, bare; and on those in masks.

# %% tags=["nbval-ignore-output"]
def accuracy(said, chosen=None):
    """Accuracy with its 95 % interval, in per cent, of some of the faces."""
    said = said if chosen is None else said.among(np.asarray(chosen))
    low, high = said.interval()
    return f"{100 * said.accuracy:.0f} ({100 * low:.0f} to {100 * high:.0f})"


said = evaluate(model, faces)
display(Markdown(f"""
| faces of the same {YOURS} people | accuracy, % |
|---|---|
| bare, as SynthFER cuts them | {accuracy(evaluate(model, yours[~in_mask]))} |
| bare, from photographs | {accuracy(said, ~masked)} |
| masked, from photographs | {accuracy(said, masked)} |
"""))

number_of = [int(name.split("-")[1]) for name in faces.ids]  # in the name: which of yours it is
bare = (~masked).nonzero().flatten().tolist()
as_cut = replace(yours[torch.tensor(number_of)[bare]], ids=[faces.ids[row] for row in bare])
only_cut, only_photographed, p = mcnemar(evaluate(model, as_cut), said.among(~masked.numpy()))
display(Markdown(
    f"Of the {len(bare)} bare faces that were found, {only_cut} are read rightly only as SynthFER cuts them and "
    f"{only_photographed} only as cut out of photographs (McNemar's exact test, p = {p:.2g}): "
    + ("more than luck would explain." if p < 0.05 else "so large a difference could still be luck.")
))

# %% mystnb={"image": {"alt": "Two rows of the same rendered faces. Above as SynthFER cuts them, with hair and chin; below as they are cut out of photographs, closer and upright, some with a strip of the room at an edge."}}
pairs = [(number_of[row], row) for row in (~masked).nonzero().flatten().tolist()[::25]]
figure, axes = plt.subplots(2, len(pairs), figsize=(7.2, 2.6))
for column, (row, face) in enumerate(pairs):
    show_face(axes[0, column], yours.images[row] / 255, "as trained" if column == 0 else "")
    show_face(axes[1, column], faces.images[face] / 255, "yours" if column == 0 else "")
plt.show()

# %% [markdown]
# The second row of the table shows the same bare faces as the first, but for the few that were not found. The two
# intervals may overlap; since both are about the same faces, the test below the table is the sharper question, and its
# sentence says how far luck could go. Nothing happened to the people; they are cut closer, turned upright, were JPEG
# files in between, and at some edges a strip of the room is seen. A network learns the habits of a data set together
# with its subject {cite:p}`torralba2011bias`, and how faces are cut is one of these habits. There are two ways out. Either cut your faces as its training faces were cut, if you know how, or let it
# go on with training faces that are cut as yours are. `predict` says in its documentation how it cuts; most data
# sets do not.
#
# ## People, not pictures
#
# Some of your faces are to teach and some to test, and a person must not do both. Ten pictures of one person
# share the hair, the skin and the shape of the eyes, so a network that has learnt what this person looks like when sad
# is tested on nothing new when another sad picture of her is in the test. Chapter 8 measured
# something cruder on FER2013, where the very same pictures stand on both sides; who is on them nobody wrote down. So we
# split people:

# %%
person = np.array([name.split("/")[1].split("-")[0] for name in faces.ids])
order = torch.randperm(YOURS, generator=generator_for(13, 1)).numpy()
cuts = (14, 18) if recipes.TIER == "smoke" else (40, 50)
groups = dict(zip(("learn", "choose", "test"), np.split(order, cuts), strict=True))
names = np.unique(person)
parts = {part: np.isin(person, names[group]) for part, group in groups.items()}
learn, choose, held = (faces[parts[part]] for part in groups)
print({part: f"{len(groups[part])} people, {mask.sum()} faces" for part, mask in parts.items()})

# %% [markdown]
# The set is small, as sets of one's own are. That decides how much can be told: an accuracy on 150 faces
# is known to some eight points either way, and perhaps less exactly than that, since ten faces of one person need
# not be ten independent ones ({ref}`an exercise below <own-people>`).
#
# ## Going on from where it stands
#
# `finetune` begins with random weights, with an encoder that was pre-trained, or, with `start`, with a whole
# network. The recipe has to be the network's own, so we take it from `config.json` and change what concerns the
# training alone: a smaller learning rate, so that what it knows is not lost in the first steps, and a few
# epochs. Three ways:
#
# 1. **With drawn masks, and none of your labels.** We cut SynthFER's training faces as yours are cut, and draw a
#    mask on half of them. Their labels are known. The faces that choose the epoch are prepared the same way.
# 2. **With your labels.** The photographs of some of your people; those of a few others choose the epoch.
# 3. **With both**, one after the other.

# %%
from occfer.data.align import similarity, warp


def as_yours(rendered, generator):
    """Rendered faces cut as photographs are, half of them in masks."""
    matrices = similarity(rendered.landmarks.numpy())
    cut = [warp(Image.fromarray(image.permute(1, 2, 0).numpy()), matrix)
           for image, matrix in zip(rendered.images, matrices, strict=True)]  # fmt: skip
    turned = np.einsum("nij,nkj->nki", matrices[:, :, :2], rendered.landmarks.numpy())
    points = torch.from_numpy(turned + matrices[:, None, :, 2]).float()
    images, _ = dressed(torch.from_numpy(np.stack(cut)).permute(0, 3, 1, 2) / 255, points, generator)
    return replace(rendered, images=images.mul(255).round().byte(), landmarks=points)


few, drawn_epochs, epochs = (240, 2, 6) if recipes.TIER == "smoke" else (3400, 6, 10)
train, validation = load_faces("synthfer", "train"), load_faces("synthfer", "val")
shuffled = torch.randperm(len(train), generator=generator_for(13, 2))
drawn = as_yours(train[shuffled[:few]], generator_for(13, 3))
drawn_validation = as_yours(validation[:: 6 if recipes.TIER == "smoke" else 1], generator_for(13, 4))

recipe = recipes.from_dict(json.loads((shipped / "config.json").read_text())["recipe"])
recipe = replace(recipe, learning_rate=3e-4, batch_size=32, decay_from=99, precision=recipes.precision(recipes.TIER))

# %% tags=["nbval-ignore-output"]
def go_on(start, train, validation, epochs, seed):
    changed = replace(recipe, epochs=epochs, seed=seed)
    return finetune(train, validation, changed, start=start, progress=False)


answers = []  # for each seed: what every network says of the test people
trainings = []  # and how they came to be
for seed in range(1 if recipes.TIER == "smoke" else 3):
    from_masks = go_on(model, drawn, drawn_validation, drawn_epochs, seed)
    from_labels = go_on(model, learn, choose, epochs, seed)
    from_both = go_on(from_masks.model, learn, choose, epochs, seed)
    answers.append({
        "as it came": evaluate(model, held),
        "drawn masks": evaluate(from_masks.model, held),
        "your labels": evaluate(from_labels.model, held),
        "both": evaluate(from_both.model, held),
    })
    trainings.append({"drawn masks": from_masks, "your labels": from_labels, "both": from_both})

# %% tags=["nbval-ignore-output"]
def in_masks(said):
    """Which of the faces wear one; the file names say it."""
    return np.array(["masked" in name for name in said.ids])


def table(answers):
    """Mean accuracies over seeds, with their lowest and highest; of the first seed, a test against "as it came"."""
    rows = ["| the network | bare, % | masked, % | all, % | now right | no more | p |", "|---|---|---|---|---|---|---|"]
    for name in answers[0]:
        cells = []
        for part in (~in_masks(answers[0][name]), in_masks(answers[0][name]), slice(None)):
            heights = [100 * seed[name].correct[part].mean() for seed in answers]
            span = f" ({min(heights):.0f} to {max(heights):.0f})" if len(set(heights)) > 1 else ""
            cells.append(f"{np.mean(heights):.0f}{span}")
        worse, better, p = mcnemar(answers[0]["as it came"], answers[0][name])
        test = f"{better} | {worse} | {p:.2g}" if worse + better else "| |"
        rows.append(f"| {name} | {' | '.join(cells)} | {test} |")
    return "\n".join(rows)


COUNTED = (
    "The last three columns compare seed 0 alone with the network as it came, and take faces of one person as "
    "independent, so p is rather too small than too large."
)
display(Markdown(table(answers)))
display(Markdown(
    f"*{recipes.TIER} tier, {len(answers)} seed(s): {len(held)} test faces, {len(drawn)} faces in drawn masks, "
    f"{len(learn)} with your labels. {COUNTED}*"
))

# %% [markdown]
# At the smoke tier this is a rehearsal. It shows the way, and with so few faces and epochs its differences may be luck,
# as the last column says (McNemar's exact test, chapter 8). The same notebook at the laptop tier takes all hundred people
# and all of SynthFER's training faces, three times over, and leaves a record:

# %%
RECORDS = Path("results/own-faces")
if recipes.TIER != "smoke":
    data = {"drawn": drawn.describe(), "drawn validation": drawn_validation.describe()}
    data |= {part: each.describe() for part, each in zip(groups, (learn, choose, held), strict=True)}
    for seed, (said, tuned) in enumerate(zip(answers, trainings, strict=True)):
        make_record(
            "own-faces", f"synthfer-{recipes.TIER}-seed{seed}", recipes.as_dict(replace(recipe, seed=seed)),
            data, [], sum(each.seconds for each in tuned.values()), Conditions(said),
            curves={name: each.history for name, each in tuned.items()},
        ).save("results")
records = [Record.load(file) for file in sorted(RECORDS.glob("synthfer-laptop-seed*.json"))]
if records:
    recorded = [dict(record.predictions.items()) for record in records]
    about = records[0].values["data"]
    display(Markdown(table(recorded)))
    display(Markdown(
        f"*laptop tier, recorded, {len(records)} seeds (lowest and highest beside the mean): {about['test']['count']} test "
        f"faces, {about['drawn']['count']} faces in drawn masks, {about['learn']['count']} with your labels. {COUNTED}*"
    ))
    seeds = {name: [100 * said[name].correct[in_masks(said[name])].mean() for said in recorded] for name in recorded[0]}
    mean = {name: np.mean(heights) for name, heights in seeds.items()}
    display(Markdown(
        f"Under masks the network gains {mean['drawn masks'] - mean['as it came']:.0f} points from drawn masks and "
        f"{mean['your labels'] - mean['as it came']:.0f} from your labels; your labels after the masks change its accuracy by "
        f"{', '.join(f'{after - before:+.0f}' for before, after in zip(seeds['drawn masks'], seeds['both'], strict=True))} "
        f"points in the {len(records)} seeds."
    ))
    assert min(seeds["drawn masks"]) > max(seeds["your labels"])
else:
    print("not run")

# %% [markdown]
# The recorded table has an answer that may surprise. Drawing masks on labelled faces of others costs nobody a label,
# and it does more than the labels of some forty people of your own; with both, nothing is gained over the masks alone
# that three seeds can show. Bare faces are read better as well; the drawn set is cut as yours is, which may be why. The
# numbers are not equal, several thousand drawn faces against a few hundred photographs, and that is the point: drawn ones
# are to be had by the thousand. So before you label anything, make the faces that you have look like those that you will meet.
#
# Two cautions. The masks of the training were drawn by the same program as those on your photographs; with real
# photographs of real masks the gain will be smaller, and chapter 9 sets drawn and real occluders side by side. And your
# people are rendered like those of the training. Where yours differ from them in more than their masks, labels of your own
# may be worth more.
#
# The three records were made before this notebook kept the curves and the seconds of its trainings in them, so they hold
# none. Whoever makes them again gets both.
#
# ## When to say nothing
#
# A network that must always answer guesses on faces that it cannot read. In most uses nobody forces it to. Let it
# answer only where its largest probability exceeds a threshold, and hand the rest to a person. The lower the threshold,
# the more faces are answered, and the more of the answers are wrong. The curve of accuracy among the answered
# against the share of answered faces is called the *risk–coverage curve*
# {cite:p}`geifman2017selective`, and it says at one glance what silence buys:
#
# $$
# \text{coverage}(t) = \frac{1}{N} \sum_i [\, p_i \ge t \,], \qquad
# \text{accuracy}(t) = \frac{\sum_i [\, p_i \ge t \,] \, [\, \hat y_i = y_i \,]}{\sum_i [\, p_i \ge t \,]}.
# $$
#
# Here $p_i$ is the largest probability that the network gives face $i$, $\hat y_i$ the class that has it, and $y_i$ the
# label; a bracket is 1 where it is true and 0 elsewhere. The *risk* of the name is one minus this accuracy.

# %% tags=["nbval-ignore-output"] mystnb={"image": {"alt": "Two panels, bare and masked faces: accuracy among answered faces against the share that is answered, from the surest faces on the left to all faces on the right, for the network as it came and after it went on."}}
def curve(said):
    """Accuracy among the n surest faces, for every n: [N]."""
    surest = (-said.probabilities.max(axis=1)).argsort(kind="stable")
    return said.correct[surest].cumsum() / np.arange(1, len(surest) + 1)


shown = recorded[0] if records else answers[0]
figure, axes = plt.subplots(1, 2, figsize=(7.6, 2.9), sharey=True)
for axis, masks in zip(axes, (False, True), strict=True):
    for (name, said), colour in zip(shown.items(), PALETTE, strict=False):
        heights = curve(said.among(in_masks(said) == masks))
        shares = np.arange(1, len(heights) + 1) / len(heights)
        axis.plot(100 * shares[9:], 100 * heights[9:], color=colour, label=name)
    axis.set(xlabel="answered (%)", title="masked" if masks else "bare", xlim=(0, 100), ylim=(0, 102))
axes[0].set_ylabel("right among these (%)")
axes[0].legend(fontsize=7, loc="lower left")
plt.show()

# %% [markdown]
# Where a curve falls from left to right, the faces about which a network is sure are those on which it is
# right, and silence buys something. Where it is flat, the network is as sure where it is wrong, and no threshold
# helps: a probability says how a face looks to the network, not whether the network has any business with
# it. A threshold is chosen on faces like those that it is for, of people who are not in the test.
#
# ## Handing it on
#
# Whoever gets your network needs what you needed in the beginning: the weights, the words, and a card with
# honest numbers. `make_record` collects what is known of the run, as for every number of this book, and
# `save_pretrained` writes the folder.

# %% tags=["nbval-ignore-output"]
seen = {"earlier": drawn.describe()}
seen |= {part: faces[mask].describe() | {"split": part} for part, mask in parts.items()}
record = make_record(
    "own-faces", "both", recipes.as_dict(replace(recipe, epochs=epochs, seed=seed)), seen,
    from_both.history, from_both.seconds, answers[-1]["both"],
)
handed_on = from_both.model.save_pretrained(folder / "expressions", record=record.values)
returned = evaluate(load_model(handed_on), held)
assert np.allclose(returned.probabilities, answers[-1]["both"].probabilities, atol=1e-4)
card = (handed_on / "README.md").read_text()
display(Markdown(card[card.index("## Data"):card.index("| balanced")].replace("## ", "#### ")))

# %% [markdown]
# The commands do nearly the same. Spread the pictures of `aligned/pictures` over `mine/train`, `mine/val` and
# `mine/test`, each with its folders of the expressions, so that one person's are all in one of the three. Then `occfer finetune --data mine --start models/synthfer
# --recipe.learning-rate 3e-4 --recipe.epochs 10`, from the folder `book`, goes on from the network; without these
# options it takes the rate and the epochs of the tier, which are those of a network that begins. `hf upload you/expressions expressions` hands the
# folder on through the Hugging Face Hub, where `load_model("you/expressions")` finds it. Where there is no
# PyTorch, as in a telephone, `occfer export --model expressions --out expressions.onnx` writes one file for
# onnxruntime, and keeps it only if it agrees with PyTorch to a ten-thousandth.
#
# ## Before you use it on anybody
#
# A network that reads faces is soon asked to judge people. Before it looks at anybody, four questions want an answer,
# and only the last is about accuracy.
#
# *Were they asked?* A photograph of a face is personal data, and a person who agreed to be photographed did not
# therefore agree to be measured. *Is it lawful?* In the European Union inferring emotions at work and in education is
# prohibited, except for medical or safety reasons; other uses count as high-risk there, and have to be announced to those
# who are exposed to them {cite:p}`euaiact2024`. *Is it
# true?* The seven names are a convention about faces and no window into feelings {cite:p}`barrett2019expressions`, and the tables
# above say how often even the convention is missed. *For whom does it fail?* A mean over everybody hides those for
# whom it is worse; your test set shows them only if they are in it ({ref}`an exercise below <own-groups>`).
#
# ## Exercises

# %% [markdown]
# ````{exercise} Pictures, not people
# :label: own-split
#
# Split the same faces at random, whoever is on them, into parts of the same sizes, and let the network go on from your
# labels again. By how much does its accuracy on the new test part seem better? Why may the difference be small here,
# and why would that be no permission?
# ````
#
# ````{solution} own-split
# :class: dropdown
#
# Shuffle `faces` with `torch.randperm` and cut at `len(learn)` and `len(learn) + len(choose)`. The test parts hold other
# faces now, so the two accuracies differ by luck as well: repeat both with several shuffles. Here each picture of a person
# shows another expression or another view, so knowing the person helps little. Frames of a film, or five shots
# of one smile, would help a lot.
# ````

# %% [markdown]
# ````{exercise} Ten faces are not ten people
# :label: own-people
#
# Wilson's interval takes all faces as independent. Draw *people* with replacement, a thousand times, and take the middle
# 95 hundredths of the accuracies for "both". Is the interval wider?
# ````
#
# ````{solution} own-people
# :class: dropdown
#
# ```python
# said, who = answers[0]["both"], person[parts["test"]]
# right = [said.correct[who == name] for name in np.unique(who)]
# draw = np.random.default_rng(0)
# means = [np.concatenate([right[n] for n in draw.integers(len(right), size=len(right))]).mean() for _ in range(1000)]
# print(np.percentile(means, [2.5, 97.5]), said.interval())
# ```
#
# It is wider where people differ much in how well they are read. In the small run here both are about as wide: these people
# hardly differ. What you may say of *new people* stands in the wider of the two.
# ````

# %% [markdown]
# ````{exercise} Who was not found
# :label: own-found
#
# Count a photograph on which no face was found as one that was not recognised. What is the accuracy of "both" on all
# photographs of the test people, bare and masked? Which would you report?
# ````
#
# ````{solution} own-found
# :class: dropdown
#
# ```python
# tested = torch.tensor([f"person{number:03d}" in names[groups["test"]] for number in yours.extras["identity"]])
# said = answers[0]["both"]
# for masks, all_of_them in ((False, ~in_mask), (True, in_mask)):
#     print(masks, said.correct[in_masks(said) == masks].sum() / int((tested & all_of_them).sum()))
# ```
#
# Both, and the share that was found. Who only reads faces that a detector gave may care for the first; whoever is on the
# photograph cares for the second.
# ````

# %% [markdown]
# ````{exercise} A promise and its keeping
# :label: own-threshold
#
# From the faces of `choose` take the lowest threshold above which four of five answers are right. Apply it to the test faces,
# bare and masked. Is the promise kept? On how many faces was it made?
# ````
#
# ````{solution} own-threshold
# :class: dropdown
#
# ```python
# said = evaluate(from_both.model, choose)
# sure = np.sort(said.probabilities.max(axis=1))[::-1]
# kept = np.flatnonzero(curve(said) >= 0.8)
# threshold = sure[kept[-1]] if len(kept) else 1.0
# for masks in (False, True):
#     some = answers[-1]["both"].among(in_masks(answers[-1]["both"]) == masks)  # of that same network
#     answered = some.probabilities.max(axis=1) >= threshold
#     print(masks, f"{answered.mean():.2f} answered,", some.correct[answered].mean(), "right")
# ```
#
# The threshold was read off a few dozen faces, and a share that was chosen because it looked good on so few is too good. It
# was also read off bare and masked faces together, so the masked ones have to pay for the bare ones.
# ````

# %% [markdown]
# ````{exercise} For whom is it worse?
# :label: own-groups
#
# SynthFER knows the shade of skin and the age of its people (`yours.extras`). Compare the accuracy of the network as it came, on
# `yours` as SynthFER cuts them, between the darker and the lighter half, and between the older and the younger. How many
# faces would you need to tell a difference of five points from luck?
# ````
#
# ````{solution} own-groups
# :class: dropdown
#
# ```python
# said = evaluate(model, yours)
# for name in ("shade", "age"):
#     half = (yours.extras[name] > yours.extras[name].median()).numpy()
#     print(name, said.among(half).accuracy, said.among(~half).accuracy)
# ```
#
# Two groups of $n$ faces each, read with accuracy $a$, differ by luck with a standard deviation of
# $\sqrt{2a(1-a)/n}$. Five points are two of these for $n$ near 400 where $a$ is 0.85, if all faces were independent. They are
# not, so it takes more.
# ````

# %% [markdown]
# ## What to read next
#
# Model cards were proposed by {cite:t}`mitchell2019modelcards`, and every folder that this library writes has one.
# {cite:t}`torralba2011bias` let a classifier guess from which data set a picture comes, and it guessed far too well.
# {cite:t}`geifman2017selective` choose thresholds with a guarantee. On what faces can tell of feelings read
# {cite:t}`barrett2019expressions`, before and after everything else.

# %% tags=["nbval-ignore-output"]
from occfer.engine.records import peak_memory

shutil.rmtree(folder)
display(Markdown(
    f"*This notebook took {time.perf_counter() - begun:.0f} seconds and at most "
    f"{peak_memory() / 2**30:.1f} GiB of memory at the {recipes.TIER} tier.*"
))
