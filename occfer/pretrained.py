"""Networks that can be handed on: a folder of weights, words and a model card, or one on the Hub.

A folder holds ``model.safetensors``, ``config.json`` (which network, its options, the recipe, and
the weights' SHA-256) and ``README.md``, the model card. ``hf upload user/name FOLDER`` puts it on
the Hugging Face Hub as it is, and ``from_pretrained("user/name")`` reads it from there. Nothing in
it is ever executed, and what it says is checked before memory is taken.
"""

import functools
import importlib
import inspect
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from occfer.files import load_tensors, save_tensors, write_atomically
from occfer.modelcard import data_names, model_card
from occfer.randomness import seeded_modules
from occfer.recipes import Recipe, as_dict

WEIGHTS, WORDS, CARD = "model.safetensors", "config.json", "README.md"
MAX_WORDS, MAX_SIZE = 2**20, 4096
HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")


class Pretrained(nn.Module):
    """A network that remembers the options it was made with, so that it can be made again.

    Subclasses: :class:`occfer.FGW`, :class:`occfer.PlainClassifier`, :class:`occfer.Encoder`.
    """

    kinds: ClassVar[dict[str, type["Pretrained"]]] = {}

    def __init_subclass__(cls, **keywords):
        super().__init_subclass__(**keywords)
        make, signature = cls.__init__, inspect.signature(cls.__init__)
        kinds = {each.kind: name for name, each in signature.parameters.items()}
        if inspect.Parameter.VAR_POSITIONAL in kinds:
            raise TypeError(
                f"{cls.__name__} should name the options that it is made with, so that it can be "
                f"made again, but takes *{kinds[inspect.Parameter.VAR_POSITIONAL]}; name them."
            )
        others = kinds.get(inspect.Parameter.VAR_KEYWORD)
        Pretrained.kinds[cls.__name__] = cls

        @functools.wraps(make)
        def remember(self, *arguments, **options):
            make(self, *arguments, **options)
            given = signature.bind(self, *arguments, **options)
            given.apply_defaults()
            _, *named = given.arguments.items()
            self.options = {name: value for name, value in named if name != others}
            self.options |= given.arguments.get(others, {})

        cls.__init__ = remember

    @staticmethod
    def kind(name: str) -> type["Pretrained"] | None:
        """The class of that name, a subclass of somebody else's included; None where none is."""
        importlib.import_module("occfer.fgw")  # a class is known once its module is imported
        return Pretrained.kinds.get(name)

    def save_pretrained(
        self,
        folder: str | Path,
        recipe: Recipe | None = None,
        record: Any = None,
    ) -> Path:
        """Write weights, words and model card; other files of the folder stay.

        Args:
            folder: made where it is missing.
            recipe: how the network was trained; the record's where left out.
            record: the :class:`Record` of the run, or its ``values``, from which the card takes
                data and metrics. Without it the card says that they were not recorded.

        Raises:
            ValueError: the record does not say on which of its sets it was scored.
        """
        folder = Path(folder)
        if not isinstance(record, Mapping | None):
            record = getattr(record, "values", record)
            if not isinstance(record, Mapping):
                raise ValueError(
                    f"record should be the Record of a run, or its values, got {record!r}; read "
                    "one with occfer.engine.records.Record.load."
                )
        stated = (record or {}).get("recipe") if recipe is None else as_dict(recipe)
        words = {
            "library": "occfer",
            "network": type(self).__name__,
            "options": self.options,
            "recipe": stated,
            "data": data_names(record) if record else None,
        }
        # Names tell people what a network learnt from; hashes tell programs.
        sets = (record or {}).get("data", {})
        words["faces"] = {role: each["sha256"] for role, each in sets.items() if "sha256" in each}
        # Before anything is written: a record that gives no card leaves the folder as it is.
        card = model_card(words, record or {}).encode("utf-8", "backslashreplace")
        # The options stand in the weights' file too, and so under its hash.
        options = stated_options(type(self).__name__, self.options)
        folder.mkdir(parents=True, exist_ok=True)
        words["sha256"] = save_tensors(self.state_dict(), folder / WEIGHTS, options)
        write_atomically(folder / WORDS, (json.dumps(words, indent=1) + "\n").encode())
        write_atomically(folder / CARD, card)
        return folder

    @classmethod
    def from_pretrained(cls, name: str | Path, revision: str | None = None) -> "Pretrained":
        """The network of a folder, or of ``user/name`` on the Hugging Face Hub, for evaluation.

        Args:
            name: a folder that :meth:`save_pretrained` wrote, or a name on the Hub.
            revision: branch, tag or commit on the Hub.

        Raises:
            FileNotFoundError: there is nothing of that name.
            ValueError: it is damaged, does not fit together, or holds another kind of network.
        """
        folder = _folder(name, revision)
        network, options, sha256 = _words(folder)
        kind = Pretrained.kind(network)
        if kind is None or not issubclass(kind, cls):
            wanted = " or ".join(cls.kinds) if cls is Pretrained else cls.__name__
            raise ValueError(
                f"{name} should hold a network of kind {wanted}, but holds a {network!r}; read it "
                "with occfer.load_model, or pass another folder."
            )
        _check_fit(kind, options, folder)
        tensors = load_tensors(folder / WEIGHTS, sha256)
        with seeded_modules(0):
            model = kind(**options)
        model.load_state_dict(tensors)
        return model.eval()


