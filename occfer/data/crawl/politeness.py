"""When a host may be asked again: after an interval, few at a time, later where it says so."""

import threading
import time
from collections import Counter
from dataclasses import dataclass

from occfer.data.crawl.outcomes import Failure


@dataclass(frozen=True)
class Pace:
    """How hard a crawl may knock.

    interval: seconds between the starts of two requests to one host.
    per_host: requests under way to one host.
    at_once: requests under way in all.
    attempts: requests for one URL before it is given up.
    backoff: seconds before the second attempt; each further pause is twice as long.
    patience: the longest pause, in seconds; a server that asks for a longer one is given up.
    """

    interval: float = 1.0
    per_host: int = 2
    at_once: int = 16
    attempts: int = 4
    backoff: float = 2.0
    patience: float = 120.0

    def __post_init__(self) -> None:
        counts = (self.per_host, self.at_once, self.attempts)
        if min(counts) < 1 or min(self.interval, self.backoff, self.patience) < 0:
            raise ValueError(
                f"A pace needs counts of at least 1 and times of at least 0 s, got {self}."
            )

    def pause(self, attempts: int, failure: Failure) -> float | None:
        """Seconds to wait after so many attempts, or ``None`` to give up."""
        asked_for = failure.wait or 0.0
        if not failure.again or attempts >= self.attempts or asked_for > self.patience:
            return None
        return max(asked_for, min(self.backoff * 2 ** (attempts - 1), self.patience))


class Hosts:
    """What each host has been asked, for all threads of a crawl."""

    def __init__(self, pace: Pace) -> None:
        self.pace = pace
        self._next: dict[str, float] = {}
        self._under_way: Counter[str] = Counter()
        self._lock = threading.Lock()

    def take(self, host: str) -> bool:
        """Whether the host may be asked now; if so, the request counts as begun.

        ``""`` stands for URLs that are refused, for which nobody is asked.
        """
        with self._lock:
            now = time.monotonic()
            if not host:
                return True
            if self._under_way[host] >= self.pace.per_host or now < self._next.get(host, 0.0):
                return False
            self._under_way[host] += 1
            self._next[host] = now + self.pace.interval
            return True

    def give_back(self, host: str) -> None:
        """A request that was begun is over."""
        with self._lock:
            self._under_way[host] -= 1

    def hold(self, host: str, seconds: float) -> None:
        """The host asked to be left alone for so long."""
        with self._lock:
            self._next[host] = max(self._next.get(host, 0.0), time.monotonic() + seconds)

    def wait(self, host: str, stop: threading.Event) -> None:
        """Return when ``take`` has let the host be asked, as for a redirect that leads there."""
        while not self.take(host) and not stop.wait(0.02):
            pass
