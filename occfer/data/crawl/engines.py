"""Search engines: the address of a page of results, and the pictures that stand on it.

Openverse is the default because all it finds is openly licensed, and it says by whom and under
which licence. Bing and Baidu show other people's pictures without a word on what may be done with
them; whoever uses them has to find that out, picture by picture, and to heed the engine's terms.

A further engine is a class with a ``name``, an ``address`` and a ``read``, as below.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Protocol, runtime_checkable
from urllib.parse import quote_plus, urlencode

from icrawler.builtin.baidu import BaiduFeeder, BaiduParser
from icrawler.builtin.bing import BingFeeder, BingParser
from icrawler.utils import Signal

from occfer.data.crawl.manifest import Found


class BadPage(ValueError):
    """What came is no page of results: the engine has changed, or does not want to be asked."""


@dataclass(frozen=True)
class Page:
    """The pictures on one page of results, and whether the engine has no further one."""

    pictures: tuple[Found, ...]
    last: bool


@runtime_checkable
class Engine(Protocol):
    """What the crawler asks of a search engine.

    name: stands in the manifest.
    headers: sent with each search, and to nobody else.
    """

    name: str
    headers: Mapping[str, str]

    def address(self, keyword: str, page: int) -> str:
        """The URL of a page of results; pages count from 0."""

    def read(self, content: bytes, page: int) -> Page:
        """What stands on that page.

        Raises:
            BadPage: it is none.
        """


@dataclass(frozen=True)
class Openverse:
    """Openly licensed pictures of many museums, archives and photo sites, through a JSON API.

    Its terms of use forbid to copy the catalogue and ask those with more than a few searches a
    day to register (anonymously some 200 requests a day are answered); a registered application
    gives its access token here. Documented at https://api.openverse.org/v1/.

    Args:
        base_url: of the API.
        token: the access token of a registered application.
        licences: licence codes separated by commas, such as ``"cc0,pdm,by"``; by default all.

    Raises:
        ValueError: the token cannot be one.
    """

    base_url: str = "https://api.openverse.org"
    token: str = field(default="", repr=False)
    licences: str = ""
    name: str = "openverse"

    # What the API gives to those who are not registered; others it tells how many pages there are.
    PAGE_SIZE = 20
    MAX_RESULTS = 240

    def __post_init__(self) -> None:
        if not (self.token.isascii() and self.token.isprintable()):
            raise ValueError(
                "An access token consists of printable ASCII characters, and what was given holds "
                "others, such as the end of a line; copy it anew."
            )

    @property
    def headers(self) -> dict[str, str]:
        bearer = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        return {"Accept": "application/json"} | bearer

    def address(self, keyword: str, page: int) -> str:
        asked = dict(q=keyword, page=page + 1, page_size=self.PAGE_SIZE)
        if self.licences:
            asked["license"] = self.licences
        return f"{self.base_url}/v1/images/?{urlencode(asked)}"

    def read(self, content: bytes, page: int) -> Page:
        try:
            answer = json.loads(content)
            found = tuple(map(self._found, answer["results"]))
            pages = int(answer["page_count"])
        except _UNREADABLE as error:
            raise _bad(self.name, error) from error
        if not self.token:
            pages = min(pages, self.MAX_RESULTS // self.PAGE_SIZE)
        return Page(found, last=page + 1 >= pages or not found)

    def _found(self, said: dict) -> Found:
        licence = (said.get(key) for key in ("license", "license_version", "license_url"))
        return Found(
            url=_text(said["url"]),
            landing=_text(said.get("foreign_landing_url")),
            licence=" ".join(filter(None, map(_text, licence))),
            attribution=_text(said.get("attribution")),
        )


@dataclass(frozen=True)
class _ThroughIcrawler:
    """An engine whose pages icrawler knows how to address and to read."""

    base_url: str
    filters: Mapping[str, str]
    name: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def address(self, keyword: str, page: int) -> str:
        feeder = self.FEEDER(1, Signal(), None)
        feeder.feed(
            keyword=quote_plus(keyword),
            offset=page * self.PAGE_SIZE,
            max_num=self.PAGE_SIZE,
            filters=dict(self.filters),
        )
        return feeder.out_queue.get_nowait().replace(self.HOME, self.base_url, 1)

    def read(self, content: bytes, page: int) -> Page:
        parser = self.PARSER(1, Signal(), None)
        try:
            self.check(content)
            urls = [task["file_url"] for task in parser.parse(SimpleNamespace(content=content))]
        except _UNREADABLE as error:
            raise _bad(self.name, error) from error
        # icrawler's pattern runs on into the next field where a picture is no JPEG.
        found = tuple(Found(url) for url in urls if '"' not in url)
        if page == 0 and not urls:
            raise _bad(self.name, "it holds no picture")
        return Page(found, last=not urls or (page + 1) * self.PAGE_SIZE >= self.MAX_RESULTS)

    def check(self, content: bytes) -> None:
        """Raise where icrawler would take a page that is none for an empty one."""


@dataclass(frozen=True)
class Bing(_ThroughIcrawler):
    """Bing's image search; of its results, the JPEG files.

    ``filters`` are icrawler's; ``{"license": "creativecommons"}`` asks for pictures that Bing
    believes to be openly licensed.
    """

    base_url: str = "https://www.bing.com"
    filters: Mapping[str, str] = field(default_factory=lambda: {"type": "photo", "people": "face"})
    name: str = "bing"

    FEEDER, PARSER = BingFeeder, BingParser
    HOME, PAGE_SIZE, MAX_RESULTS = "https://www.bing.com", 20, 1000


@dataclass(frozen=True)
class Baidu(_ThroughIcrawler):
    """Baidu's image search; made for the Chinese keywords. ``filters`` are icrawler's."""

    base_url: str = "https://image.baidu.com"
    filters: Mapping[str, str] = field(default_factory=lambda: {"type": "face"})
    name: str = "baidu"

    FEEDER, PARSER = BaiduFeeder, BaiduParser
    HOME, PAGE_SIZE, MAX_RESULTS = "http://image.baidu.com", 30, 1000

    def check(self, content: bytes) -> None:
        json.loads(content.decode("utf-8", "ignore").replace("\\'", "'"), strict=False)["data"]


ENGINES = {engine.name: engine for engine in (Openverse, Bing, Baidu)}
"""The engines by name; each is made without arguments, or with a base URL of one's own."""

_UNREADABLE = (
    ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError, OverflowError,
)  # fmt: skip


def _bad(name: str, why: object) -> BadPage:
    return BadPage(
        f"{name} answered with something else than a page of results ({str(why)[:100]}); it may "
        f"have changed, or not want to be asked."
    )


def _text(value: object) -> str:
    """Text, where an answer has some."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError(f"text was expected, {type(value).__name__} came")
    return value
