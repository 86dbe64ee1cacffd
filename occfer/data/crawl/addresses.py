"""Which addresses a crawler may ask: http and https, on the public internet, and nothing else.

A page of search results is written by strangers, and so is every redirect. Asked without care, a
machine in a company or a cloud would fetch for them what only it can reach (server-side request
forgery, CWE-918). Names are therefore resolved here, once, every address is judged, and the
connection goes to the very address that was judged; a name that means another machine a moment
later (DNS rebinding) gains nothing.
"""

import ipaddress
import re
import socket
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from occfer.data.crawl.outcomes import Failure, Status

PORTS = {"http": 80, "https": 443}
MAX_URL = 4096
# What may stand in a path or query as it is; the rest, such as Chinese, is percent-encoded.
_KEPT = "!#$%&'()*+,/:;=?@[]~"
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


@dataclass(frozen=True)
class Target:
    """The parts of a URL that a request needs; ``path`` holds the query too."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def origin(self) -> str:
        """The value of the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"


def parse(url: str) -> Target:
    """The parts of a URL that may be asked.

    Raises:
        Failure: it is not http(s), has a name or password in it, is overlong or malformed.
    """
    if len(url) > MAX_URL:
        raise _refused(f"the URL has {len(url):,} characters, more than {MAX_URL:,}")
    if re.search(r"[\x00-\x20\x7f\\]", url):
        raise _refused("the URL holds blanks, control characters or backslashes")
    try:
        parts = urlsplit(url)
        port = parts.port
        host = (parts.hostname or "").encode("idna").decode("ascii")
    except ValueError as error:  # UnicodeError is one
        raise _refused(f"the URL is malformed: {error}") from error
    if parts.scheme not in PORTS:
        raise _refused(f"only http and https are asked, not {parts.scheme[:20]!r}")
    if parts.username is not None or parts.password is not None:
        raise _refused("the URL holds a user name or password")
    if not host or port == 0:
        raise _refused("the URL names no host" if not host else "port 0 is none")
    if not re.fullmatch(r"[a-z0-9._-]+|[0-9a-f:.]+", host):
        raise _refused(f"{host[:80]!r} is no host name")
    path = quote(parts.path or "/", safe=_KEPT) + (
        f"?{quote(parts.query, safe=_KEPT)}" if parts.query else ""
    )
    return Target(parts.scheme, host, port or PORTS[parts.scheme], path)


def resolve(target: Target, allowed: Collection[str] = ()) -> str:
    """The address to connect to.

    Args:
        target: what is to be asked.
        allowed: ``address:port`` that may be asked although it is not public, for tests and
            for lessons without an internet.

    Raises:
        Failure: the name has no address (ask again), or one that is not on the public internet;
            one bad address among good ones refuses them all.
    """
    try:
        found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Failure(
            Status.UNREACHABLE, f"the host's name has no address: {error}", again=True
        ) from error
    addresses = [str(place[0]) for *_, place in found]
    for address in addresses:
        if f"{address}:{target.port}" not in allowed and not is_public(address):
            raise _refused(f"{target.host} is {address}, which is not on the public internet")
    return addresses[0]


def is_public(address: str) -> bool:
    """Whether an address is on the public internet, also where an IPv6 address wraps an IPv4."""
    ip = ipaddress.ip_address(address.split("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.is_site_local:
            return False
        if ip in _NAT64:
            ip = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        else:
            ip = ip.ipv4_mapped or ip.sixtofour or ip
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def _refused(reason: str) -> Failure:
    return Failure(Status.REFUSED, reason)
