"""Records: what a run did, with what, and what came out, so that anyone can check every number.

A record is one small JSON file; beside it lie the predictions for each face, from which its
accuracy, the interval and any paired test can be computed again.
"""

import functools
import json
import math
import platform
import subprocess
import sys
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tokenize import TokenError
from typing import Any
from zipfile import BadZipFile

import torch

import occfer
from occfer.engine.conditions import Conditions, load_predictions
from occfer.engine.evaluate import Predictions
from occfer.engine.measurements import Measurements
from occfer.engine.team import is_first_process
from occfer.files import write_atomically
from occfer.recipes import TIER, from_dict

PACKAGES = ("torch", "torchvision", "timm", "lightning-fabric", "numpy", "scikit-learn")

DAMAGE = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    EOFError,
    RuntimeError,  # and what it stands for: NotImplementedError, RecursionError
    BadZipFile,
    TokenError,
    zlib.error,
)
"""What reading damaged files may raise."""
OF_A_RUN = {
    "experiment": str,
    "name": str,
    "tier": str,
    "recipe": dict,
    "data": dict,
    "environment": dict,
    "seconds": float | int,
    "history": list,
    "metrics": dict,
}
"""What the record of a training states, and of which type."""

SAME = 1e-6
"""How far an accuracy may lie from the same one, computed again."""


@dataclass(frozen=True)
class Record:
    """One run: the JSON values and, where the run scored faces, what was found of each of them."""

    values: dict[str, Any]
    predictions: Predictions | Conditions | Measurements | None = None

    @property
    def name(self) -> str:
        return self.values["name"]

    @property
    def metrics(self) -> dict[str, Any]:
        return self.values["metrics"]

    def results(self) -> Iterator[tuple[str, float, tuple[float, float]]]:
        """What came out, one by one: its name, the value, and the ends of its 95 % interval.

        Accuracies by condition (``""`` where there is one alone), or the mean of each measure.
        """
        several = {"": self.metrics} if "accuracy" in self.metrics else self.metrics
        for condition, found in several.items():
            if "accuracy" in found:
                yield condition, found["accuracy"], tuple(found["accuracy_interval_95"])
                continue
            for name, each in found.items():
                if each["count"]:
                    yield f"{condition} {name}", each["mean"], tuple(each["interval_95"])

    def save(self, folder: str | Path) -> Path:
        """Write ``<folder>/<experiment>/<name>.json`` and ``<name>.npz`` beside it.

        Of several processes only the first one writes.
        """
        path = Path(folder) / self.values["experiment"] / f"{self.name}.json"
        if not is_first_process():
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.predictions is not None:
            self.predictions.save(path.with_suffix(".npz"))
        write_atomically(path, (json.dumps(self.values, indent=1) + "\n").encode())
        return path

    @staticmethod
    def load(path: str | Path) -> "Record":
        """Read a record and, where they exist, its predictions."""
        path = Path(path)
        predictions = path.with_suffix(".npz")
        try:
            values = dict(json.loads(path.read_text()))
            refuse_unfit(values)
            found = load_predictions(predictions) if predictions.exists() else None
            own = found is None or of_one_run(values, found)
            lost = found is None and trained(values) and bool(values["metrics"])
            recipe = values["recipe"] if trained(values) else None
        except FileNotFoundError:
            raise
        except DAMAGE as damage:
            raise ValueError(
                f"{path} and {predictions.name} beside it should be the record of a run, but are "
                "damaged; copy them again, or move both away to record the run anew."
            ) from damage
        if not own:
            raise ValueError(
                f"{path} should stand beside its own predictions, but {predictions.name} gives "
                "other accuracies; copy both again, or move both away to record the run anew."
            )
        if lost:
            raise ValueError(
                f"{path} should have its predictions beside it, but {predictions.name} is not "
                "there; copy it too, or move the record away to record the run anew."
            )
        if recipe is not None:
            try:
                from_dict(recipe)
            except ValueError as other:
                raise ValueError(f"{path} states a recipe that cannot be read: {other}") from other
        return Record(values, found)


def trained(values: Mapping[str, Any]) -> bool:
    """Whether a record is that of a training."""
    return bool(values.keys() & {"history", "row", "seed"})


