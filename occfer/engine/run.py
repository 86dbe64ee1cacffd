"""A run: epochs of steps that can be stopped anywhere and go on from there, on any team.

Pre-training and fine-tuning differ in what they measure of a batch and in what they say of an
epoch. What they share is here: batches, the optimiser's step, the sums of an epoch, the clock,
checkpoints, and how a run ends.
"""

import gc
import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from tqdm.auto import tqdm

from occfer.data.faceset import FaceSet
from occfer.engine.batches import steps_per_epoch
from occfer.engine.batchnorm import synchronised
from occfer.engine.checkpoint import Checkpoints
from occfer.engine.failures import (
    Reading,
    all_finite,
    memory_explained,
    refuse_loss,
    refuse_weights,
)
from occfer.engine.graphs import Replayed
from occfer.engine.records import begin_peak
from occfer.engine.stopping import StopRequest, stop_on_interrupt
from occfer.engine.supply import Batch, Supply
from occfer.engine.team import Team, is_first_process
from occfer.engine.training import Watcher, build_optimizer, set_learning_rate, watched
from occfer.files import locked
from occfer.memory import keep_memory
from occfer.recipes import FinetuneRecipe, PretrainRecipe, as_dict

Measure = Callable[[Batch], tuple[Tensor, Mapping[str, Tensor]]]
"""From a batch to what is minimised, and to scalars that are means over the batch's faces."""


SHOWN = ("loss", "validation_accuracy")
"""What the bar says of an epoch."""
TAKEN = (
    "{} should be free, but another process is training this run; wait for it, stop it with Ctrl-C "
    "and call again to go on from there, or choose another folder."
)


class Run:
    """One run, from wherever its folder says it stands; see :func:`running`."""

    def __init__(
        self,
        network: nn.Module,
        faces: FaceSet,
        recipe: PretrainRecipe | FinetuneRecipe,
        inputs: Mapping[str, Any],
        folder: str | Path | None,
        fabric: Fabric,
        watchers: Sequence[Watcher],
        stop: StopRequest,
        bar: tqdm,
    ):
        self.recipe, self.fabric, self.team = recipe, fabric, Team(fabric)
        if min(len(faces), recipe.batch_size) < self.team.least:
            who, what = (
                (f"{self.team.size} processes need", "start fewer processes")
                if self.team.size > 1
                else ("training needs", "take more faces or a larger batch_size")
            )
            raise ValueError(
                f"{who} at least {self.team.least} faces a batch, got batch_size "
                f"{recipe.batch_size} of {len(faces)} faces; {what}."
            )
        if recipe.synchronise_batch_norm and self.team.size > 1:
            network = synchronised(network, fabric.device)
        network = network.to(memory_format=torch.channels_last)
        self._supply = Supply(faces, recipe.batch_size, recipe.seed, fabric.device, self.team)
        if fabric.device.type == "cuda":
            self._quicken(network, min(len(faces), recipe.batch_size))
        self.model, self.optimizer = fabric.setup(network, build_optimizer(network, recipe))
        self._folder = None if folder is None else Path(folder)
        team = {"processes": self.team.size} if self.team.size > 1 else {}
        self._checkpoints = Checkpoints(
            self._folder if self.team.rank == 0 else None,
            {**as_dict(recipe), **inputs, **team},
            as_dict(type(recipe)()),
        )
        self.place, self.best = self._checkpoints.resume(
            self.model,
            self.optimizer,
            lambda found: self.team.first(lambda: found),
            fabric.strategy.precision.load_state_dict,
        )
        self._ids, self._count, self._watchers = faces.ids, len(faces), watchers
        self._sums = {name: self._own(sums) for name, sums in self.place.sums.items()}
        self._before = self.place.seconds
        self._started = self._saved = time.monotonic()
        self.stop, self.bar = stop, bar
        bar.total = recipe.epochs * self.steps
        bar.n = bar.initial = self.place.epoch * self.steps + self.place.step
        bar.refresh()

    def _quicken(self, network: nn.Module, faces: int) -> None:
        """On a GPU: have whole batches replayed, and compiled where the recipe says so.

        No graph can be recorded while another thread calls CUDA, as it does for streamed faces,
        nor inside of what several processes put around a network.
        """
        recipe = self.recipe
        if recipe.cuda_graphs and self.team.size == 1 and not self._supply.streamed:
            views = 2 if isinstance(recipe, PretrainRecipe) else 1
            # Where nn.Module.compile puts what is called in the network's place.
            network._compiled_call_impl = Replayed(network, views * faces, recipe.compile)
        elif recipe.compile:
            network.compile()

    @property
    def network(self) -> nn.Module:
        """The network itself, without what Fabric puts around it."""
        return self.model.module

    @property
    def steps(self) -> int:
        """Steps of one epoch."""
        return steps_per_epoch(self._count, self.recipe.batch_size, self.team.least)

    @property
    def seconds(self) -> float:
        """Wall time so far, without the time between two sittings."""
        return self._before + time.monotonic() - self._started

    def epoch(self, measure: Measure) -> dict[str, float]:
        """Train for what is left of an epoch; the mean of everything measured in all of it."""
        place = self.place
        self._say_other_threads()
        self.model.train()
        set_learning_rate(self.optimizer, self.recipe.learning_rate_at(place.epoch))
        for batch in self._supply.batches(place.epoch, place.step):
            asked, due = self._step(batch, *measure(batch))
            place.step = batch.step + 1
            self.bar.update()
            if asked or due:
                saved = self.save()
            if asked:
                self.stop.asked = True
                self.stop.obey(saved)
        self._gather()
        return {name: sum(sums) / self._count for name, sums in place.sums.items()}

    def _say_other_threads(self) -> None:
        """Once, and where anything is left to train; on a GPU its own threads do the sums."""
        before, now = self._checkpoints.threads, torch.get_num_threads()
        if before not in (None, now) and self.fabric.device.type == "cpu":
            warnings.warn(
                f"the run in {self._folder} was computed with torch.get_num_threads() {before} and "
                f"goes on with {now}, which sum in another order; for the weights of a run that "
                f"was never stopped, to the last bit, call torch.set_num_threads({before}) before.",
                stacklevel=2,
            )
        self._checkpoints.threads = None

    def _step(
        self, batch: Batch, objective: Tensor, measured: Mapping[str, Tensor]
    ) -> tuple[bool, bool]:
        """One step of the optimiser; whether somebody asked to stop, and whether to save."""
        reading = Reading(objective)
        self.optimizer.zero_grad()
        self.fabric.backward(objective)
        # Gradients of what is no number have reached no weight yet.
        value = reading.value()
        late = time.monotonic() - self._saved > self.recipe.save_every_seconds
        asked, due, broken = self.team.any(
            self.stop.asked, late and self.team.rank == 0, not math.isfinite(value)
        )
        if broken:
            ids = [self._ids[number] for number in batch.index.tolist()]
            refuse_loss(value, batch, ids, self._folder)
        self.optimizer.step()
        for name, mean in measured.items():
            if batch.step and name not in self._sums:
                continue  # the epoch began in an older version, which did not measure this
            self._sums[name] = self._sums.get(name, 0.0) + _double(mean) * len(batch.index)
        return asked, due

    def end_epoch(self, row: Mapping[str, Any]) -> None:
        """Add a row to the history, with what the watchers say, and go on to the next epoch."""
        place = self.place
        row = {"epoch": place.epoch + 1, **row, "seconds": self.seconds}
        row = self.team.first(lambda: watched(self._watchers, self.network, row))
        place.history.append(row)
        place.epoch, place.step, place.sums, self._sums = place.epoch + 1, 0, {}, {}
        shown = {name: value for name, value in row.items() if name in SHOWN}
        self.bar.set_postfix({name: f"{value:.3f}" for name, value in shown.items()})

    def save(self) -> bool | None:
        """Save where the run stands; where that fails it is said, and False; None if it has no
        folder.

        Raises:
            FloatingPointError: there is nothing worth saving, because the weights have diverged.
        """
        self._gather()
        (diverged,) = self.team.any(not all_finite(self.network))
        if diverged:
            refuse_weights(self.place, self.recipe)
        self.place.seconds = self.seconds
        self._saved = time.monotonic()
        if self._folder is None:
            return None
        scaler = self.fabric.strategy.precision.state_dict()
        try:
            self._checkpoints.save(self.place, self.model, self.optimizer, self.best, scaler)
        except OSError as failure:
            warnings.warn(
                f"the run could not be saved in epoch {self.place.epoch}, step {self.place.step} "
                f"({failure}); the states saved before are as they were, and it goes on: make room "
                f"for it in {self._folder}.",
                stacklevel=2,
            )
            return False
        return True

    def settle(self) -> None:
        """Give every process the first one's network, and let it run as it is written.

        Batch statistics may be each process's own until then; and a hook that is put on a network
        which is not run as it is written, such as Grad-CAM's, would not be called.
        """
        if self.network._compiled_call_impl is not None:
            self.network._compiled_call_impl = None
            self.optimizer.zero_grad()  # gradients lie in the record's memory
            gc.collect()  # PyTorch holds a record in a circle of references
        if self.team.size > 1:
            self.network.load_state_dict(self.team.first(self.network.state_dict))

    def _gather(self) -> None:
        """Bring the sums of all processes together in :attr:`place`."""
        names = list(self._sums)
        if names:
            mine = torch.stack([torch.as_tensor(self._sums[name]).cpu() for name in names])
            each = self.team.each(mine).T.tolist()
            self.place.sums = dict(zip(names, each, strict=True))

    def _own(self, sums: list[float] | float) -> Tensor:
        return torch.atleast_1d(torch.tensor(sums, dtype=torch.float64))[self.team.rank]