def _folder(name: str | Path, revision: str | None) -> Path:
    folder = Path(name)
    if folder.exists() or not (isinstance(name, str) and HUB_NAME.fullmatch(name)):
        return folder
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        files = [hf_hub_download(name, file, revision=revision) for file in (WORDS, WEIGHTS)]
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as failure:
        why = str(failure).strip().splitlines() or [type(failure).__name__]
        raise FileNotFoundError(
            f"{name} should hold {WORDS} and {WEIGHTS}, as a folder here or on the Hugging Face "
            f"Hub, but cannot be read ({why[0]}); look at the name and the connection."
        ) from failure
    return Path(files[0]).parent


def learnt_from(name: str | Path) -> list[str] | None:
    """Names of the data sets that a saved network learnt from; None where that was not recorded."""
    path = _folder(name, None) / WORDS
    try:
        found = json.loads(path.read_text(encoding="utf-8")).get("data") if path.is_file() else None
        return None if found is None else [str(each) for each in found]
    except (ValueError, AttributeError, TypeError, RecursionError):
        return None  # whoever reads the network says that its words are damaged


def _words(folder: Path) -> tuple[str, dict[str, Any], str]:
    """Kind of network, its options, and the SHA-256 of its weights."""
    path = folder / WORDS
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} should hold {WORDS} and {WEIGHTS}, but {WORDS} is not there; pass the "
            "folder that occfer pretrain or occfer finetune wrote."
        )
    try:
        if path.stat().st_size > MAX_WORDS:
            raise ValueError(f"more than {MAX_WORDS} bytes")
        words = json.loads(path.read_text(encoding="utf-8"))
        network, options, sha256 = words["network"], dict(words["options"]), str(words["sha256"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as damage:
        raise ValueError(
            f"{path} should say which network the folder holds, with its options and a SHA-256, "
            f"but is damaged ({damage!r}); save the network again."
        ) from damage
    if "pretrained" in options:
        options["pretrained"] = False  # the weights are here: none are downloaded first
    return str(network), options, sha256


def _check_fit(kind: type[Pretrained], options: Mapping[str, Any], folder: Path) -> None:
    """Compare a network without memory, on the meta device, with what the weights' file states."""
    try:
        size = options.get("size", 1)
        if type(size) is not int or not 0 < size <= MAX_SIZE:
            raise ValueError(f"its pictures should have 1 to {MAX_SIZE} pixels a side")
        with torch.device("meta"):
            expected = kind(**options).state_dict()
    except Exception as misfit:  # whatever a stranger's options bring about
        raise ValueError(
            f"{folder / WORDS} should hold the options of a {kind.__name__}, but none can be made "
            f"of them ({misfit}); save the network again."
        ) from misfit
    if not (folder / WEIGHTS).is_file():
        raise FileNotFoundError(f"{folder} should hold {WEIGHTS}, which is not there.")
    try:
        with safe_open(folder / WEIGHTS, "pt") as file:
            slices = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118
            found = {
                key: (tuple(each.get_shape()), each.get_dtype().startswith(("F", "BF")))
                for key, each in slices.items()
            }
            stated = (file.metadata() or {}).get("occfer")
    except (SafetensorError, OSError) as damage:
        raise ValueError(
            f"{folder / WEIGHTS} should be a safetensors file, but: {damage}."
        ) from damage
    if found != _layout(expected):
        raise ValueError(
            f"the weights in {folder} do not fit the recipe beside them; save the model again."
        )
    # Files that are older than this state no options.
    if stated not in (None, stated_options(kind.__name__, options)["occfer"]):
        raise ValueError(
            f"{folder / WORDS} should hold the options that the weights were saved with, but they "
            "differ; save the network again, or copy both files again."
        )


def stated_options(network: str, options: Mapping[str, Any]) -> dict[str, str]:
    """A network and its options, as metadata of the weights' file."""
    kept = {name: value for name, value in options.items() if name != "pretrained"}
    return {"occfer": json.dumps([network, kept], sort_keys=True)}


def _layout(state: Mapping[str, Tensor]) -> dict[str, tuple[tuple[int, ...], bool]]:
    """Shapes, and which numbers have a point: those may come in any precision."""
    return {key: (tuple(value.shape), value.is_floating_point()) for key, value in state.items()}
