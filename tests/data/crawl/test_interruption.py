"""A crawl that is killed at any moment goes on: nothing lost, doubled or asked without need.

The crawler is a process of its own that gets SIGKILL; what was asked is read from the server's
log, not from what the crawler says.
"""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path
from random import Random
from time import monotonic, sleep

import pytest

from occfer.data.crawl import Limits, Pace, crawl
from tests.data.crawl.server import (
    Listed,
    Route,
    Server,
    in_turn,
    picture,
    redirect,
    reply,
    results,
    serve,
)

ROOT = Path(__file__).resolve().parents[3]
KEYWORDS = ["happy child", "sad man"]
QUOTA = 60
KILLS = 20
AT_ONCE = 4
DELAY = 0.02  # seconds until the server answers
PACE = Pace(interval=0.0, per_host=AT_ONCE, at_once=AT_ONCE, attempts=3, backoff=0.01)
LIMITS = Limits(side=32, seconds=20.0)
FINAL = {"stored", "duplicate", "http_error", "no_picture", "broken", "refused"}

# Imports once, then forks a crawler for each line that it reads: loading PyTorch for every kill
# would take most of the test. A forked process is killed like any other.
NURSERY = """
import json, os, sys
from operator import attrgetter
from occfer.data.crawl import crawl
from tests.data.crawl.server import Listed
from tests.data.crawl.test_interruption import KEYWORDS, LIMITS, PACE, QUOTA

def die(module, path, number, after):
    owner, name = path.rpartition(".")[::2]
    owner = attrgetter(owner)(sys.modules[module]) if owner else sys.modules[module]
    call, calls = getattr(owner, name), iter(range(10**6))
    def deadly(*arguments, **options):
        fatal = next(calls) == number
        if fatal and not after:
            os.kill(os.getpid(), 9)
        result = call(*arguments, **options)
        if fatal:
            os.kill(os.getpid(), 9)
        return result
    setattr(owner, name, deadly)

print("ready", flush=True)
for line in sys.stdin:
    job = json.loads(line)
    child = os.fork()
    if child == 0:
        if job["die"]:
            die(*job["die"])
        engine = Listed("http://" + job["address"])
        crawl(job["folder"], KEYWORDS, "tests@example.org", [engine], QUOTA, LIMITS, PACE,
              [job["address"]], progress=False)
        os._exit(0)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Nursery:
    """Starts crawlers as processes of their own."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", NURSERY],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        )
        assert self.process.stdout.readline() == "ready\n"

    def crawl(self, server: Server, folder: Path, die=None, kill_after: float | None = None) -> int:
        """Let one crawl run, kill it where asked, and return its exit status.

        ``kill_after`` is a number of requests, which keep step with the machine where seconds do
        not; 7.5 is half the time of an answer after the seventh.
        """
        job = {"address": server.address, "folder": str(folder), "die": die}
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        child = int(self.process.stdout.readline())
        if kill_after is not None:
            end, asked = monotonic() + 60, len(server.log) + int(kill_after)
            while len(server.log) < asked and monotonic() < end:
                sleep(0.001)
            sleep(kill_after % 1 * DELAY)
            os.kill(child, signal.SIGKILL)  # at worst it has ended and waits to be collected
        return int(self.process.stdout.readline())


@pytest.fixture(scope="module")
def nursery():
    nursery = Nursery()
    yield nursery
    nursery.process.stdin.close()
    nursery.process.wait()
    nursery.process.stdout.close()


def late(route: Route, seconds: float = DELAY) -> Route:
    """The same answer a moment later, so that there is a moment to be killed in."""

    def wait(request):
        sleep(seconds)
        return route(request)

    return wait


