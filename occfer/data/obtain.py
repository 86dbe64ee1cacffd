"""Data sets that may be fetched, and how to ask for those that may not.

FER2013 is fetched from Kaggle by kagglehub, or taken from an archive that is there already. It is
counted before it gets its place, so that what ``load_faces`` finds is whole or not there.
"""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

from occfer.data import archives, fer2013, ferplus, rafdb
from occfer.data.sources import expect_counts
from occfer.files import whole_folder

KAGGLE = "msambare/fer2013"
FOLDER = "fer2013"

HOW_TO_ASK = {
    "rafdb": f"RAF-DB may not be passed on: {rafdb.HOW_TO_GET}; its authors give it to members of "
    "universities and research institutes for research that earns nothing.",
    "ferplus": f"FER+ is a table of votes for FER2013's faces: run occfer get fer2013, then "
    f"{ferplus.HOW_TO_GET}.",
    "affectnet": "AffectNet may not be passed on: ask its authors (http://mohammadmahoor.com/affectnet/).",
    "synthfer": "SynthFER comes with occfer: load_faces('synthfer') reads it.",
}
"""By data set that is not fetched: one sentence."""


def get_fer2013(
    root: str | Path,
    archive: str | Path | None = None,
    download: Callable[[], Path] | None = None,
) -> Path:
    """FER2013 as the folder ``root/fer2013``, which ``load_faces("fer2013", root=root)`` reads.

    A folder that is there already is counted and left alone.

    Args:
        root: made where it is missing.
        archive: Kaggle's ``archive.zip``, or another archive of the pictures or the table, where
            it has been downloaded already; nobody is asked then.
        download: fetches the pictures and says in which folder they lie; kagglehub by default.

    Raises:
        ValueError: the archive is no safe one, or faces are missing; nothing is left behind, and
            the message says what to remove or to fetch again.
        FileNotFoundError: the archive is not there, or what came holds no FER2013.
        ConnectionError: Kaggle could not be reached, or did not give it.
    """
    target = Path(root) / FOLDER
    if target.exists():
        verify(target, target, f"remove {target}, and the same call fetches it again")
        return target
    with whole_folder(target) as unfinished:
        if archive is not None:
            source, advice = archive, "download it again"
            archives.unpack(archive, unfinished, fer2013.LIMITS)
        else:
            source = (download or from_kaggle)()
            advice = f"remove {source}, and the same call fetches it again"
            _copy_pictures(source, unfinished)
        verify(unfinished, source, advice)
    return target


def verify(folder: Path, named: str | Path, advice: str) -> None:
    """Raise a ``ValueError`` unless each split has as many of each expression as it must have.

    Args:
        folder: to look in.
        named: what the message says holds too few faces.
        advice: what it says is to be done.
    """
    try:
        splits = fer2013.read(fer2013.find(folder))
    except (ValueError, FileNotFoundError) as damage:
        # The folder may be a draft, which is gone when this is read.
        raise type(damage)(str(damage).replace(str(folder), str(named))) from damage
    for split, faces in splits.items():
        official = f"FER2013's {split} split ({fer2013.SPLITS[split]})"
        expect_counts(faces.counts(), fer2013.COUNTS[split], official, named, advice)


def from_kaggle() -> Path:
    """The folder of kagglehub's cache that holds Kaggle's pictures, downloaded if need be."""
    # Imported on use: it costs a second, and is needed once.
    import kagglehub
    from kagglehub import exceptions

    refusals = tuple(
        kind
        for kind in vars(exceptions).values()
        if isinstance(kind, type) and issubclass(kind, Exception)
    )
    try:
        return Path(kagglehub.dataset_download(KAGGLE))
    # Among them requests' errors, which are OSErrors; a ValueError is an answer of no sense.
    except (*refusals, OSError, ValueError) as error:
        said = re.sub(r"\s+", " ", f"{type(error).__name__}: {error}").strip()[:200]
        raise ConnectionError(
            f"Kaggle did not give {KAGGLE} ({said}); try again where there is an internet, or "
            f"download https://www.kaggle.com/datasets/{KAGGLE} in a browser and pass the file "
            f"with --archive."
        ) from error


def _copy_pictures(source: Path, target: Path) -> None:
    """Plain files whose names are those of FER2013's pictures, and nothing else of a download."""
    for file in sorted(source.rglob("*")):
        name = file.relative_to(source).as_posix()
        if fer2013.PICTURE.search(name) and file.is_file() and not file.is_symlink():
            copy = target / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
    if not any(target.iterdir()):
        raise FileNotFoundError(f"{source} holds no pictures of FER2013; delete it and try again.")
