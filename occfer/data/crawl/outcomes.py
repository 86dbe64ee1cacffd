"""What can become of a URL: one word for each way in which a request ends."""

from enum import StrEnum


class Status(StrEnum):
    """The status of a manifest row."""

    FOUND = "found"  # seen on a page of results, still to be asked
    STORED = "stored"
    DUPLICATE = "duplicate"  # the bytes of a picture that is stored already
    REFUSED = "refused"  # an address or a URL that is never asked
    REDIRECTS = "redirects"  # too many of them, or a loop
    DECLINED = "declined"  # the server says that machines may not learn from it
    HTTP_ERROR = "http_error"  # the server says no, as with 403 or 404
    BUSY = "busy"  # the server says later, as with 429 or 503, each time it is asked
    UNREACHABLE = "unreachable"  # no such host, no connection, no TLS, no HTTP
    CUT_SHORT = "cut_short"  # fewer bytes than the server announced
    TOO_SLOW = "too_slow"
    TOO_LARGE = "too_large"  # in bytes
    TOO_MANY_PIXELS = "too_many_pixels"
    TOO_SMALL = "too_small"  # in pixels
    NO_PICTURE = "no_picture"  # the content is that of no picture format we read
    BROKEN = "broken"  # a picture format, but its pixels cannot be decoded


TEMPORARY = (Status.BUSY, Status.UNREACHABLE, Status.CUT_SHORT, Status.TOO_SLOW)
"""Another day the answer may be another one."""


class Failure(Exception):
    """A request that gave no picture.

    Args:
        status: how it ended.
        reason: one line for people.
        again: whether to ask again in a while.
        wait: the seconds that the server asked us to wait, where it did.
        host: which server did; after a redirect it is not the one that was asked first.
    """

    def __init__(
        self,
        status: Status,
        reason: str,
        again: bool = False,
        wait: float | None = None,
        host: str = "",
    ) -> None:
        super().__init__(f"{status}: {reason}")
        self.status, self.reason, self.again, self.wait = status, reason, again, wait
        self.host = host
