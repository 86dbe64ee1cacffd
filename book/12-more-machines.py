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
# # 12 · More machines: a hundred million pictures, and one loss over many processes
#
# To find the faces on a picture takes one core of a processor a small part of a second. That is quick
# enough for the 120,000 faces of the paper; for a hundred million pictures from the web it takes months,
# and one wants many cores. Contrastive learning, in turn, is often run with batches that are larger than
# one graphics card can hold, because more faces in a batch are more wrong answers to tell the right one
# from. Both times the way out is the same: many processes, on one machine or on many. And both times the
# question is the same: how do we know that many processes do what one would have done?
#
# When you have worked through this chapter you will be able to
#
# - cut work so that workers may die at any moment, and nothing is lost or done twice;
# - read pictures from shards as img2dataset writes them, and find faces on them with Ray;
# - work out on paper what a hundred million pictures take: machines, hours, money and storage;
# - share one contrastive loss between processes, and see which gradients get lost on the way.
#
# You need chapter 4, and no cluster: two processes on your own machine show everything that can go
# wrong. The last cell prints how long this notebook took, and how much memory.

# %% tags=["colab", "remove-cell"]
# Where occfer or Ray is missing, as on Colab, this installs them, beside the recorded runs that the page reads.
import importlib.util
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

REPOSITORY = "https://github.com/occfer/occfer"  # yours, if this is a fork

specs = [importlib.util.find_spec(name) for name in ("occfer", "ray")]
if any(spec is None or spec.origin is None for spec in specs):  # no origin: a folder, and nothing installed
    if not Path("occfer").exists():
        clone = ["git", "clone", "--quiet", "--depth", "1", REPOSITORY, "occfer"]
        subprocess.run(clone, check=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "./occfer[ray]"], check=True)
if "numpy" in sys.modules and sys.modules["numpy"].__version__ != version("numpy"):
    raise RuntimeError("All is installed; now restart the session and run all cells again.")
if Path("occfer/book/results").is_dir():
    os.chdir("occfer/book")

# %%
import json
import runpy
import tarfile
import tempfile
import time
from io import BytesIO
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from IPython.display import Markdown, display
from PIL import Image

from occfer import load_faces, recipes
from occfer.plots import show_faces, style
from occfer.randomness import generator_for

begun = time.perf_counter()
style()
folder = Path(tempfile.mkdtemp())

# %% [markdown]
# ## Workers die
#
# On one machine a process rarely dies. On a thousand machines some process dies every hour: memory
# runs out, a disk fills, a rented machine is taken back. A plan for many machines that does not
# begin with this ends with faces that are missing or stand in the set twice, and nobody notices.
#
# Let us play it through with workers that square numbers. A worker takes some numbers, and writes
# their squares to the end of a common list. One time in three it dies in the middle, or just before
# it can say that it is done, and whoever handed out the work hands it out again.

# %%
def hand_out(work, places, chance, generator):
    """Give every place to a worker, again and again until it says that it is done."""
    tries = 0
    for place in torch.randperm(places, generator=generator).tolist():
        said_done = False
        while not said_done:
            tries += 1
            dies_after = 99 if torch.rand((), generator=generator) > chance else int(
                torch.randint(0, 5, (), generator=generator))
            said_done = work(place, dies_after)
    return tries


common = []


def append(place, dies_after):
    """Write four squares to the common list, one by one."""
    for step in range(4):
        if step == dies_after:
            return False  # dead in the middle
        common.append((4 * place + step) ** 2)
    return dies_after != 4  # dead, but all is written


right = [number**2 for number in range(40)]
tries = hand_out(append, places=10, chance=1 / 3, generator=generator_for(12))
print(f"{tries} tries for 10 pieces of work; {len(common)} numbers in the list, should be 40")
print("as one process would have written it:", common == right)

# %% [markdown]
# No number is lost, but some stand there twice, and the order is whatever it was. Locks and logs can
# mend that, and make everything harder. There is an easier way, in three rules:
#
# 1. **Work has a name before it begins.** The places are numbered, and nobody invents one later.
# 2. **A part is whole or not there.** A worker writes its part under a name of its own, for which nobody
#    looks, and renames it when it is complete. The file system renames in one step.
# 3. **Whoever makes a part makes the same part.** A worker remembers nothing from part to part and
#    draws no random number, so doing work twice writes the same file twice.
#
# Then it does not matter who did what, when, and how often. The parts in the order of their names
# are the whole.

