"""One guarded request: the bytes behind a URL, or the reason why there are none.

Every hop is judged by ``addresses`` and connected to the address that was judged; bytes, time
and redirects are counted while they come, so that an endless or dripping answer costs no more
than the limits say. Built on ``http.client`` because nothing in between may look up a name, use
a proxy of the environment, follow a redirect or unfold an answer on its own.
"""

import http.client
import re
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from urllib.parse import urljoin

from occfer.data.crawl.addresses import Target, parse, resolve
from occfer.data.crawl.outcomes import Failure, Status

CHUNK = 64 * 1024
# Of bytes that are not the content: headers, and the sizes of chunks.
AROUND = 128 * 1024
REDIRECTS = (301, 302, 303, 307, 308)
LATER = (408, 425, 429, 500, 502, 503, 504)
# Said in X-Robots-Tag by servers whose pictures may be shown, but not learnt from.
DECLINES = {"noai", "noimageai"}


@dataclass(frozen=True)
class Limits:
    """What one URL may cost.

    bytes: of the answer, both as it comes and unfolded.
    pixels: of the picture.
    side: pixels that width and height must have at least.
    redirects: hops after the first.
    seconds: from the first connection to the last byte, all hops together; a day at most.
    """

    bytes: int = 20 * 2**20
    pixels: int = 40_000_000
    side: int = 48
    redirects: int = 5
    seconds: float = 30.0

    def __post_init__(self) -> None:
        counts_hold = min(self.bytes, self.pixels, self.side) >= 1 and self.redirects >= 0
        if not (counts_hold and 0 < self.seconds <= 86_400):
            raise ValueError(
                f"Limits need bytes, pixels and side of at least 1, redirects of at least 0 and "
                f"seconds above 0 and up to 86,400, got {self}."
            )


@dataclass(frozen=True)
class Answer:
    """What came: from which URL after all redirects, and the unfolded bytes."""

    url: str
    content: bytes


class Fetcher:
    """Asks for URLs, in any number of threads.

    Args:
        contact: an e-mail or web address that whoever runs an asked server can turn to; it
            stands in the user agent.
        limits: what one URL may cost.
        allowed: ``address:port`` that may be asked although they are not public.

    Raises:
        ValueError: ``contact`` names nobody.
    """

    def __init__(
        self,
        contact: str,
        limits: Limits | None = None,
        allowed: Collection[str] = (),
    ) -> None:
        if not contact.isascii() or not contact.isprintable() or not {"@", "."} & {*contact}:
            raise ValueError(
                f"contact should be an e-mail or web address under which the servers' owners can "
                f"reach you, got {contact!r}."
            )
        self.user_agent = (
            f"occfer/{version('occfer')} (+https://github.com/occfer/occfer; {contact})"
        )
        self.limits = limits or Limits()
        self.allowed = frozenset(allowed)
        self.stop = threading.Event()
        self._tls = ssl.create_default_context()
        self._tls.sslsocket_class = _MeteredTLSSocket

    def fetch(
        self,
        url: str,
        headers: Mapping[str, str] | None = None,
        before_hop: Callable[[str], None] = lambda host: None,
    ) -> Answer:
        """The bytes behind ``url``.

        Args:
            url: http or https.
            headers: sent too, to the server of ``url`` and to no other.
            before_hop: called with the host's name before each redirect is followed.

        Raises:
            Failure: there are none; its status and reason say why.
        """
        clock = _Clock(self.limits.seconds, self.stop)
        first = target = parse(url)
        seen = [url]
        while True:
            own = (target.scheme, target.origin) == (first.scheme, first.origin)
            with (
                self._connect(target, clock) as connection,
                self._ask(connection, target, (headers or {}) if own else {}, clock) as answer,
            ):
                location = answer.headers.get("Location")
                if answer.status not in REDIRECTS or location is None:
                    _check_status(answer, target.host)
                    return Answer(url, self._read(answer, clock))
            url = _join(url, location)
            target = parse(url)
            if url in seen:
                raise Failure(Status.REDIRECTS, f"a loop of {len(seen)} redirects")
            if len(seen) > self.limits.redirects:
                raise Failure(Status.REDIRECTS, f"more than {self.limits.redirects} redirects")
            seen.append(url)
            clock.pause(lambda host=target.host: before_hop(host))

    def _connect(self, target: Target, clock: "_Clock") -> "_MeteredSocket | _MeteredTLSSocket":
        address = resolve(target, self.allowed)
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        connection = _MeteredSocket(family, socket.SOCK_STREAM)
        try:
            connection.settimeout(clock.left())
            connection.connect((address, target.port))
            if target.scheme == "https":
                connection.settimeout(clock.left())
                connection = self._tls.wrap_socket(connection, server_hostname=target.host)
            connection.meter(clock, self.limits.bytes)
        except TimeoutError as error:
            connection.close()
            raise clock.failure() from error
        except ssl.SSLError as error:
            connection.close()
            raise Failure(Status.UNREACHABLE, f"no safe connection: {error}") from error
        except OSError as error:
            connection.close()
            raise Failure(Status.UNREACHABLE, f"no connection: {error}", again=True) from error
        return connection

    def _ask(
        self, connection: socket.socket, target: Target, headers: Mapping[str, str], clock: "_Clock"
    ) -> http.client.HTTPResponse:
        request = http.client.HTTPConnection(target.host, target.port)
        request.sock = connection
        try:
            request.putrequest("GET", target.path, skip_host=True, skip_accept_encoding=True)
            stated = {
                "Host": target.origin,
                "User-Agent": self.user_agent,
                "Accept": "image/jpeg, image/png, image/webp, image/bmp, */*;q=0.1",
                "Accept-Encoding": "identity",
                "Connection": "close",
            }
            for name, value in (stated | dict(headers)).items():
                request.putheader(name, value)
            request.endheaders()
            return request.getresponse()
        except TimeoutError as error:
            raise clock.failure() from error
        except (OSError, http.client.HTTPException) as error:
            raise Failure(Status.UNREACHABLE, f"no HTTP answer: {_say(error)}", True) from error

    def _read(self, answer: http.client.HTTPResponse, clock: "_Clock") -> bytes:
        """The body, if the headers promise one that we want."""
        wishes = " ".join(answer.headers.get_all("X-Robots-Tag", []))
        if DECLINES & set(re.findall(r"[a-z-]+", wishes.lower())):
            raise Failure(Status.DECLINED, f"X-Robots-Tag: {wishes[:200]}")
        if answer.length is not None and answer.length > self.limits.bytes:
            raise _too_large(f"{answer.length:,} bytes are announced", self.limits.bytes)
        announced, came = answer.length, 0
        unfold = _unfolding(answer.headers.get("Content-Encoding", ""))
        content = bytearray()
        try:
            while chunk := answer.read(CHUNK):
                came += len(chunk)
                content += unfold(chunk, self.limits.bytes + 1 - len(content))
                if max(came, len(content)) > self.limits.bytes:
                    raise _too_large("more came", self.limits.bytes)
        except TimeoutError as error:
            raise clock.failure() from error
        except zlib.error as error:
            raise Failure(Status.BROKEN, f"the answer cannot be unfolded: {error}") from error
        # A ValueError is http.client's for a chunk of a negative size.
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Failure(Status.CUT_SHORT, f"after {came:,} bytes: {_say(error)}", True) from error
        if announced is not None and came < announced:
            raise Failure(
                Status.CUT_SHORT, f"{came:,} bytes came of {announced:,} announced", again=True
            )
        return bytes(content)