@pytest.fixture(scope="module")
def both():
    """Two searches of four pages: pictures, copies, redirects, errors, some URLs shared by both."""
    server, close = serve()
    pages: dict[str, list[list[str]]] = {keyword: [] for keyword in KEYWORDS}
    for number, keyword in enumerate(KEYWORDS):
        urls = []
        for place in range(96):
            path, seed = f"/{number}/{place}", 1000 * number + place
            good = reply(200, picture(seed, size=(32, 32)))
            match place % 8:
                case 3:  # a copy of the one before
                    route = reply(200, picture(seed - 1, size=(32, 32)))
                case 4:
                    route = in_turn(reply(503), good)
                case 5:
                    route, server.routes[f"{path}/moved"] = redirect(f"{path}/moved"), good
                case 6:
                    route = reply([404, 410][place % 2], b"gone")
                case 7:
                    route = reply(200, b"<html>")
                case _:
                    route = good
            server.routes[path] = late(route)
            urls.append(server.url(path))
        pages[keyword] = [urls[first : first + 24] for first in range(0, 96, 24)]
    shared = [server.url(f"/shared/{place}") for place in range(5)]  # they answer with 404
    for keyword in KEYWORDS:
        pages[keyword][1] += [*shared, "file:///etc/passwd"]
    server.routes["/results"] = late(results(pages))
    yield server
    close()


@pytest.fixture
def world(both) -> Server:
    """Both searches, as if nobody had asked yet."""
    both.log.clear()
    return both


def read(folder: Path) -> dict[str, dict]:
    """The rows by URL, as they lie on the disk; none before the manifest exists."""
    path = folder / "manifest.sqlite"
    if not path.exists():
        return {}
    rows = sqlite3.connect(path)
    rows.row_factory = sqlite3.Row
    try:
        found = [dict(row) for row in rows.execute("SELECT * FROM pictures")]
    except sqlite3.OperationalError:  # killed before the tables were there
        return {}
    finally:
        rows.close()
    by_url = {row["url"]: row for row in found}
    assert len(by_url) == len(found)
    return by_url


def files(folder: Path) -> set[str]:
    return {path.stem for path in (folder / "pictures").glob("??/*") if path.suffix == ".png"}


def stored(rows: dict[str, dict]) -> Counter:
    return Counter(row["sha256"] for row in rows.values() if row["status"] == "stored")


def outcome(rows: dict[str, dict]) -> dict[str, tuple]:
    """What does not depend on which of two copies came first."""
    good = ("stored", "duplicate")
    return {
        url: ("good" if row["status"] in good else row["status"], row["sha256"], row["bytes"])
        for url, row in rows.items()
    }


