"""The aligner on many machines: Ray Data hands the sources of an extraction out to workers.

Only what a source is called travels through Ray. A worker reads the pictures and writes the parts
itself, so folder and output have to lie where every machine finds them under the same path, and
Ray's own memory stays small however many pictures there are. A worker that dies is started again,
and makes those parts that are still missing.
"""

import logging
import os
import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from occfer.data.extract import Choice, Extractor
from occfer.data.parts import make_parts
from occfer.data.shards import Source

# Ray's least, and a hundred times what the names of sources take.
OBJECT_STORE = 80 * 2**20

# Read by a Ray that is started here, when it is imported.
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is reported to its makers
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # or it warns
    # On a busy machine the usual minute or less is too short, and what was late is never used.
    "RAY_agent_register_timeout_ms": "600000",
    "RAY_worker_register_timeout_seconds": "600",
}


@dataclass(frozen=True)
class OnRay:
    """The engine that works on a Ray cluster: the one at ``$RAY_ADDRESS``, or on this machine.

    workers: how many at once, each with one core, or one GPU where that is the networks' device;
        as many as there are cores or GPUs where left out.
    """

    workers: int | None = None

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"Work needs at least 1 worker, got {self.workers}.")

    def __call__(
        self, sources: Sequence[Source], size: int, parts: Path, choice: Choice, device: str
    ) -> Iterator[int]:
        with _cluster(self.workers) as ray:
            resource = "GPU" if device.startswith("cuda") else "CPU"
            workers = self.workers or int(ray.cluster_resources().get(resource, 1))
            rows = [{"source": pickle.dumps(source)} for source in sources]
            done = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
                _Worker,
                fn_constructor_args=(size, parts, choice, device),
                compute=ray.data.ActorPoolStrategy(size=min(workers, len(sources))),
                num_cpus=1 if resource == "CPU" else 0,
                num_gpus=1 if resource == "GPU" else 0,
            )
            for row in done.iter_rows():
                if row["error"]:
                    raise OSError(row["error"])
                yield row["pictures"]


class _Worker:
    """One process of the cluster, with the networks in its memory."""

    def __init__(self, size: int, parts: Path, choice: Choice, device: str) -> None:
        self.size, self.parts = size, parts
        self.extractor = Extractor(choice, device)

    def __call__(self, row: dict) -> dict:
        source = pickle.loads(row["source"])
        done, error = 0, ""
        try:
            for count in make_parts(source, self.size, self.parts, self.extractor):
                done += count
        except OSError as failed:
            # As a word, since Ray would make pages of it.
            error = str(failed)
        return {"pictures": done, "error": error}


@contextmanager
def _cluster(workers: int | None) -> Iterator:
    """Ray, connected; one that is started here is gone afterwards, and so are its files."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ValueError(
            f"Ray is needed for this engine but cannot be imported ({error}); "
            f"pip install 'occfer[ray]'."
        ) from error
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    ray.data.DataContext.get_current().enable_progress_bars = False
    if ray.is_initialized():
        yield ray
        return
    options = dict(logging_level=logging.ERROR, log_to_driver=False)
    # The path of a socket may have a hundred characters, so a user's folder is too deep for it.
    with TemporaryDirectory(prefix="ray-") as files:
        if "RAY_ADDRESS" not in os.environ:
            options |= dict(
                address="local",
                num_cpus=workers,
                include_dashboard=False,
                object_store_memory=OBJECT_STORE,
                _temp_dir=files,
            )
        ray.init(**options)
        try:
            yield ray
        finally:
            ray.shutdown()
