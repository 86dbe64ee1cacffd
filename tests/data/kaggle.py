"""Kaggle's side of a download, on a port of this machine: the real kagglehub is sent there.

kagglehub takes ``http://localhost`` for Kaggle where ``KAGGLE_API_ENVIRONMENT`` says LOCALHOST,
and reaches it through the proxy of the environment, which is this server. As with Kaggle, the
version is told as JSON, and a download leads to a store that keeps an MD5 and can go on from the
middle.
"""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

API = "http://localhost/api/v1/datasets.DatasetApiService"
STORE = "http://localhost/store/archive.zip"


@dataclass
class Kaggle:
    """``refuse``: a status in place of answers. ``cut``: the store hangs up after so many bytes,
    once. ``checksum``: what the store says the content is, where it is not true."""

    content: bytes
    refuse: int = 0
    cut: int = 0
    checksum: bytes = b""
    asked: list[str] = field(default_factory=list)
    proxy: str = ""

    @property
    def environment(self) -> dict[str, str]:
        """What sends kagglehub here; nobody's credentials go with it."""
        names = ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY")
        sent_here = {**dict.fromkeys(names, self.proxy), "no_proxy": "", "NO_PROXY": ""}
        return {**sent_here, "KAGGLE_API_ENVIRONMENT": "LOCALHOST"}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def kaggle(self) -> Kaggle:
        return self.server.kaggle

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        asked = json.loads(body)
        name = f"{asked['ownerSlug']}/{asked['datasetSlug']}"
        self.kaggle.asked.append(f"{self.path.removeprefix(API)[1:]} {name}")
        if self.kaggle.refuse:
            self._answer(self.kaggle.refuse, b"no")
        elif self.path == f"{API}/GetDataset":
            version = json.dumps({"currentVersionNumber": 1}).encode()
            self._answer(200, version, **{"Content-Type": "application/json"})
        else:
            self._answer(302, b"", Location=STORE)

    def do_GET(self) -> None:
        begin = int(self.headers.get("Range", "bytes=0-")[6:-1])
        self.kaggle.asked.append(f"store from {begin}")
        content = self.kaggle.content
        digest = self.kaggle.checksum or hashlib.md5(content).digest()
        told = {
            "Accept-Ranges": "bytes",
            "Content-Type": "application/zip",
            "X-Goog-Hash": f"md5={base64.b64encode(digest).decode()}",
        }
        self._answer(206 if begin else 200, content[begin:], self.kaggle.cut, **told)
        self.kaggle.cut = 0

    def _answer(self, status: int, body: bytes, cut: int = 0, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        with suppress(ConnectionError):  # whoever asked has enough
            self.wfile.write(body[:cut] if cut else body)

    def log_message(self, *_) -> None:
        pass


@contextmanager
def serve(content: bytes, **choices) -> Iterator[Kaggle]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.kaggle = Kaggle(content, proxy=f"http://127.0.0.1:{server.server_port}", **choices)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server.kaggle
    finally:
        server.shutdown()
        server.server_close()
