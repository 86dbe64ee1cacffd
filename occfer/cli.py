"""The command line: ``occfer pretrain``, ``finetune``, ``evaluate``, ``predict``, ``crawl`` ...

Every field of a recipe is an option, by its own name; the defaults are those of the tier.
"""

import io
import itertools
import json
import os
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from occfer import recipes
from occfer.data import crawl, load_faces, obtain
from occfer.data.align import SIZE
from occfer.data.camera import frames
from occfer.data.cluster import OnRay
from occfer.data.duplicates import DISTANCE, drop_leaks
from occfer.data.extract import Choice, extract, one_by_one
from occfer.data.faceset import FaceSet
from occfer.data.folder import write_pictures
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
from occfer.engine.team import is_first_process
from occfer.experiments import datacard, duplicates, occlusion_ferplus, table1
from occfer.experiments.reproduce import EXPERIMENTS, reproduce
from occfer.files import writable, write_atomically
from occfer.memory import keep_memory
from occfer.occlusion import testsets
from occfer.plots import show_history, style

Split = Literal["train", "val", "test"]


@dataclass
class Data:
    """Where faces come from."""

    data: str = "synthfer"
    """synthfer, fer2013, ferplus, rafdb, or a folder with one folder per expression."""
    root: Path | None = None
    """Where the data set lies; OCCFER_DATA where left out."""


@dataclass
class Pretrain(Data):
    """Learn an encoder from the faces of the training split, without their labels (OCL)."""

    out: Path = Path("runs/ocl")
    """Checkpoints, history.csv and tensorboard/; then curves.png, and the encoder in OUT/model."""
    probe_every: int = 1
    """Epochs between two looks at what labelled faces say of the encoder; 0 for none."""
    recipe: recipes.PretrainRecipe = recipes.pretraining()

    def run(self) -> None:
        splits = table1.load_splits(self.data, self.root)
        pool = drop_leaks(splits.train, splits.validation, splits.test)
        watchers = [*self._probes(pool, splits.validation), Curves(self.out)]
        result = pretrain(pool, self.recipe, run=self.out, watchers=watchers)
        record = make_record(
            "pretrain",
            self.out.name,
            recipes.as_dict(self.recipe),
            {"pool": pool.describe()},
            result.history,
            result.seconds,
        )
        folder = save_model(result.encoder, self.recipe, self.out / "model", record.values)
        say(f"encoder: {folder}\nrecord: {record.save(self.out)}")
        draw(result.history, self.out)

    def _probes(self, *splits: FaceSet) -> list[Probes]:
        labelled = [faces[faces.labels >= 0] for faces in splits]
        if not self.probe_every or min(map(len, labelled)) < 2:
            return []
        views, recipe = build_views(self.recipe), self.recipe
        return [Probes(*labelled, views, recipe.network.size, recipe.seed, self.probe_every)]


@dataclass
class Finetune(Data):
    """Train a classifier on the training split; the validation split chooses the epoch."""

    encoder: Path | None = None
    """Folder of a pre-trained encoder, such as runs/ocl/model."""
    start: str | None = None
    """A classifier to go on from, in place of an encoder: a folder, or user/name on the Hugging
    Face Hub. Its config.json holds the recipe that fits it."""
    out: Path = Path("runs/classifier")
    """Checkpoints, history.csv and tensorboard/; then curves.png, and the network in OUT/model."""
    recipe: recipes.FinetuneRecipe = recipes.finetuning()

    def run(self) -> None:
        train, validation = (load_faces(self.data, s, self.root) for s in ("train", "val"))
        encoder = None if self.encoder is None else load_encoder(self.encoder)
        start = None if self.start is None else load_classifier(self.start)
        result = finetune(
            train, validation, self.recipe, encoder,
            run=self.out, watchers=[Curves(self.out)], start=start,
        )  # fmt: skip
        record = make_record(
            "finetune",
            self.out.name,
            recipes.as_dict(self.recipe),
            {"train": train.describe(), "validation": validation.describe()},
            result.history,
            result.seconds,
            evaluate(result.model, validation),
            scored="validation",
            best_epoch=result.best_epoch,
        )
        folder = save_model(result.model, self.recipe, self.out / "model", record.values)
        say(f"model: {folder}\nrecord: {record.save(self.out)}")
        draw(result.history, self.out)


@dataclass
class Evaluate(Data):
    """Score a network on one split."""

    model: Path = Path("runs/classifier/model")
    split: Split = "test"
    predictions: Path | None = None
    """Also write what the network said of every face to this .npz file."""

    def run(self) -> None:
        if self.predictions is not None:
            writable(self.predictions)
        found = evaluate(load_classifier(self.model), load_faces(self.data, self.split, self.root))
        if self.predictions is not None:
            found.save(self.predictions)
        metrics = found.metrics() | {"calibration_error": found.calibration_error()}
        print(json.dumps(metrics, indent=1))