class _Clock:
    """The time that one URL has; waiting out of politeness does not count."""

    def __init__(self, seconds: float, stop: threading.Event) -> None:
        self.seconds, self.stop = seconds, stop
        self.end = time.monotonic() + seconds

    def left(self) -> float:
        left = self.end - time.monotonic()
        if left <= 0 or self.stop.is_set():
            raise TimeoutError
        return left

    def pause(self, wait: Callable[[], None]) -> None:
        start = time.monotonic()
        wait()
        self.end += time.monotonic() - start

    def failure(self) -> Failure:
        return Failure(Status.TOO_SLOW, f"not done after {self.seconds:g} s", again=True)


class _Metered:
    """A socket whose every read looks at the clock and counts the bytes.

    No drip outlasts the one and no flood the other, not even where ``http.client`` reads on by
    itself, as it does for headers and for a chunk of size -1.
    """

    def meter(self, clock: _Clock, limit: int) -> None:
        self.clock, self.limit, self.came = clock, limit, 0

    def recv_into(self, *arguments) -> int:
        while True:
            # In slices of a second, so that a crawl that is stopped ends soon.
            self.settimeout(min(1.0, self.clock.left()))
            try:
                count = super().recv_into(*arguments)
            except TimeoutError:
                continue
            self.came += count
            if self.came > self.limit + AROUND:
                raise _too_large("more came", self.limit)
            return count


class _MeteredSocket(_Metered, socket.socket):
    pass


class _MeteredTLSSocket(_Metered, ssl.SSLSocket):
    pass


def _join(url: str, location: str) -> str:
    """Where a redirect leads."""
    try:
        # Header bytes are Latin-1 to http.client, and UTF-8 to whoever writes Chinese there.
        return urljoin(url, location.encode("latin-1").decode("utf-8", "replace"))
    except ValueError as error:
        raise Failure(Status.REFUSED, f"the redirect's URL is malformed: {error}") from error


def _too_large(what: str, limit: int) -> Failure:
    return Failure(Status.TOO_LARGE, f"{what}, {limit:,} are allowed")


def _check_status(answer: http.client.HTTPResponse, host: str) -> None:
    if answer.status == 200:
        return
    reason = f"{answer.status} {answer.reason}"[:200]
    if answer.status in LATER:
        raise Failure(Status.BUSY, reason, again=True, wait=_retry_after(answer), host=host)
    raise Failure(Status.HTTP_ERROR, reason)


def _retry_after(answer: http.client.HTTPResponse) -> float | None:
    """Seconds, given as such or as a date (RFC 9110, 10.2.3); ``None`` where neither is."""
    said = answer.headers.get("Retry-After", "").strip()
    if said.isascii() and said.isdigit():
        return float(said[:9])
    try:
        date = parsedate_to_datetime(said)
        date = date if date.tzinfo else date.replace(tzinfo=UTC)
        return max(0.0, (date - datetime.now(UTC)).total_seconds())
    except (ValueError, OverflowError):
        return None


def _unfolding(encoding: str) -> Callable[[bytes, int], bytes]:
    """Bytes as they come, and how many may leave -> the unfolded bytes, never more."""
    match encoding.strip().lower():
        case "" | "identity":
            return lambda chunk, _: chunk
        case "gzip" | "x-gzip" | "deflate":
            return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress
    raise Failure(Status.NO_PICTURE, f"its encoding {encoding[:40]!r} was not asked for")


def _say(error: Exception) -> str:
    return f"{type(error).__name__} {error}".strip()[:200]