# %%
from uuid import uuid4


def write_part(place, dies_after):
    """Write four squares as one file that is whole or not there."""
    finished = parts / f"{place:02d}.json"
    unfinished = parts / f".{finished.name}.{uuid4().hex}"  # a worker that is slow and not dead has another
    squares = []
    for step in range(4):
        if step == dies_after:
            return False
        squares.append((4 * place + step) ** 2)
        unfinished.write_text(json.dumps(squares))
    unfinished.rename(finished)
    return dies_after != 4


for seed in range(3):
    parts = folder / f"squares{seed}"
    parts.mkdir()
    tries = hand_out(write_part, places=10, chance=1 / 3, generator=generator_for(12, seed))
    joined = [n for part in sorted(parts.glob("*.json")) for n in json.loads(part.read_text())]
    print(f"{tries} tries; as one process would have written it: {joined == right}")

# %% [markdown]
# `occfer.data.parts` is this idea for faces: a part is one file with the faces that were found on 64
# pictures, and `occfer align` may be stopped at any moment, because the parts that are there are
# good. The tests kill it at twenty random moments, and beside each thing that it writes.
#
# ## Pictures in shards
#
# A hundred million small files are a burden for every file system. Tools that download pictures by
# the million, such as img2dataset {cite:p}`beaumont2021img2dataset`, therefore write *shards*: tar
# files of some thousand pictures, in the form that WebDataset made common. Beside each picture lie
# its caption and what is known of it, and beside each shard a file that counts what was downloaded.
#
# We write three small ones. The people on them are rendered, three to a picture, so that we may show
# them; the last picture of each shard shows nobody.

# %%
people = load_faces("synthfer", split="test")
frontal = people[people.extras["pose"][:, 0].abs() < 15]
some = torch.linspace(0, len(frontal) - 1, 27).long()
portraits = frontal.images[some].permute(0, 2, 3, 1).numpy()