@dataclass
class Predict:
    """Name the expression of every face on pictures, in folders, or before a camera."""

    pictures: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Files, and folders of files at any depth."""
    model: str = "runs/classifier/model"
    """A folder, or user/name on the Hugging Face Hub."""
    camera: str | None = None
    """Number of a camera, 0 being the first, or a video file; Ctrl-C stops."""
    aligned: bool = False
    """Each picture is one face that is cut out already."""
    choice: Choice = field(default_factory=Choice)

    def run(self) -> None:
        if (self.camera is None) == (not self.pictures):
            raise ValueError("predict takes either pictures or --camera; name one of the two.")
        network = load_classifier(self.model)
        if self.camera is None:
            paths = [path for source in self.pictures for path in files(source)]
            for path in paths:
                self._say(network, path, str(path), alone=len(paths) == 1)
            return
        for number, frame in enumerate(frames(self.camera)):
            self._say(network, frame, f"frame {number}")

    def _say(self, network, source, name: str, alone: bool = False) -> None:
        try:
            found = predict(network, source, self.aligned, self.choice)
        except (ValueError, OSError) as failure:
            # Among many pictures one without a face, or a broken one, stops nothing.
            if alone or not isinstance(failure, NoFace | BadPicture | OSError):
                raise
            what = "no face" if isinstance(failure, NoFace) else "not read"
            say(f"{name}\t{what}\t{failure}")
            return
        for emotion, probabilities in zip(found.emotions, found.probabilities, strict=True):
            say(f"{name}\t{emotion}\t{probabilities.max().item():.3f}")


@dataclass
class Export:
    """Write a network as one ONNX file, for machines without PyTorch."""

    model: Path = Path("runs/classifier/model")
    out: Path = Path("model.onnx")
    side: int = SIZE
    """Of the square pictures that the file takes, in pixels."""

    def run(self) -> None:
        print(f"onnx: {export_onnx(load_classifier(self.model), self.out, self.side)}")


@dataclass
class Reproduce(Data):
    """Run what is still missing of an experiment, seed after seed, and record it.

    The same command goes on with what was stopped, also on another machine to which the folder
    OUT was copied. occlusion-ferplus trains nothing: it scores the predictions of Table 1 that
    are recorded for FER2013 on the really occluded faces of RAN's list.
    """

    experiment: tyro.conf.Positional[
        Literal[*EXPERIMENTS, "datacard", occlusion_ferplus.EXPERIMENT]
    ] = "table1"
    tier: recipes.Tier = recipes.TIER
    seeds: int = 1
    rows: tuple[str, ...] | None = None
    """Rows of Table 1 and its controls, SIFT, LBP or HOG in Figure 3, readings, or measurements of
    the data card; the experiment's own choice where left out."""
    minutes: float | None = None
    """Stop after so many, with everything saved."""
    shrink: bool | None = None
    """Cut all epochs to one share, so that one seed fits into MINUTES; the paper tier does, the
    others do not, where left out. The data card keeps all epochs."""
    plan: bool = False
    """Only say what is there, what is missing, and how long it would take."""
    out: Path | None = None
    """One folder for everything, in place of RESULTS and RUNS."""
    results: Path = table1.RESULTS
    """Records and predictions."""
    runs: Path = Path("runs")
    """Checkpoints and networks."""

    def run(self) -> None:
        if self.out is not None:
            self.results, self.runs = self.out / "results", self.out / "runs"
        if self.experiment == occlusion_ferplus.EXPERIMENT:
            record = occlusion_ferplus.measure(self.data, self.tier, self.root, self.results)
            for labels in occlusion_ferplus.LABELS:
                print(f"labels: {labels}\n{occlusion_ferplus.as_markdown(record, labels)}")
            return
        chosen = {} if self.rows is None else {"rows": self.rows}
        where = dict(root=self.root, results=self.results, runs=self.runs)
        time = dict(minutes=self.minutes, dry=self.plan)
        if self.experiment == "datacard":
            if self.shrink:
                raise ValueError(
                    "the data card's networks keep all their epochs, but --shrink would cut them; "
                    "leave it out: with --minutes the run is stopped and saved, and the same "
                    "command goes on."
                )
            records = datacard.reproduce(
                self.data, self.tier, self.seeds, **where, **time, **chosen
            )
        else:
            records = reproduce(
                self.experiment, self.data, self.tier, self.seeds,
                shrink=self.shrink, **where, **time, **chosen,
            )  # fmt: skip
        for record in records:
            for what, value, (low, high) in record.results():
                name = f"{record.name} {what}".strip()
                print(f"{name}\t{value:.4f}\t[{low:.4f}, {high:.4f}]")


