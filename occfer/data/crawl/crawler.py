"""Search, fetch, check, store: the crawl itself, which can be stopped at any moment.

What holds however a crawl ends, ``kill -9`` included, and is tested by killing it:

* every URL that was on a page of results which has been read has exactly one row;
* a URL whose row says how it ended is never asked again;
* when the same call goes on afterwards, only what was under way at that moment is asked a second
  time, and the finished crawl holds the same rows and pictures as one that was never stopped;
* when a crawl has ended, and again as soon as one begins, each stored row has its file and each
  file its row.
"""

import hashlib
import os
import re
import time
from collections import Counter, deque
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from tqdm.auto import tqdm

from occfer.data import pictures
from occfer.data.crawl.addresses import parse
from occfer.data.crawl.engines import BadPage, Engine, Openverse
from occfer.data.crawl.fetch import Answer, Fetcher, Limits
from occfer.data.crawl.manifest import FILE, Manifest, Stored
from occfer.data.crawl.outcomes import Failure, Status
from occfer.data.crawl.politeness import Hosts, Pace

PICTURES = "pictures"
ENDINGS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "BMP": "bmp"}
_OURS = re.compile(r"[0-9a-f]{64}\.(jpg|png|webp|bmp)(\.part)?")


@dataclass(frozen=True)
class Summary:
    """How a crawl stands.

    statuses: rows per status.
    stored: pictures per engine and keyword.
    stopped: engine and keyword -> why a search did not go on; the same call tries again.
    """

    statuses: dict[str, int]
    stored: dict[tuple[str, str], int]
    stopped: dict[tuple[str, str], str]


def crawl(
    folder: str | Path,
    keywords: Sequence[str],
    contact: str,
    engines: Sequence[Engine] = (Openverse(),),
    quota: int = 100,
    limits: Limits | None = None,
    pace: Pace | None = None,
    allowed: Collection[str] = (),
    again: bool = False,
    progress: bool = True,
) -> Summary:
    """Collect up to ``quota`` pictures for every keyword from every engine.

    Pictures lie in ``folder/pictures``, each named by its SHA-256; ``folder/manifest.sqlite``
    says of every URL ever seen where it came from and what became of it. The same call goes on
    with a crawl that was stopped; more keywords, engines or a larger quota extend it.

    Args:
        folder: made where it is missing.
        keywords: searches, such as ``occfer.data.crawl.keywords()``.
        contact: an e-mail or web address of whoever crawls; it is sent with every request.
        engines: where to search; no two of one name.
        quota: pictures per keyword and engine.
        limits: what one URL may cost.
        pace: how hard hosts may be asked.
        allowed: ``address:port`` that may be asked although they are not public.
        again: also ask those once more that failed for a while, in earlier calls.
        progress: show a bar.

    Raises:
        ValueError: nothing to search, or twice the same; an engine whose address cannot be asked;
            no contact; a folder that is another's, or that was begun with other settings.
        OSError: the folder cannot be written.
        KeyboardInterrupt: Ctrl-C; the message says that the same call goes on.
    """
    if not keywords or not engines or quota < 1:
        raise ValueError(
            f"A crawl needs keywords, engines and a quota of at least 1, got {len(keywords)}, "
            f"{len(engines)} and {quota}."
        )
    searches = [_Search(engine, keyword) for engine in engines for keyword in keywords]
    _check(searches)
    hosts = Hosts(pace or Pace())
    fetcher = Fetcher(contact, limits, allowed)
    with Manifest(Path(folder)) as manifest:
        store = _Store(Path(folder) / PICTURES, manifest)
        store.sweep()
        if again:
            manifest.forget_failures()
        for search in searches:
            search.load(manifest, quota)
        bar = tqdm(
            total=quota * len(searches),
            initial=sum(search.stored for search in searches),
            desc="crawl",
            unit="picture",
            disable=not progress,
        )
        with bar:
            _Crawl(searches, manifest, store, fetcher, hosts, bar).run()
        return _summary(manifest, searches)


