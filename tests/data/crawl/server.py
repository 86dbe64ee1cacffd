"""A real HTTP server on a port of this machine, whose every answer a test writes byte by byte."""

import json
import socket
import socketserver
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from email.parser import Parser
from io import BytesIO
from time import monotonic, sleep
from urllib.parse import parse_qs, urlencode, urlsplit

import numpy as np
from PIL import Image

from occfer.data.crawl.engines import Page
from occfer.data.crawl.manifest import Found

# A route is given the request and returns the pieces of its answer, sent as they come.
Route = Callable[["Request"], Iterable[bytes]]


@dataclass
class Request:
    path: str
    headers: dict[str, str]
    time: float
    times_before: int  # how often the same path was asked before
    connection: socket.socket


@dataclass
class Server:
    """``server.routes["/face.png"] = reply(200, body)``; ``server.log`` holds what was asked."""

    address: str = ""
    routes: dict[str, Route] = field(default_factory=dict)
    log: list[Request] = field(default_factory=list)

    def url(self, path: str) -> str:
        return f"http://{self.address}{path}"

    def asked(self, path: str) -> int:
        return sum(request.path == path for request in self.log)


def reply(
    status: int | str = 200, body: bytes = b"", length: int | None = None, **headers: object
) -> Route:
    """An ordinary answer; ``length`` lies about the body, ``Retry_After=3`` adds a header."""
    told = {"Content-Length": len(body) if length is None else length, "Connection": "close"}
    told |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"HTTP/1.1 {status} Said", *(f"{name}: {value}" for name, value in told.items())]
    head = "\r\n".join([*lines, "", ""]).encode("utf-8")
    return lambda request: [head + body]


def redirect(to: str, status: int = 302) -> Route:
    return reply(status, Location=to)


def in_turn(*routes: Route) -> Route:
    """The first answer to the first request of a path, and so on; the last one stays."""
    return lambda request: routes[min(request.times_before, len(routes) - 1)](request)


def drip(pieces: Iterable[bytes], seconds: float) -> Route:
    def slowly(_: Request) -> Iterable[bytes]:
        for piece in pieces:
            yield piece
            sleep(seconds)

    return slowly


class _Handler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        server: Server = self.server.told
        text = b""
        while b"\r\n\r\n" not in text:
            piece = self.request.recv(65536)
            if not piece:
                return
            text += piece
            if text[0] == 0x16:  # TLS, to which a server without it answers so
                self.request.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                return
        first, _, rest = text.decode("latin-1").partition("\r\n")
        path = first.split(" ")[1]
        headers = {name.lower(): value for name, value in Parser().parsestr(rest).items()}
        request = Request(path, headers, monotonic(), server.asked(path), self.request)
        server.log.append(request)
        route = server.routes.get(path.partition("?")[0], reply(404, b"nothing here"))
        try:
            for piece in route(request):
                self.request.sendall(piece)
        except OSError:
            pass  # the crawler hung up, as it should on most of these


class _Threads(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64


def serve() -> tuple[Server, Callable[[], None]]:
    threads = _Threads(("127.0.0.1", 0), _Handler)
    threads.block_on_close = False
    server = threads.told = Server("{}:{}".format(*threads.server_address))
    threading.Thread(target=threads.serve_forever, args=(0.02,), daemon=True).start()

    def close() -> None:
        threads.shutdown()
        threads.server_close()

    return server, close


def picture(seed: int = 0, kind: str = "PNG", size=(64, 56), mode="RGB", **options) -> bytes:
    """A file whose pixels differ with every seed."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), np.uint8)
    buffer = BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


class Listed:
    """A search engine as simple as can be: it answers with the URLs themselves, as JSON."""

    def __init__(self, base_url: str, name: str = "listed") -> None:
        self.base_url, self.name, self.headers = base_url, name, {}

    def address(self, keyword: str, page: int) -> str:
        return f"{self.base_url}/results?{urlencode(dict(q=keyword, page=page))}"

    def read(self, content: bytes, page: int) -> Page:
        answer = json.loads(content)
        return Page(tuple(map(Found, answer["urls"])), answer["last"])


def results(pages: dict[str, list[list[str]]]) -> Route:
    """That engine's own side: keyword -> pages -> URLs."""

    def answer(request: Request) -> Iterable[bytes]:
        query = parse_qs(urlsplit(request.path).query)
        page, found = int(query["page"][0]), pages[query["q"][0]]
        told = {"urls": found[page], "last": page + 1 == len(found)}
        return reply(200, json.dumps(told).encode())(request)

    return answer