@dataclass
class Crawl:
    """Collect pictures from the internet; the same command goes on with one that was stopped."""

    contact: str
    """An e-mail or web address of yours; the owner of every server that is asked can see it."""
    out: Path = Path("crawl")
    """Pictures, and the manifest that says of every URL where it came from and how it ended."""
    engine: tuple[Literal["openverse", "bing", "baidu"], ...] = ("openverse",)
    """Openverse finds openly licensed pictures only; the others say nothing of licences."""
    language: tuple[crawl.Language, ...] = ("en", "zh")
    """Of the keywords: 20 emotion words times 3 identity words in each."""
    keywords: Path | None = None
    """A text file with keywords of your own, one a line."""
    quota: int = 100
    """Pictures per keyword and engine."""
    token: str = ""
    """Access token of an application registered with Openverse; $OPENVERSE_TOKEN if left out."""
    base_url: str | None = None
    """Ask this address instead of the engine's own."""
    allowed: tuple[str, ...] = ()
    """ADDRESS:PORT that may be asked although it is not on the public internet."""
    again: bool = False
    """Also ask those once more that failed for a while."""
    limits: crawl.Limits = field(default_factory=crawl.Limits)
    pace: crawl.Pace = field(default_factory=crawl.Pace)

    def run(self) -> None:
        words = crawl.keywords(*self.language)
        if self.keywords is not None:
            words = crawl.read_keywords(self.keywords)
        base = {} if self.base_url is None else {"base_url": self.base_url}
        token = {"token": self.token or os.environ.get("OPENVERSE_TOKEN", "")}
        engines = [
            crawl.ENGINES[name](**base, **(token if name == "openverse" else {}))
            for name in self.engine
        ]
        summary = crawl.crawl(
            self.out, words, self.contact, engines, self.quota, self.limits, self.pace,
            self.allowed, self.again,
        )  # fmt: skip
        for status, count in summary.statuses.items():
            print(f"{status}\t{count}")
        for (engine, keyword), count in summary.stored.items():
            print(f"{count} of {self.quota}\t{engine}\t{keyword}")
        for (engine, keyword), why in summary.stopped.items():
            print(f"stopped\t{engine}\t{keyword}\t{why}")


@dataclass
class Align:
    """Find the faces on a folder of pictures, and align them; goes on where it was stopped."""

    folder: tyro.conf.Positional[Path]
    """Pictures, in folders of any depth, such as a crawl's; or shards of img2dataset."""
    out: Path = Path("aligned")
    """The faces in OUT/faces; what was not taken, and why, in OUT/rejected.tsv."""
    choice: Choice = field(default_factory=Choice)
    device: str = "cpu"
    engine: Literal["local", "ray"] = "local"
    """In this process, or on a Ray cluster: the one at $RAY_ADDRESS, or one started here."""
    workers: int | None = None
    """Of Ray, each with a core, or a GPU of its own; as many as there are where left out."""
    pictures: bool = False
    """Also write each face as a file in OUT/pictures. Where FOLDER holds one folder per expression,
    --data OUT/pictures trains on them."""

    def run(self) -> None:
        engine = OnRay(self.workers) if self.engine == "ray" else one_by_one
        faces = extract(self.folder, self.out, self.choice, self.device, engine=engine)
        print(f"{len(faces)} faces: {self.out / 'faces'}")
        if self.pictures:
            # Once they are there, somebody sorts them, and that work is kept.
            pictures = self.out / "pictures"
            kept = pictures if pictures.exists() else write_pictures(faces, pictures)
            print(f"pictures: {kept}")


@dataclass
class Get:
    """Fetch a data set that may be fetched, check it, and say how to ask for one that may not."""

    data: tyro.conf.Positional[Literal["fer2013", "ferplus", "rafdb", "affectnet", "synthfer"]]
    root: Path = field(default_factory=lambda: Path(os.environ.get("OCCFER_DATA") or "data"))
    """FER2013 becomes ROOT/fer2013; pass this ROOT to the other commands, or set OCCFER_DATA."""
    archive: Path | None = None
    """Kaggle's archive.zip where you have it already; then nobody is asked."""

    def run(self) -> None:
        if self.data != "fer2013":
            raise ValueError(obtain.HOW_TO_ASK[self.data])
        folder = obtain.get_fer2013(self.root, self.archive)
        for split, count in obtain.verify(folder).items():
            print(f"{split}\t{count:,} faces")
        print(f"complete: {folder}")


