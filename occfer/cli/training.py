"""Networks: ``occfer pretrain``, ``finetune``, ``evaluate``, ``predict`` and ``export``."""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

import tyro

from occfer import recipes
from occfer.cli.common import Faces, Split, placed, run_name, say
from occfer.data.align import SIZE
from occfer.data.camera import frames
from occfer.data.extract import Choice
from occfer.data.faceset import FaceSet
from occfer.data.pictures import BadPicture
from occfer.engine.curves import Curves
from occfer.engine.evaluate import evaluate
from occfer.engine.export import export_onnx
from occfer.engine.finetune import finetune
from occfer.engine.models import load_classifier, load_encoder, save_model
from occfer.engine.predict import NoFace, files, predict
from occfer.engine.pretrain import build_views, pretrain
from occfer.engine.probes import Probes
from occfer.engine.records import make_record
from occfer.experiments import table1
from occfer.files import writable
from occfer.plots import save_curves
from occfer.pretrained import learnt_from


@dataclass
class Pretrain(Faces):
    """Learn an encoder from the faces of the training split, without their labels (OCL)."""

    out: Path = Path("runs/ocl")
    """Checkpoints, history.csv and tensorboard/; then curves.png, and the encoder in OUT/model."""
    probe_every: int = 1
    """Epochs between two looks at what labelled faces say of the encoder; 0 for none."""
    recipe: recipes.PretrainRecipe = recipes.pretraining()

    def run(self) -> None:
        name = run_name(self.out)
        splits = table1.Splits(*(self.load(split) for split in ("train", "val", "test")))
        pool = splits.pool
        watchers = [*self._probes(pool, splits.validation), Curves(self.out)]
        result = pretrain(pool, self.recipe, run=self.out, watchers=watchers)
        record = make_record(
            "pretrain",
            name,
            recipes.as_dict(self.recipe),
            {"pool": pool.describe()},
            result.history,
            result.seconds,
        )
        folder = save_model(result.encoder, self.recipe, self.out / "model", record.values)
        say(f"encoder: {folder}\nrecord: {record.save(self.out)}")
        save_curves(result.history, self.out)

    def _probes(self, *splits: FaceSet) -> list[Probes]:
        labelled = [faces[faces.labels >= 0] for faces in splits]
        if not self.probe_every or min(map(len, labelled)) < 2:
            return []
        views, recipe = build_views(self.recipe), self.recipe
        return [Probes(*labelled, views, recipe.network.size, recipe.seed, self.probe_every)]


@dataclass
class Finetune(Faces):
    """Train a classifier on the training split; the validation split chooses the epoch."""

    encoder: str | None = None
    """A pre-trained encoder: a folder, such as runs/ocl/model, or user/name on the Hugging Face
    Hub."""
    start: str | None = None
    """A classifier to go on from, in place of an encoder: a folder, or user/name on the Hugging
    Face Hub. Its config.json holds the recipe that fits it."""
    out: Path = Path("runs/classifier")
    """Checkpoints, history.csv and tensorboard/; then curves.png, and the network in OUT/model."""
    recipe: recipes.FinetuneRecipe = recipes.finetuning()

    def run(self) -> None:
        name = run_name(self.out)
        encoder = None if self.encoder is None else load_encoder(self.encoder)
        start = None if self.start is None else load_classifier(self.start)
        train, validation = self.load("train"), self.load("val")
        result = finetune(
            train, validation, self.recipe, encoder,
            run=self.out, watchers=[Curves(self.out)], start=start,
        )  # fmt: skip
        before = self.encoder or self.start
        origin = {} if before is None else {"name": str(before), "data": learnt_from(before)}
        record = make_record(
            "finetune",
            name,
            recipes.as_dict(self.recipe),
            {"train": train.describe(), "validation": validation.describe()},
            result.history,
            result.seconds,
            evaluate(result.model, validation),
            scored="validation",
            best_epoch=result.best_epoch,
            **({"origin": origin} if origin else {}),
        )
        folder = save_model(result.model, self.recipe, self.out / "model", record.values)
        say(f"model: {folder}\nrecord: {record.save(self.out)}")
        save_curves(result.history, self.out)


@dataclass
class Evaluate(Faces):
    """Score a network on one split."""

    model: str = "runs/classifier/model"
    """A folder, or user/name on the Hugging Face Hub."""
    split: Split = "test"
    device: str = "cpu"
    """Of the network, such as cuda."""
    predictions: Path | None = None
    """Also write what the network said of every face to this .npz file."""

    def run(self) -> None:
        if self.predictions is not None:
            writable(self.predictions)
        network = placed(load_classifier(self.model), self.device)
        found = evaluate(network, self.load(self.split))
        if self.predictions is not None:
            found.save(self.predictions)
        metrics = found.metrics() | {"calibration_error": found.calibration_error()}
        print(json.dumps(metrics, indent=1))


@dataclass
class Predict:
    """Name the expression of every face on pictures, in folders, or before a camera."""

    pictures: tyro.conf.Positional[tuple[str, ...]] = ()
    """Files, and folders of files at any depth."""
    model: str = "runs/classifier/model"
    """A folder, or user/name on the Hugging Face Hub."""
    camera: str | None = None
    """Number of a camera, 0 being the first, or a video file; Ctrl-C stops."""
    aligned: bool = False
    """Each picture is one face that is cut out already."""
    choice: Choice = field(default_factory=Choice)
    device: str = "cpu"
    """Of the network and of the search for faces, such as cuda."""

    def run(self) -> None:
        if (self.camera is None) == (not self.pictures):
            raise ValueError("predict takes either pictures or --camera; name one of the two.")
        if self.aligned and self.choice != Choice():
            raise ValueError(
                "--choice is for faces that are searched for, but --aligned says that each is cut "
                "out already; leave one of the two out."
            )
        network = placed(load_classifier(self.model), self.device)
        if self.camera is None:
            paths = [path for source in self.pictures for path in files(source)]
            said = sum(self._say(network, path, str(path), len(paths) == 1) for path in paths)
        else:
            shown = enumerate(frames(self.camera))
            said = sum(self._say(network, frame, f"frame {number}") for number, frame in shown)
        if not said:
            sys.exit(1)

    def _say(self, network, source, name: str, alone: bool = False) -> bool:
        """Whether an expression was named on a picture."""
        try:
            found = predict(network, source, self.aligned, self.choice)
        except (ValueError, OSError) as failure:
            # Among many pictures one without a face, or a broken one, stops nothing.
            if alone or not isinstance(failure, NoFace | BadPicture | OSError):
                raise
            what = "no face" if isinstance(failure, NoFace) else "not read"
            say(f"{name}\t{what}\t{failure}")
            return False
        for emotion, probabilities in zip(found.emotions, found.probabilities, strict=True):
            say(f"{name}\t{emotion}\t{probabilities.max().item():.3f}")
        return True


@dataclass
class Export:
    """Write a network as one ONNX file, for machines without PyTorch."""

    model: str = "runs/classifier/model"
    """A folder, or user/name on the Hugging Face Hub."""
    out: Path = Path("model.onnx")
    side: int = SIZE
    """Of the square pictures that the file takes, in pixels."""

    def run(self) -> None:
        print(f"onnx: {export_onnx(load_classifier(self.model), self.out, self.side)}")