def scene(number):
    """Three people in a row, or nobody: a picture as the web has them."""
    picture = Image.new("RGB", (480, 200), (70 + 12 * number, 110, 120))
    if number % 4 != 3:
        for place in range(3):
            portrait = portraits[(number - number // 4) * 3 + place]
            size = 130 + 8 * place
            picture.paste(Image.fromarray(portrait).resize((size, size)), (15 + 155 * place, 30))
    buffer = BytesIO()
    picture.save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def add(tar, name, content):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, BytesIO(content))


shards = folder / "shards"
shards.mkdir()
for shard in range(3):
    with tarfile.open(shards / f"{shard:05d}.tar", "w") as tar:
        for place in range(4):
            key = f"{shard:05d}{place:04d}"
            add(tar, f"{key}.jpg", scene(4 * shard + place))
            add(tar, f"{key}.json", json.dumps({"key": key, "status": "success"}).encode())
            add(tar, f"{key}.txt", b"three people, or nobody")
    (shards / f"{shard:05d}_stats.json").write_text(json.dumps({"count": 5, "successes": 4}))

with tarfile.open(shards / "00001.tar") as tar:
    print(tar.getnames()[:6], "...")

# %% [markdown]
# A shard comes from strangers like everything else from the web. A tar may name a path that leads
# out of its folder, hold a link to a file of yours, or unfold to more than the disk can hold. The
# library never unpacks one. It reads the tar from its beginning to its end, takes what stands in it
# as a name and bytes, and lets the bytes through the same door as any downloaded picture. A shard
# that is broken or hostile is read as far as it is sound, and named in the list of what was
# rejected.
#
# ## The same aligner on two workers
#
# Ray {cite:p}`moritz2018ray` runs Python on many machines. Its part for data takes rows, hands them
# to workers, and starts a worker again that has died. One could send pictures through it, and many
# do. We send names only: a row says which shard is to be done, and the worker reads the shard and
# writes its parts. So Ray's own memory stays small, however many pictures there are, and a
# worker that is started again finds the parts that its predecessor finished.
#
# The worker is no other code than before. Its heart is the class `Extractor` behind chapter 2's `extract`. It
# takes pictures and gives aligned faces; the local engine calls it in a loop, the other one in the
# processes of a cluster. On a real cluster all that changes is the environment variable
# `RAY_ADDRESS`, and a folder that all machines share. Without one, Ray starts on this machine.
# The command is `occfer align FOLDER --engine ray`.

# %%
from occfer import FaceSet
from occfer.data.extract import extract

torch.set_num_threads(1)  # as a worker, so that sums run in the same order
local = extract(shards, folder / "local", progress=False)

# What you would type into a shell: occfer align shards --out spread --engine ray --workers 2
command = [sys.executable, "-m", "occfer", "align", str(shards), "--out", str(folder / "spread")]
subprocess.run([*command, "--engine", "ray", "--workers", "2"], check=True, capture_output=True)
spread = FaceSet.open(folder / "spread" / "faces")

print(f"{len(local)} faces from one process, {len(spread)} from two workers")
print("the same faces, to the last bit:", local.sha256 == spread.sha256)
assert local.sha256 == spread.sha256

# %% mystnb={"image": {"alt": "Nine rendered faces, upright and of one size, each with the name of the shard and of the picture that it comes from."}}
show_faces(
    list(spread.images[::3] / 255),
    [name.replace(".tar/", "\n").replace(".jpg", "") for name in spread.ids[::3]],
    columns=9,
    height=1.25,
)
plt.show()

# %% [markdown]
# Each face still says where it comes from: the shard, the picture in it, and the number of the face
# on the picture. With that name its caption, its address and its licence can be found again. What was
# not taken is listed with a reason:

# %%
print((folder / "spread" / "rejected.tsv").read_text())

# %% [markdown]
# Equal results when all goes well are the easy half. The tests of the library also kill the workers:
# while two of them are looking for faces, a real `kill -9` hits first one and then the other. Ray
# starts them again, and every byte of the result is the same.
#
# ## A hundred million pictures on paper
#
# Before anyone rents a cluster, arithmetic tells whether the plan makes sense. It needs rates that
# were measured. The command `python benchmarks/align.py --record` aligned photographs of three sizes
# from a shard, with one thread, and counted the seconds of the processor. They are four sample pictures,
# turned and mirrored, little more than half of them with one face, and enlarged where they were too small.
# The web's are more varied, with many faces or none, so take the rates as a first guess:

# %%
record = json.loads(Path("results/scale/align.json").read_text())
rows = [
    "| longer side | pictures a second of one core | kB a picture | kB a face in the set |",
    "|---|---|---|---|",
]
for row in record["rows"]:
    rows.append(
        f"| {row['side']} pixels | {row['pictures_per_core_second']:.1f} | "
        f"{row['bytes_per_picture'] / 1e3:.0f} | {row['bytes_per_face'] / 1e3:.1f} |"
    )
device = record["environment"]["device"]
display(Markdown("\n".join(rows)))
display(Markdown(f"*Measured on one core of an {device}, median of {record['rounds']} rounds.*"))

# %% [markdown]
# The rest are assumptions, and prices change faster than books. They stand in one cell: put in what
# you are offered, and run the cell below again. None of these numbers is measured here.

# %%
pictures = 100e6
side = 512  # longer side in pixels, as stored when downloading
faces_per_picture = 0.5  # most pictures of the web show nobody
machines = 10
cores = 64  # of each machine, all of them at work
dollars_per_hour = 2.50  # of one machine
downloads_per_hour = 5e6  # of one machine: a hundred million in twenty hours, img2dataset says
dollars_per_gigabyte_month = 0.023
months = 1  # that the pictures are kept

# %%
rate = next(row for row in record["rows"] if row["side"] == side)
core_hours = pictures / rate["pictures_per_core_second"] / 3600
align_hours = core_hours / (machines * cores)
download_hours = pictures / (machines * downloads_per_hour)
terabytes = {
    "pictures": pictures * rate["bytes_per_picture"] / 1e12,
    "faces": pictures * faces_per_picture * rate["bytes_per_face"] / 1e12,
}
rent = machines * dollars_per_hour * (align_hours + download_hours)
shelf = sum(terabytes.values()) * 1e3 * dollars_per_gigabyte_month * months
display(Markdown(f"""
| of {pictures / 1e6:.0f} million pictures | |
|---|---|
| work of one core | {core_hours:,.0f} hours, {core_hours / 24 / 365:.1f} years |
| to download, on {machines} machines | {download_hours:.1f} hours |
| to align, on {machines} machines of {cores} cores | {align_hours:.1f} hours |
| storage for the pictures | {terabytes['pictures']:.1f} TB |
| storage for {pictures * faces_per_picture / 1e6:.0f} million faces | {terabytes['faces']:.1f} TB |
| machines, at {dollars_per_hour:.2f} dollars an hour | {rent:,.0f} dollars |
| storage, for {months} month(s) | {shelf:,.0f} dollars |
"""))

# %% [markdown]
# Read such a table with care. A core that shares its caches with 63 busy ones is slower than a core
# alone. Shards have to be read over a network, at a rate that is easily worked out from the
# table and is modest. The dear part is not on the list at all: somebody has to look at what was
# collected, ask whether it may be used, and answer the people on it who want to be removed. Chapter
# 2 is about them.
#
# One limit is our own. A `FaceSet` keeps the names of its faces in memory, so that a set of fifty
# million is unwieldy. Give `occfer align` a thousand shards at a time and pre-train on several sets.
#
# ## One loss over many processes
#
# Equation (1) compares every face of a batch with every other one. Each of the $2N$ views has one
# right answer and $2N - 2$ wrong ones, and with more wrong answers the question gets harder and
# teaches more. Now two graphics cards hold $N/2$ faces each. If each computes the loss of
# its own half, its views meet only $N - 2$ wrong answers: two small batches are not one large one.
# The cure is to *gather*: every process gets the projections of all, and computes the whole loss.
#
# $$
# \frac{1}{2N} \sum_{i=1}^{2N} \ell(i), \qquad
# \ell(i) \text{ needs } z_1, \dots, z_{2N} \text{, of which each process has made a part.}
# $$
#
# This is where programs go wrong. `torch.distributed.all_gather` copies numbers, and copies carry no
# gradient: what a process finds out about the faces of another one is dropped. The loss is right to
# the last digit, and its gradients are not. We write the gathering that sends gradients home, and
# set it beside three other ways, in two processes started by `torchrun`: each process looks at its
# own half only; each sums $l(i)$ over its own faces, with copies of the others as wrong answers; and
# each computes the whole of $L$, with copies.

# %%
script = '''
import sys
import torch
import torch.distributed as dist
import torch.nn.functional as F
from occfer import nt_xent

N, D = 32, 16


class Gather(torch.autograd.Function):
    """All processes' tensors, one below the other; backwards, each gets what is its own."""

    @staticmethod
    def forward(context, z):
        everyone = [torch.empty_like(z) for _ in range(dist.get_world_size())]
        dist.all_gather(everyone, z)
        return torch.cat(everyone)

    @staticmethod
    def backward(context, gradient):
        gradient = gradient.contiguous()
        dist.all_reduce(gradient)  # the sum over the losses of all processes
        return gradient.chunk(dist.get_world_size())[dist.get_rank()]


def copies(z):
    everyone = [torch.empty_like(z) for _ in range(dist.get_world_size())]
    dist.all_gather(everyone, z.detach())
    everyone[dist.get_rank()] = z
    return torch.cat(everyone)


def of_own_faces(z1, z2, temperature=0.2):
    """Equation (1) over this process's faces, among copies of all."""
    mine = F.normalize(torch.cat([z1, z2]), dim=1)
    everyone = F.normalize(torch.cat([copies(z1), copies(z2)]), dim=1)
    place = dist.get_rank() * len(z1) + torch.arange(len(z1))
    itself, other = torch.cat([place, place + N]), torch.cat([place + N, place])
    logits = mine @ everyone.T / temperature
    logits[torch.arange(len(mine)), itself] = float("-inf")
    return F.cross_entropy(logits, other)


def step(loss_of, faces1, faces2):
    """Loss and gradient of a small network, as data-parallel training averages them."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(D, 24), torch.nn.ReLU(), torch.nn.Linear(24, 8))
    network.double()
    loss = loss_of(network(faces1), network(faces2))
    loss.backward()
    gradient = torch.cat([each.grad.flatten() for each in network.parameters()])
    return loss.detach(), gradient


generator = torch.Generator().manual_seed(12)
faces = torch.randn(2, N, D, generator=generator, dtype=torch.float64)
expected_loss, expected = step(nt_xent, *faces)

dist.init_process_group("gloo")
half = faces.chunk(dist.get_world_size(), dim=1)[dist.get_rank()]
ways = {
    "each its own half": nt_xent,
    "own faces among copies": of_own_faces,
    "everything, from copies": lambda a, b: nt_xent(a, b, gather=copies),
    "gathered with gradients": lambda a, b: nt_xent(a, b, gather=Gather.apply),
}
for name, loss_of in ways.items():
    loss, gradient = step(loss_of, *half)
    for each in (loss, gradient):
        dist.all_reduce(each)
        each /= dist.get_world_size()
    if dist.get_rank() == 0:
        cosine = F.cosine_similarity(gradient, expected, dim=0)
        away = (gradient - expected).norm() / expected.norm()
        length = gradient.norm() / expected.norm()
        print(name, *map(float, (abs(loss - expected_loss), length, cosine, away)), sep="\\t")
dist.destroy_process_group()
'''


def torchrun(name, script):
    """What a script prints that runs in two processes."""
    file = folder / name
    file.write_text(script)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    ran = subprocess.run([*command, file], capture_output=True, text=True)
    if ran.returncode:
        raise RuntimeError(ran.stderr)
    return ran.stdout


found = [line.split("\t") for line in torchrun("gather.py", script).splitlines()]
print(f"{'in two processes':25} loss off by  gradient: length  cosine")
for name, loss, length, cosine, _ in found:
    print(f"{name:25} {float(loss):11.4f}  {float(length):16.4f}  {float(cosine):6.4f}")
_, loss, *_, away = found[-1]
assert max(float(loss), float(away)) < 1e-12

# %% [markdown]
# The first way is another loss altogether. The second shows why such a mistake can live for years in
# a program: whoever looks at the loss sees the right number, and that the gradient has another
# length and direction, nobody sees. The angle is small here, in the first step of a small network,
# and nobody knows where a thousand such steps lead. The third way has the right direction, because
# each process computes everything and only forgets the other's share in it; its step is as many
# times too short as there are processes. Only the last trains as one process would.
#
# ## The same run on two processes
#
# The library does the last. `pretrain` counts the faces of all processes in its batch size, gives
# each process its part of every batch, and gathers the projections. Two more things have to be one over all
# processes. Batch normalisation takes its mean and variance over the faces that one process holds,
# unless the recipe says `synchronise_batch_norm`. And each process has to draw other views, so a run on two
# processes is as good as a run on one and not the same, unless views are taken for which nothing is
# drawn. We take the upper and the lower half of each face, train in double precision, once here and
# once under `torchrun`, and compare all weights. The last batch has nine faces, five for one process
# and four for the other.

# %%
training = '''
import os
from pathlib import Path
from unittest.mock import patch
import torch
import torch.nn.functional as F
import occfer.engine.pretrain
from occfer import load_faces, pretrain, recipes
from occfer.views import as_float

def halves(size, *_, **__):
    """Two views of a face for which nothing is drawn: its upper and its lower half."""
    def views(faces, generator):
        images = as_float(faces)
        middle = images.shape[-2] // 2
        return F.interpolate(images[..., :middle, :], size), F.interpolate(images[..., middle:, :], size)
    return views

recipe = recipes.PretrainRecipe(
    network=recipes.NetworkRecipe(width=8, size=24), batch_size=16, epochs=2,
    optimizer="sgd", learning_rate=0.01, projector_hidden=32, projector_dimensions=16,
    synchronise_batch_norm=True, precision="64-true",
)
with patch.object(occfer.engine.pretrain, "TwoViews", halves):
    found = pretrain(load_faces("synthfer", "val", size=24)[:41], recipe, progress=False)
rank = os.environ.get("RANK", "alone")
left = dict(loss=found.history[-1]["loss"], weights=found.encoder.state_dict())
torch.save(left, Path(__file__).with_name(f"left-{rank}.pt"))
'''
torchrun("train.py", training)
runpy.run_path(str(folder / "train.py"))

alone, *both = (torch.load(folder / f"left-{rank}.pt") for rank in ("alone", 0, 1))
print("loss alone and in two processes:", *(f"{each['loss']:.5f}" for each in (alone, *both)))
apart = max(
    (one["weights"][key] - weight).abs().max().item()
    for one in both
    for key, weight in alone["weights"].items()
)
print(f"all {len(alone['weights'])} tensors of weights differ by less than 1e-9: {apart < 1e-9}")
assert apart < 1e-9

# %% [markdown]
# Why in double precision? Two sums over halves round otherwise than one over the whole. In single
# precision the runs agree as well as seven digits can, until the input of some ReLU lies so near
# zero that rounding decides on which side of it. The loss hardly notices. The gradient does, since
# all that comes back through this place is passed on in one run and dropped in the other, and a few
# steps later the weights show it. This is no price of the second process: one process that takes the
# faces of a batch in another order departs from itself in the same way. In
# `tests/engine/test_team.py` one test decides the few most undecided of all ReLUs the other way and
# watches the gradient jump; another puts a smooth function in their place, and then single
# precision, too, keeps its digits from one process to two.
#
# On a machine with several graphics cards the command is
# `torchrun --nproc-per-node=8 -m occfer pretrain`, and on many machines `torchrun` is told where the
# others are. One process writes checkpoints and talks; Ctrl-C stops all of them after the same step.
#
# ## Exercises

# %% [markdown]
# ````{exercise} The third rule
# :label: scale-rule
#
# A colleague wants aligned faces to be flipped at random when they are written, "to save time later". Which of the
# three rules does this break, and what would a killed worker then do to the set?
# ````
#
# ````{solution} scale-rule
# :class: dropdown
#
# The third: a part that is made again would hold other flips. The set would still be complete, but it would depend on
# who died when, and no two runs would give the same one. Flips that are drawn from the name of the face keep the rule.
# ````

# %% [markdown]
# ````{exercise} What limits the cluster?
# :label: scale-limits
#
# From the table of measured rates, work out how many megabytes a second a machine with 64 busy cores reads, at each of
# the three sizes. Which size would you download, if faces are cut out at 112 pixels and the smallest that is taken has
# 40?
# ````
#
# ````{solution} scale-limits
# :class: dropdown
#
# `64 * row["pictures_per_core_second"] * row["bytes_per_picture"] / 1e6` for each row of `record["rows"]`. A network of
# ten gigabits carries 1,250 of them, many times more than any of the three, so it is the processors that limit. On small
# pictures most faces of groups fall below the limit of 40 pixels; on large ones the search takes longer, since it looks
# for small faces in every corner. We would take 512: less than half of the cost of 1024, and a face of a twelfth of the
# longer side is still large enough.
# ````

# %% [markdown]
# ````{exercise} A worker that is slow
# :label: scale-slow
#
# Half of the machines of a cluster are half as fast as the others. The shards are handed out one by one, to whoever is free. How
# much longer does the whole take than the mean of all speeds says, for 10,000 shards on 640 workers? And if a worker is
# given its fair share of shards at the beginning?
# ````
#
# ````{solution} scale-slow
# :class: dropdown
#
# Let half of the 640 be slow, and count in the time that a fast worker takes for one shard. In each such time 480 shards
# get done, so the mean of all speeds says 20.8 of them for the whole. Handed out one by one, the end waits for one shard
# of a slow worker at most, which is 2 more, less than a tenth. Shared out at the beginning, everyone has about 15.6 shards.
# The slow half needs 31.2, half as long again as the mean says, and the fast half stands idle for the second half of it.
# ````

# %% [markdown]
# ````{exercise} Four processes
# :label: scale-four
#
# Let `torchrun` start four processes in the script above. Which of the errors grow, and why?
# ````
#
# ````{solution} scale-four
# :class: dropdown
#
# Those of the first three ways. With eight faces each, a process that looks at its own has fewer wrong answers still, so
# its loss is lower; and of the gradients that copies drop there are now three in four, not one in two. The third way's
# step becomes a quarter as long.
# ````

# %% [markdown]
# ## What to read next
#
# Ray is described by {cite:t}`moritz2018ray`, and the idea that work which can be repeated needs no locks by
# {cite:t}`dean2004mapreduce`, in one of the clearest papers on the subject. SimCLR {cite:p}`chen2020simclr` gathers its
# negatives over all of its devices, and normalises over all of them too. MoCo {cite:p}`he2020moco` keeps old projections
# in a queue instead, which needs no second device.

# %% tags=["nbval-ignore-output"]
import shutil

from occfer.engine.records import peak_memory

shutil.rmtree(folder)
display(Markdown(
    f"*This notebook took {time.perf_counter() - begun:.0f} seconds and at most "
    f"{peak_memory() / 2**30:.1f} GiB of memory at the {recipes.TIER} tier.*"
))