def refuse_unfit(values: Mapping[str, Any]) -> None:
    """Refuse what lacks something that its readers rely on.

    A record of a training tells of its recipe. Others, such as of a count of duplicates or of a
    measured speed, say at least what they were made with.
    """
    needed = OF_A_RUN if trained(values) else {"environment": dict}
    for name, kind in needed.items():
        if not isinstance(values.get(name), kind):
            raise TypeError(f"{name} is not there, or of another type")
    sets = values["data"].values() if "tier" in values else ()
    if not all(isinstance(faces["sha256"], str) for faces in sets):
        raise TypeError("every set of faces should have its hash")


def of_one_run(values: Mapping[str, Any], found: Predictions | Conditions | Measurements) -> bool:
    """Whether predictions give the accuracies that a record states, condition by condition."""
    stated = values["metrics"]
    if isinstance(found, Measurements):
        return set(found.values) == {name for name, of in stated.items() if of}
    if isinstance(found, Predictions):
        stated, found = {"": stated}, {"": found}
    return set(found) == set(stated) and all(
        abs(stated[condition].get("accuracy", -1) - each.accuracy) < SAME
        for condition, each in found.items()
    )


def make_record(
    experiment: str,
    name: str,
    recipe: Mapping[str, Any],
    data: Mapping[str, Mapping[str, Any]],
    history: list[dict[str, Any]],
    seconds: float,
    predictions: Predictions | Conditions | Measurements | None = None,
    tier: str = TIER,
    **more: Any,
) -> Record:
    """Gather what a run leaves behind.

    Args:
        experiment, name: where the record belongs, such as ``table1`` and
            ``fer2013-laptop-OCL+Res18-seed0``.
        recipe: :func:`occfer.recipes.as_dict` of the recipe.
        data: the role of each set (``train``, ``test``, …) → :meth:`FaceSet.describe`.
        history: one row per epoch.
        seconds: wall time of the training.
        predictions: on the scored split; its metrics stand in the record, by condition
            where there are several.
        more: anything else the experiment has to say, as JSON values.
    """
    peak = peak_memory(of_run=True)
    values = {
        "experiment": experiment,
        "name": name,
        "tier": tier,
        "seed": recipe.get("seed"),
        "recipe": dict(recipe),
        "data": {role: dict(description) for role, description in data.items()},
        "environment": environment(),
        "seconds": seconds,
        "peak_memory_bytes": None if math.isnan(peak) else peak,
        "history": history,
        "metrics": predictions.metrics() if predictions is not None else {},
        **more,
    }
    return Record(json.loads(json.dumps(values)), predictions)


@functools.cache
def environment() -> dict[str, Any]:
    """Code, versions and device, without the name of the machine.

    Read once a process: a file that changes while a run is under way is not the code that ran.
    """
    return {
        "occfer": own_version(),
        "commit": code_commit(),
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else processor(),
        "threads": torch.get_num_threads(),
    }


def own_version() -> str:
    """The library's version, which only an installation states."""
    try:
        return occfer.__version__
    except AttributeError as missing:
        raise ImportError(
            "occfer should be installed, so that a record can name its version, but only its files "
            f"are there; run pip install -e {Path(occfer.__file__).parents[1]}."
        ) from missing


def code_commit() -> str | None:
    """The commit of the library's checkout, ``+`` added where files differ; None outside of one.

    Whoever installs the library into a folder of their own repository has another one's commit.
    """
    here = Path(occfer.__file__).parent
    git = ["git", "-C", str(here)]
    try:
        subprocess.run(
            [*git, "ls-files", "--error-unmatch", "__init__.py"], capture_output=True, check=True
        )
        commit = subprocess.run(
            [*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        )
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--", "."], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit.stdout.strip() + ("+" if changed.stdout.strip() else "")


def processor() -> str:
    """The CPU's name as the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


_peaks = [0]
"""Of the GPU, in bytes, in the runs before the last one."""


def begin_peak() -> None:
    """A run begins: what its record states of a GPU's memory is its own."""
    if torch.cuda.is_available():
        _peaks.append(torch.cuda.max_memory_allocated())
        torch.cuda.reset_peak_memory_stats()


def peak_memory(of_run: bool = False) -> float:
    """The most memory this process has held, in bytes: the GPU's where there is one.

    NaN on Windows without a GPU, where Python has no :mod:`resource` to tell it.

    Args:
        of_run: since the last run began, which can be told of a GPU only.
    """
    if torch.cuda.is_available():
        earlier = 0 if of_run else max(_peaks)
        return max(earlier, torch.cuda.max_memory_allocated())
    try:
        import resource
    except ImportError:
        return math.nan
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