@pytest.fixture(scope="module")
def uninterrupted(both, nursery, tmp_path_factory):
    """Rows, stored pictures and number of requests of a crawl that nobody stops."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    both.log.clear()
    assert nursery.crawl(both, folder) == 0
    rows = read(folder)
    return rows, stored(rows), len(both.log)


def assert_whole(folder: Path, uninterrupted) -> None:
    """The crawl has ended with the same rows and pictures as one that was never stopped."""
    rows = read(folder)
    expected, pictures, _ = uninterrupted
    assert outcome(rows) == outcome(expected)
    assert stored(rows) == pictures
    assert files(folder) == set(pictures)
    assert set(pictures.values()) == {1}
    assert sum(pictures.values()) == QUOTA * len(KEYWORDS)


@pytest.mark.slow
def test_killed_at_twenty_random_moments(
    uninterrupted, world, nursery, tmp_path, keep_record
) -> None:
    folder, random = tmp_path / "killed", Random(2022)
    before: dict[str, dict] = {}
    kills, final_before, log_before = [], {}, 0
    for _ in range(KILLS):
        # On average so many that the last kill still finds something to be done.
        moment = random.uniform(0.0, 1.6 * uninterrupted[2] / KILLS)
        status = nursery.crawl(world, folder, kill_after=moment)
        rows = read(folder)
        kills.append(
            dict(
                requests=round(moment, 2),
                killed=status == -signal.SIGKILL,
                rows=len(rows),
                pictures=len(files(folder)),
            )
        )
        assert before.keys() <= rows.keys(), "a row is lost"
        changed = {url for url, row in final_before.items() if rows[url] != row}
        assert changed == set(), "a row that was final has changed"
        asked = {world.url(request.path) for request in world.log[log_before:]}
        assert asked & final_before.keys() == set(), "a finished URL was asked again"
        # The manifest is never ahead of the pictures, and at most the one under way is ahead of it.
        assert set(stored(rows)) <= files(folder)
        assert len(files(folder) - set(stored(rows))) <= 1
        before, log_before = rows, len(world.log)
        final_before = {url: row for url, row in rows.items() if row["status"] in FINAL}
    met_unfinished = sum(kill["killed"] for kill in kills)
    assert met_unfinished >= KILLS * 3 // 4, "the crawl was too quick to be killed"
    assert len({kill["pictures"] for kill in kills}) >= KILLS // 2, "the kills met no work"
    assert nursery.crawl(world, folder) == 0
    assert_whole(folder, uninterrupted)
    # What was under way at a kill is asked once more (a redirect is two requests), nothing else.
    assert len(world.log) - uninterrupted[2] <= KILLS * AT_ONCE * 2
    asked = len(world.log)
    assert nursery.crawl(world, folder) == 0
    assert len(world.log) == asked, "a finished crawl asks nobody"
    after, (expected, pictures, requests) = read(folder), uninterrupted
    keep_record(
        "kills-crawl",
        kills=kills,
        rows=len(after),
        pictures=len(files(folder)),
        lost=len(expected.keys() - after.keys()) + len(pictures - stored(after)),
        doubled=sum(count - 1 for count in stored(after).values()),
        requests=asked,
        requests_uninterrupted=requests,
    )


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    "call",
    [
        "occfer.data.crawl.manifest:Manifest.add_page",
        "occfer.data.crawl.manifest:Manifest.finish",
        "occfer.data.crawl.manifest:sqlite3.connect",
        "occfer.data.crawl.crawler:os.replace",
        "occfer.data.crawl.crawler:Path.write_bytes",
    ],
)
def test_killed_beside_each_thing_it_writes(
    uninterrupted, world, nursery, tmp_path, call, after
) -> None:
    folder = tmp_path / "killed"
    module, _, path = call.partition(":")
    for number in (0, 1):
        status = nursery.crawl(world, folder, die=[module, path, number, after])
        assert status == -signal.SIGKILL
    assert nursery.crawl(world, folder) == 0
    assert_whole(folder, uninterrupted)


@pytest.fixture
def ctrl_c():
    """Python's own way with Ctrl-C; workers that run tests side by side ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


# Ctrl-C may fall between the opening of a picture's draft and its ``with``; it is then closed
# with its last reference, which Python mentions, and the next call sweeps it away.
@pytest.mark.filterwarnings(
    r"ignore:Exception ignored in. <_io.FileIO name='.*\.part'"
    ":pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_ends_soon_and_the_same_call_goes_on(uninterrupted, world, tmp_path) -> None:
    def interrupt(request):
        os.kill(os.getpid(), signal.SIGINT)
        sleep(0.3)
        return reply(200, picture(20))(request)

    call = dict(
        folder=tmp_path / "stopped",
        keywords=KEYWORDS,
        contact="tests@example.org",
        engines=[Listed(world.url(""))],
        quota=QUOTA,
        limits=LIMITS,
        pace=PACE,
        allowed=[world.address],
        progress=False,
    )
    real = world.routes["/0/20"]
    world.routes["/0/20"] = interrupt
    with pytest.raises(KeyboardInterrupt, match="stopped; the same call goes on from here"):
        crawl(**call)
    world.routes["/0/20"] = real
    assert len(read(tmp_path / "stopped")) < len(uninterrupted[0])
    crawl(**call)
    assert_whole(tmp_path / "stopped", uninterrupted)
