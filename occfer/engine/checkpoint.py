"""Checkpoints: safetensors for the numbers, JSON for the words; nothing is unpickled.

A training state is written beside the one before it and becomes valid only when its JSON file,
which holds the SHA-256 of the tensors, is renamed into place. Whatever is damaged or half
written is recognised, said, and passed over for the state before.
"""

import hashlib
import json
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from occfer.files import load_tensors, save_tensors, write_atomically

KEPT = 2
STATE = re.compile(r"state-\d{6,}\.(json|safetensors)")
HOW = {"compile", "cuda_graphs", "save_every_seconds"}
"""Fields that say how a machine gets to the same numbers; a run may go on with others."""
DRAFT = re.compile(r"\.(recipe\.json|history\.csv|state-\d{6,}\.(json|safetensors))\.\d+")
"""What a run calls its files while it writes them; nothing else in its folder is touched."""


@dataclass
class Place:
    """Where a run stands: the next epoch and step, and what it has learnt about itself so far.

    ``sums`` are the epoch's so far, one of each process by name.
    """

    epoch: int = 0
    step: int = 0
    sums: dict[str, list[float]] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int | None = None
    best_accuracy: float = -1.0
    seconds: float = 0.0


class Checkpoints:
    """The saved states of one run, in one folder.

    Args:
        folder: of the run; ``None`` saves nothing.
        recipe: what the run does, as plain JSON values. A folder that holds states or the network
            of another recipe is refused rather than mixed up, and so are states without a recipe.
        defaults: what a field means that the folder's recipe lacks, being older than the field.
    """

    def __init__(
        self,
        folder: str | Path | None,
        recipe: Mapping[str, Any],
        defaults: Mapping[str, Any] | None = None,
    ):
        self.folder = None if folder is None else Path(folder)
        self.recipe = json.loads(json.dumps(recipe))
        self.threads: int | None = None
        """With how many threads the state was computed that was resumed, where it says so."""
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        stated = self.folder / "recipe.json"
        if self._states() and not stated.exists():
            raise ValueError(
                f"{self.folder} holds states of a run, but not the recipe.json that says of which; "
                "choose another folder, or delete this one to train again."
            )
        if stated.exists() and (self._states() or (self.folder / "model").exists()):
            found = json.loads(json.dumps(defaults or {})) | _recipe(stated)
            if differ := _differences(found, self.recipe):
                raise ValueError(
                    f"{self.folder} holds a run of another recipe (differs in "
                    f"{', '.join(differ)}); choose another folder or delete it."
                )
        else:
            write_atomically(stated, json.dumps(self.recipe, indent=1, sort_keys=True).encode())
        drafts = (path for path in self.folder.glob(".*.*") if DRAFT.fullmatch(path.name))
        for remnant in (*drafts, *self._unfinished()):
            remnant.unlink()  # a process was killed while it wrote this

    def save(
        self,
        place: Place,
        model: nn.Module,
        optimizer: Optimizer,
        best: Mapping[str, Tensor] | None = None,
        scaler: Mapping[str, Any] | None = None,
    ) -> None:
        """Write one more state; the oldest beyond the last two is removed afterwards.

        Args:
            best: the weights to go back to at the end.
            scaler: the state of what scales the loss in half precision, as plain JSON values.

        Raises:
            OSError: the state could not be written; those before it are as they were.
        """
        if self.folder is None:
            return
        tensors = {f"model.{key}": value for key, value in model.state_dict().items()}
        tensors |= {f"best.{key}": value for key, value in (best or {}).items()}
        optimizer_tensors, groups = _flatten_optimizer(optimizer)
        tensors |= optimizer_tensors
        number = max((int(path.stem.split("-")[1]) for path in self._states()), default=-1) + 1
        path = self.folder / f"state-{number:06d}.safetensors"
        digest = save_tensors(tensors, path)
        words = {
            "sha256": digest,
            "place": vars(place),
            "param_groups": groups,
            "scaler": dict(scaler or {}),
            "threads": torch.get_num_threads(),
        }
        words["words_sha256"] = _words_sha256(words)
        write_atomically(path.with_suffix(".json"), json.dumps(words).encode())
        for old in self._states()[:-KEPT]:
            old.unlink()
            old.with_suffix(".safetensors").unlink(missing_ok=True)

    def resume(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        share: Callable[[Any], Any] = lambda found: found,
        load_scaler: Callable[[Mapping[str, Any]], Any] = lambda state: None,
    ) -> tuple[Place, dict[str, Tensor] | None]:
        """Load the newest sound state into model and optimiser; a fresh place where none is.

        Args:
            share: with several processes, what gives all of them the first one's value; then
                only the first needs the folder.
            load_scaler: takes the scaler's state where one was saved.
        """
        words, tensors = share(self._newest()) or (None, None)
        if words is None:
            return Place(), None
        model.load_state_dict(_under("model.", tensors))
        optimizer.load_state_dict(_nested_optimizer(tensors, words["param_groups"]))
        _lay_out_like_parameters(optimizer)
        if words["scaler"]:
            load_scaler(words["scaler"])
        return words["place"], _under("best.", tensors) or None

    def _newest(self) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        for path in reversed(self._states()):
            try:
                words = json.loads(path.read_text())
                # A state that is older than this has no hash of its words.
                if words.pop("words_sha256", None) not in (None, _words_sha256(words)):
                    raise ValueError("its words are not those that were saved")
                needed = {
                    "place": Place(**words["place"]),
                    "param_groups": words["param_groups"],
                    "scaler": words.get("scaler"),
                }
                tensors = load_tensors(path.with_suffix(".safetensors"), words["sha256"])
                self.threads = words.get("threads")
                return needed, tensors
            except (
                OSError,
                ValueError,
                KeyError,
                TypeError,
                AttributeError,
                RecursionError,
            ) as damage:
                warnings.warn(f"{path} is passed over: {damage}", stacklevel=3)
        if self._states():
            warnings.warn(f"no state in {self.folder} is sound; it begins anew.", stacklevel=3)
        return None

    def _unfinished(self) -> list[Path]:
        """Tensors that no words make valid."""
        tensors = self.folder.glob("state-*.safetensors")
        return [
            path
            for path in tensors
            if STATE.fullmatch(path.name) and not path.with_suffix(".json").exists()
        ]

    def _states(self) -> list[Path]:
        found = self.folder.glob("state-*.json") if self.folder else []
        return sorted(path for path in found if STATE.fullmatch(path.name))


