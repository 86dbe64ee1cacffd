"""What every test shares: shapes checked at run time, one thread, small faces, the real ones."""

import inspect
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from jaxtyping import install_import_hook

# Before anything imports occfer. The numeric tower lets an int stand where a float is asked.
install_import_hook("occfer", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")

torch.set_num_threads(1)

settings.register_profile("here", deadline=None, max_examples=25)
settings.register_profile("ci", parent=settings.get_profile("here"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")

ROOT = Path(__file__).resolve().parents[1]
SHARED_FILES = ("fer2013.tar.xz", "ferplus_votes.csv", "occlusion_ferplus.csv")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Where the real data sets lie: ``$OCCFER_DATA``, or ``shared/data`` beside the checkout."""
    named = os.environ.get("OCCFER_DATA")
    places = [Path(named)] if named else []
    places.append(ROOT.parent / "shared" / "data")
    for place in places:
        if all((place / name).is_file() for name in SHARED_FILES):
            return place
    pytest.skip(f"needs {', '.join(SHARED_FILES)} in $OCCFER_DATA or ../shared/data")


@pytest.fixture(scope="session")
def pictures() -> Callable[..., torch.Tensor]:
    """``pictures(batch, channels, height, width, seed=0)``: random pixels, float32 in [0, 1]."""

    def make(*shape: int, seed: int = 0) -> torch.Tensor:
        return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))

    return make


@pytest.fixture(scope="session")
def toy_faces() -> Callable:
    """``toy_faces(count, seed=0, noise=0.2)``: grey 24 x 24 pixels, a bright band where the label
    says: at the top anger, in the middle happiness, at the bottom neutral."""
    from occfer.data import FaceSet

    def make(count: int, seed: int = 0, noise: float = 0.2) -> FaceSet:
        generator = torch.Generator().manual_seed(seed)
        place = torch.arange(count) % 3
        images = noise * torch.rand(count, 1, 24, 24, generator=generator)
        for image, third in zip(images, place.tolist(), strict=True):
            image[:, 8 * third : 8 * third + 8] += 1 - noise
        return FaceSet(
            (images * 255).round().byte(),
            3 * place,
            [f"{seed}-{number}" for number in range(count)],
            name="toy",
        )

    return make


@pytest.fixture(scope="session")
def unchecked() -> Callable[[Callable], Callable]:
    """A function as users have it, without the run-time checks of this test run: the message that
    meets a wrong shape then is the library's own."""
    return inspect.unwrap


@pytest.fixture
def global_chance():
    """Fails a test that draws from PyTorch's global random state, or sets it."""
    before = torch.get_rng_state()
    yield
    assert torch.equal(torch.get_rng_state(), before), "the global random state has changed"


@pytest.fixture(scope="session")
def synthfer_test():
    """The rendered test people, RGB at 48 pixels; made once, so change no pixel in place."""
    from occfer.data import load_faces

    return load_faces("synthfer", "test", size=48)


@pytest.fixture
def lost_rings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A ring of the bell may fall into a callback: Python prints it there and goes on, and the next
    one is heard. Nothing else may end so."""
    others: list[str] = []

    def note(lost) -> None:
        if not issubclass(lost.exc_type, KeyboardInterrupt):
            others.append(f"{lost.exc_value!r} in {lost.object!r}")

    monkeypatch.setattr(sys, "unraisablehook", note)
    yield
    assert others == []