@contextmanager
def running(
    network: nn.Module,
    faces: FaceSet,
    recipe: PretrainRecipe | FinetuneRecipe,
    inputs: Mapping[str, Any],
    folder: str | Path | None,
    fabric: Fabric,
    watchers: Sequence[Watcher] = (),
    name: str = "",
    progress: bool = True,
) -> Iterator[Run]:
    """A run that can be stopped; what is inside of the block trains it, leaving saves it.

    Args:
        network: initialised; where the folder holds a run, it is overwritten by its weights.
        inputs: what else decides the outcome, such as hashes of the faces, as JSON values.
        name: of the bar that ``progress`` shows.

    Raises:
        BlockingIOError: another process is training the run of this folder.
        ValueError: the folder holds a run of another recipe.
    """
    keep_memory()
    begin_peak()
    bar = tqdm(desc=name, unit="step", disable=not (progress and is_first_process()))
    several = fabric.world_size > 1
    own = nullcontext()
    if folder is not None and fabric.is_global_zero:
        Path(folder).mkdir(parents=True, exist_ok=True)
        own = locked(Path(folder) / "run.lock", TAKEN.format(folder))
    with own, stop_on_interrupt(patient=several) as stop, bar, memory_explained(recipe):
        run = Run(network, faces, recipe, inputs, folder, fabric, watchers, stop, bar)
        yield run
        saved = run.save()
        (stop.asked,) = run.team.any(stop.asked)
        stop.obey(saved)


def _double(mean: Tensor) -> Tensor:
    """In double precision, where the device has that."""
    mean = mean.detach()
    return mean.double() if mean.device.type in ("cpu", "cuda") else mean.cpu().double()