def _recipe(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, RecursionError) as damage:
        raise ValueError(
            f"{path} should say which run the folder holds, but is damaged ({damage}); choose "
            f"another folder, or delete {path.parent} to train again."
        ) from damage


def _words_sha256(words: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)
    }


def _flatten_optimizer(optimizer: Optimizer) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    state = optimizer.state_dict()
    tensors = {
        f"optimizer.{parameter}.{name}": torch.as_tensor(value)
        for parameter, values in state["state"].items()
        for name, value in values.items()
        if value is not None
    }
    return tensors, state["param_groups"]


def _nested_optimizer(tensors: Mapping[str, Tensor], groups: list[dict[str, Any]]) -> dict:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in _under("optimizer.", tensors).items():
        parameter, name = key.split(".", 1)
        state.setdefault(int(parameter), {})[name] = value
    return {"state": state, "param_groups": groups}


def _lay_out_like_parameters(optimizer: Optimizer) -> None:
    """Fused kernels walk through memory, so a moment has to lie there as its parameter does."""
    for parameter, values in optimizer.state.items():
        for name, value in values.items():
            if value.shape == parameter.shape:
                values[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _differences(found: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    names = (found.keys() | asked.keys()) - HOW
    return sorted(name for name in names if found.get(name) != asked.get(name))