@dataclass
class _Search:
    """One keyword on one engine, and the rows that it has brought and that are to be asked."""

    engine: Engine
    keyword: str
    wanted: int = 0
    stored: int = 0
    page: int = 0
    finished: bool = False
    under_way: int = 0  # rows being asked, or waiting to be asked again
    searching: bool = False
    attempts: int = 0
    stopped: str = ""
    pending: deque[tuple[int, str, int]] = field(default_factory=deque)

    @property
    def name(self) -> tuple[str, str]:
        return self.engine.name, self.keyword

    @property
    def asked(self) -> str:
        """What else is asked for, such as licences: a digest, for some engines' URLs hold a key."""
        return hashlib.sha256(self.engine.address(self.keyword, 0).encode()).hexdigest()

    def load(self, manifest: Manifest, quota: int) -> None:
        self.wanted = quota
        self.page, self.finished = manifest.search(*self.name, self.asked)
        self.stored = manifest.stored(*self.name)
        self.pending.extend(manifest.pending(*self.name))

    @property
    def may_fetch(self) -> bool:
        """Never more at once than are missing: which rows are asked does not depend on timing."""
        return bool(self.pending) and self.stored + self.under_way < self.wanted

    @property
    def may_search(self) -> bool:
        idle = not (self.searching or self.finished or self.stopped)
        return idle and not self.pending and self.stored + self.under_way < self.wanted


@dataclass
class _Task:
    """A row to be asked, or with ``row`` 0 the next page of a search; not before ``due``."""

    search: _Search
    url: str
    row: int = 0
    attempts: int = 0
    due: float = 0.0


class _Crawl:
    """The loop: hand out what is due, take in what has come. Only this thread writes anything."""

    def __init__(
        self,
        searches: list[_Search],
        manifest: Manifest,
        store: "_Store",
        fetcher: Fetcher,
        hosts: Hosts,
        bar: tqdm,
    ) -> None:
        self.searches, self.manifest, self.store = searches, manifest, store
        self.fetcher, self.hosts, self.bar = fetcher, hosts, bar
        self.later: list[_Task] = []
        self.asked: dict[Future[Answer], _Task] = {}
        self.statuses: Counter[str] = Counter()

    def run(self) -> None:
        workers = ThreadPoolExecutor(self.hosts.pace.at_once, "fetch")
        try:
            while True:
                for task in self._due():
                    self.asked[workers.submit(self._fetch, task)] = task
                if self.asked:
                    done, _ = wait(self.asked, timeout=0.05, return_when=FIRST_COMPLETED)
                    for future in done:
                        self._take(self.asked.pop(future), future)
                elif self.later or any(s.may_fetch or s.may_search for s in self.searches):
                    time.sleep(0.02)
                else:
                    return
        except KeyboardInterrupt as stop:
            raise KeyboardInterrupt("stopped; the same call goes on from here") from stop
        finally:
            self.fetcher.stop.set()
            workers.shutdown(cancel_futures=True)

    def _due(self) -> Iterator[_Task]:
        """What may be asked now; whatever is given counts as begun."""
        room = self.hosts.pace.at_once - len(self.asked)
        waiting, self.later = sorted(self.later, key=lambda task: task.due), []
        for task in waiting:
            if room and task.due <= time.monotonic() and self.hosts.take(_host(task.url)):
                room -= 1
                yield task
            else:
                self.later.append(task)
        for search in self.searches:
            while room and search.may_fetch and self.hosts.take(_host(search.pending[0][1])):
                row, url, attempts = search.pending.popleft()
                search.under_way += 1
                room -= 1
                yield _Task(search, url, row, attempts)
            if room and search.may_search:
                url = search.engine.address(search.keyword, search.page)
                if self.hosts.take(_host(url)):
                    search.searching = True
                    room -= 1
                    yield _Task(search, url)

    def _fetch(self, task: _Task) -> Answer:
        host = _host(task.url)

        def move(to: str) -> None:
            """One host's answer leads to another, which is asked no harder for that."""
            nonlocal host
            self.hosts.give_back(host)
            host = to
            self.hosts.wait(host, self.fetcher.stop)

        headers = {} if task.row else task.search.engine.headers
        try:
            return self.fetcher.fetch(task.url, headers, before_hop=move)
        except Failure as failure:
            if failure.wait:  # said before the host is free for another
                self.hosts.hold(failure.host, min(failure.wait, self.hosts.pace.patience))
            raise
        finally:
            self.hosts.give_back(host)

    def _take(self, task: _Task, future: Future[Answer]) -> None:
        task.attempts += 1
        try:
            answer = future.result()
            if task.row:
                self._end(task, *self.store.keep(answer, self.fetcher.limits))
            else:
                self._read_page(task.search, answer)
        except Failure as failure:
            self._fail(task, failure)
        except BadPage as error:
            self._stop(task.search, str(error))

    def _fail(self, task: _Task, failure: Failure) -> None:
        pause = self.hosts.pace.pause(task.attempts, failure)
        if pause is None and task.row:
            self._end(task, failure.status, failure.reason)
        elif pause is None:
            self._stop(task.search, f"{task.search.engine.name}: {failure.reason}")
        else:
            if task.row:
                self.manifest.finish(task.row, Status.FOUND, failure.reason, task.attempts)
            task.due = time.monotonic() + pause
            self.later.append(task)

    def _end(self, task: _Task, status: Status, reason: str, stored: Stored | None = None) -> None:
        self.manifest.finish(task.row, status, reason, task.attempts, stored)
        task.search.under_way -= 1
        self.statuses[status] += 1
        if status is Status.STORED:
            task.search.stored += 1
            self.bar.update()
        self.bar.set_postfix(self.statuses, refresh=False)

    def _read_page(self, search: _Search, answer: Answer) -> None:
        page = search.engine.read(answer.content, search.page)
        new = self.manifest.add_page(
            *search.name, search.page, page.pictures, page.last, search.asked
        )
        search.pending.extend((row, url, 0) for row, url in new)
        search.page += 1
        search.finished = page.last
        search.searching = False

    def _stop(self, search: _Search, why: str) -> None:
        search.stopped = why
        search.searching = False


