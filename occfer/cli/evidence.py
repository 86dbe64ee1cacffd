"""Tables and figures: ``occfer reproduce``, ``duplicates`` and ``occlude``."""

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from occfer import recipes
from occfer.cli.common import Data, Split, refuse_given
from occfer.data import load_faces
from occfer.data.duplicates import DISTANCE
from occfer.experiments import datacard, duplicates, occlusion_ferplus, table1
from occfer.experiments.reproducing.jobs import EXPERIMENTS
from occfer.experiments.reproducing.reproduce import reproduce
from occfer.experiments.study import RESULTS, Study
from occfer.files import writable
from occfer.occlusion import testsets


@dataclass
class Reproduce(Data):
    """Run what is still missing of an experiment, seed after seed, and record it.

    The same command goes on with what was stopped, also on another machine to which the folder
    OUT was copied. occlusion-ferplus trains nothing: it scores the predictions of Table 1 that
    are recorded for FER2013 on the really occluded faces of RAN's list, all seeds at once.
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
    """Stop after so many; training is saved, and goes on at the next call."""
    shrink: bool | None = None
    """Cut all epochs to one share, so that one seed fits into MINUTES; the paper tier does, the
    others do not, where left out. The data card's rendered faces keep all epochs."""
    plan: bool = False
    """Only say what is there, what is missing, and how long it would take."""
    out: Path | None = None
    """One folder for everything, in place of RESULTS and RUNS."""
    results: Path = RESULTS
    """Records and predictions."""
    runs: Path = Path("runs")
    """Checkpoints and networks."""

    def run(self) -> None:
        if self.out is not None:
            self.results, self.runs = self.out / "results", self.out / "runs"
        if self.experiment == occlusion_ferplus.EXPERIMENT:
            why = f"{self.experiment} trains nothing and scores every recorded row and seed"
            refuse_given(self, why, seeds=1, rows=None, minutes=None, shrink=None, plan=False)
            study = Study(self.data, self.tier, self.results)
            record = occlusion_ferplus.measure(study, self.root)
            for labels in occlusion_ferplus.LABELS:
                print(f"labels: {labels}\n{occlusion_ferplus.as_markdown(record, labels)}")
            return
        chosen = {} if self.rows is None else {"rows": self.rows}
        where = dict(root=self.root, results=self.results, runs=self.runs)
        time = dict(minutes=self.minutes, dry=self.plan)
        if self.experiment == "datacard":
            if self.shrink:
                raise ValueError(
                    "the data card's networks of rendered faces keep all their epochs, but "
                    "--shrink would cut them; leave it out: with --minutes the run is stopped and "
                    "saved, and the same command goes on."
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
    variants: tuple[str, ...] | None = None
    """block-0 to block-30 (per cent of the face), or names of items. Where left out, all; of faces
    without landmarks, to which no item can be fitted, the blocks."""
    real: bool = False
    """With ferplus: also name the faces that were occluded when they were photographed, 602 of the
    605 on RAN's list; three show contempt, which is none of the seven expressions."""
    seed: int = testsets.SEED
    check: bool = False
    """Make every variant that the manifest names once more, and compare."""

    def run(self) -> None:
        if self.check:
            why = "--check makes what the manifest states"
            refuse_given(self, why, variants=None, real=False, seed=testsets.SEED)
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
        if self.variants is None and testsets.fitting(faces) == testsets.BLOCKS:
            print(
                f"blocks only: {faces!r} lacks landmarks, by which items are fitted; find them "
                f"with occfer.data.landmarks.add_landmarks, save that set, and name its folder "
                f"here."
            )
        manifest = testsets.make_manifest(faces, self.variants, self.seed, real, progress=True)
        for name, variant in manifest.variants.items():
            share = "unknown" if variant.share < 0 else f"{variant.share:.4f}"
            print(f"{name}\t{variant.kind}\t{share}\t{variant.images_sha256}")
        print(f"manifest: {manifest.save(self.manifest)}")

    def _real(self):
        if self.data != "ferplus":
            raise ValueError(f"only ferplus has a list of really occluded faces, not {self.data}.")
        return load_faces("ferplus", testsets.REAL_SPLIT, self.root)