@dataclass
class Duplicates:
    """Count the faces that occur more than once, within and across the splits of a data set."""

    data: tyro.conf.Positional[str] = "synthfer"
    """synthfer, fer2013, ferplus, rafdb, or a folder with one folder per expression."""
    root: Path | None = None
    """Where the data set lies; OCCFER_DATA where left out."""
    distance: int = DISTANCE
    """Bits of 64 in which the perceptual hashes of one photograph may differ."""
    results: Path = Path("results")
    """The counts, and a list of the faces, are written to RESULTS/duplicates."""
    clean: Path | None = None
    """Also save the splits here, the training split without faces that stand in another one."""

    def run(self) -> None:
        found = duplicates.measure(self.data, self.root, self.distance, self.results)
        for kind, counts in (("exact", found.exact), ("perceptual", found.perceptual)):
            print(f"{kind}\tgroups\t{len(counts.groups)}")
            print(f"{kind}\tspare faces\t{counts.spare}")
            print(f"{kind}\tgroups across splits\t{counts.across}")
            print(f"{kind}\tgroups with contradicting labels\t{counts.contradictory}")
            for of, within in itertools.permutations(counts.splits, 2):
                print(f"{kind}\t{of} faces also in {within}\t{counts.shared(of, within)}")
        print(f"leaks\ttraining faces that also stand in a held-out split\t{found.leaks}")
        if self.clean is not None:
            splits = table1.load_splits(self.data, self.root)
            print(f"without leaks: {duplicates.save_clean(splits, self.clean)}")


@dataclass
class Occlude:
    """Write the recipe of occluded test sets, or check that it gives the same pixels here."""

    data: tyro.conf.Positional[str] = "synthfer"
    """synthfer, fer2013, ferplus, rafdb, or a folder with one folder per expression."""
    root: Path | None = None
    """Where the data set lies; OCCFER_DATA where left out."""
    split: Split = "test"
    manifest: Path = Path("occluded.json")
    variants: tuple[str, ...] = testsets.SYNTHETIC
    """block-0 to block-30 (per cent of the face), or names of items; all where left out."""
    real: bool = False
    """With ferplus: also name the 605 faces that were occluded when they were photographed."""
    seed: int = testsets.SEED
    check: bool = False
    """Make every variant that the manifest names once more, and compare."""

    def run(self) -> None:
        faces = load_faces(self.data, self.split, self.root)
        if self.check:
            manifest = testsets.Manifest.load(self.manifest)
            real = self._real() if testsets.REAL in manifest.variants else None
            for name in manifest.variants:
                testsets.restore(manifest, faces, name, real)
                print(f"{name}\tthe same pixels")
            return
        writable(self.manifest)
        real = self._real() if self.real else None
        manifest = testsets.make_manifest(faces, self.variants, self.seed, real)
        for name, variant in manifest.variants.items():
            print(f"{name}\t{variant.kind}\t{variant.share:.4f}\t{variant.images_sha256}")
        print(f"manifest: {manifest.save(self.manifest)}")

    def _real(self):
        if self.data != "ferplus":
            raise ValueError(f"only ferplus has a list of really occluded faces, not {self.data}.")
        return load_faces("ferplus", testsets.REAL_SPLIT, self.root)


def draw(history: list[dict[str, Any]], folder: Path) -> None:
    """The curves of a finished run, which are no reason to lose it; one process draws for all."""
    if not is_first_process():
        return
    style()
    picture, path = io.BytesIO(), folder / "curves.png"
    show_history(history).savefig(picture, format="png")
    try:
        write_atomically(path, picture.getvalue())
    except OSError as failure:
        warnings.warn(
            f"{path} could not be written ({failure}), but the network is saved all the same; "
            "make room for it, and the same command draws it.",
            stacklevel=2,
        )


def say(words: str) -> None:
    """Print once, however many processes there are."""
    if is_first_process():
        print(words)


Command = (
    Annotated[Pretrain, tyro.conf.subcommand("pretrain")]
    | Annotated[Finetune, tyro.conf.subcommand("finetune")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[Predict, tyro.conf.subcommand("predict")]
    | Annotated[Export, tyro.conf.subcommand("export")]
    | Annotated[Reproduce, tyro.conf.subcommand("reproduce")]
    | Annotated[Crawl, tyro.conf.subcommand("crawl")]
    | Annotated[Align, tyro.conf.subcommand("align")]
    | Annotated[Get, tyro.conf.subcommand("get")]
    | Annotated[Duplicates, tyro.conf.subcommand("duplicates")]
    | Annotated[Occlude, tyro.conf.subcommand("occlude")]
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of ``occfer`` and ``python -m occfer``; errors are one sentence, not a trace."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a name that is no text shall stop nothing
            stream.reconfigure(errors="backslashreplace")
    try:
        command = tyro.cli(Command, args=arguments, prog="occfer", description=__doc__)
        keep_memory()
        command.run()
    except (ValueError, OSError, ImportError, FloatingPointError, MemoryError) as error:
        sys.exit(f"occfer: {error}")
    except KeyboardInterrupt as stop:
        sys.exit(f"occfer: {str(stop) or 'stopped'}")