class _Store:
    """The folder of pictures, by the first two digits of their SHA-256."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder, self.manifest = folder, manifest

    def keep(self, answer: Answer, limits: Limits) -> tuple[Status, str, Stored | None]:
        """Check the content and write it, whole or not at all: status, reason and what it is."""
        kind = pictures.kind(answer.content)
        if kind is None:
            return Status.NO_PICTURE, f"it begins with {answer.content[:16]!r}", None
        try:
            pixels = pictures.decode(answer.content, "it", "RGB", max_pixels=limits.pixels)
        except pictures.TooManyPixels as error:
            return Status.TOO_MANY_PIXELS, str(error), None
        except pictures.BadPicture as error:
            return Status.BROKEN, str(error), None
        height, width = pixels.shape[:2]
        if min(height, width) < limits.side:
            return Status.TOO_SMALL, f"it has {width} x {height} pixels", None
        sha256 = hashlib.sha256(answer.content).hexdigest()
        found = Stored(answer.url, sha256, len(answer.content), kind, width, height)
        if self.manifest.knows(sha256):
            return Status.DUPLICATE, "", found
        path = self.path(sha256, kind)
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f"{path.name}.part")
        unfinished.write_bytes(answer.content)
        os.replace(unfinished, path)
        return Status.STORED, "", found

    def path(self, sha256: str, kind: str) -> Path:
        return self.folder / sha256[:2] / f"{sha256}.{ENDINGS[kind]}"

    def sweep(self) -> None:
        """Make files and rows agree after a crawl that was killed, or a power cut."""
        known = {
            self.path(sha256, kind): (sha256, size)
            for sha256, (kind, size) in self.manifest.files().items()
        }
        without_row = [
            path
            for path in self.folder.glob("??/*")
            if path not in known and _OURS.fullmatch(path.name)
        ]
        whole = sum(path.suffix != ".part" for path in without_row)
        if whole and not self.manifest.counts("status"):
            raise ValueError(
                f"{self.folder} holds {whole:,} pictures of a crawl whose {FILE} is missing or "
                f"empty; put that back, or choose another folder."
            )
        for path in without_row:
            path.unlink()
        for path, (sha256, size) in known.items():
            if not path.is_file() or path.stat().st_size != size:
                path.unlink(missing_ok=True)
                self.manifest.ask_again(sha256)


def _check(searches: Sequence[_Search]) -> None:
    """Refuse what would be searched twice, and engines whose addresses cannot be asked."""
    [((name, keyword), count)] = Counter(search.name for search in searches).most_common(1)
    if count > 1:
        raise ValueError(
            f"A crawl needs each keyword and each engine once, got {keyword!r} on {name} "
            f"{count} times."
        )
    for engine in {search.engine.name: search.engine for search in searches}.values():
        url = engine.address(keyword, 0)
        try:
            parse(url)
        except Failure as failure:
            raise ValueError(
                f"{engine.name} cannot be asked at {url[:80]!r}, since {failure.reason}; it needs "
                f"the address of a web server, such as https://example.org."
            ) from failure


def _host(url: str) -> str:
    """Whom a URL asks; those that are refused anyway share one place."""
    try:
        return parse(url).host
    except Failure:
        return ""


def _summary(manifest: Manifest, searches: Sequence[_Search]) -> Summary:
    return Summary(
        statuses={status: count for (status,), count in sorted(manifest.counts("status").items())},
        stored={search.name: search.stored for search in searches},
        stopped={search.name: search.stopped for search in searches if search.stopped},
    )
