"""What strangers' servers may answer, and what becomes of it: one row a case.

Every case is a URL on a page of results, asked by the whole crawler over real HTTP.
"""

# ruff: noqa: E501  (the table of cases)
import gzip
import hashlib
import io
import re
import socket
import struct
import tracemalloc
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image

from occfer.data import pictures
from occfer.data.crawl import Manifest, crawl
from occfer.data.crawl.addresses import is_public, parse, resolve
from occfer.data.crawl.fetch import Fetcher, Limits
from occfer.data.crawl.outcomes import Failure
from occfer.engine.records import Record
from tests.data.conftest import RESULTS
from tests.data.crawl.server import (
    Listed,
    Request,
    Route,
    Server,
    drip,
    in_turn,
    picture,
    redirect,
    reply,
    results,
    serve,
)

# Where the two servers of a test run stand; filled in before they are asked.
PLACES: dict[str, str] = {}


def fill(text: str) -> str:
    for name, place in PLACES.items():
        text = text.replace(f"<{name}>", place)
    return text


def to(where: str) -> Route:
    """A redirect to a place that is known only when the servers run."""
    return lambda request: redirect(fill(where))(request)


def huge_png(width: int, height: int, rows: bytes = b"") -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


def endless(piece: bytes = bytes(10_000)):
    def forever(_: Request):
        yield b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\n"
        while True:
            yield piece

    return forever


def endless_chunks(_: Request):
    yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    while True:
        yield b"2710\r\n" + bytes(10_000) + b"\r\n"


def endless_headers(_: Request):
    yield b"HTTP/1.1 200 OK\r\n"
    while True:
        yield b"X-More: of the same\r\n"


def chunk_of(size: bytes):
    """Content without end, as one chunk of that size."""

    def forever(_: Request):
        yield CHUNKED + size + b"\r\n"
        while True:
            yield bytes(10_000)

    return forever


def reset(request: Request):
    """A connection that is torn down rather than closed."""
    request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.connection.close()
    return []


def drop_half(body: bytes):
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    return lambda request: [head + body[: len(body) // 2]]


def zipped(body: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("../../face.png", body)
    return buffer.getvalue()


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return picture(31, "JPEG", exif=exif)


def animated(kind: str) -> bytes:
    frames = [Image.open(io.BytesIO(picture(seed))) for seed in (41, 42)]
    buffer = io.BytesIO()
    frames[0].save(buffer, kind, save_all=True, append_images=frames[1:])
    return buffer.getvalue()


def sixteen_bits() -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(5).integers(0, 65536, (56, 64), np.uint16)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


GOOD, JPEG = picture(1), picture(2, "JPEG")
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>'
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

# What it is; its path or URL; what the server answers there; the expected status; a part of the
# reason given.
# fmt: off
CASES: list[tuple[str, str, Route | None, str, str]] = [
    # Pictures in all their forms: stored, whatever their names and headers say.
    ("a PNG",                       "/a.png", reply(200, GOOD), "stored", ""),
    ("a JPEG",                      "/a.jpg", reply(200, JPEG), "stored", ""),
    ("a BMP",                       "/a.bmp", reply(200, picture(3, "BMP")), "stored", ""),
    ("a WebP",                      "/a.webp", reply(200, picture(4, "WEBP")), "stored", ""),
    ("a PNG that is called JPEG",   "/b.jpg", reply(200, picture(5), Content_Type="image/jpeg"), "stored", ""),
    ("a JPEG that is called text",  "/b.txt", reply(200, picture(6, "JPEG"), Content_Type="text/html"), "stored", ""),
    ("CMYK",                        "/cmyk.jpg", reply(200, picture(7, "JPEG", mode="CMYK")), "stored", ""),
    ("grey, 16 bits",               "/16.png", reply(200, sixteen_bits()), "stored", ""),
    ("a palette",                   "/p.png", reply(200, picture(8, mode="P")), "stored", ""),
    ("transparent",                 "/alpha.png", reply(200, picture(9, mode="RGBA")), "stored", ""),
    ("black and white",             "/1.png", reply(200, picture(10, mode="1")), "stored", ""),
    ("turned by EXIF",              "/exif.jpg", reply(200, turned()), "stored", ""),
    ("an animated WebP",            "/anim.webp", reply(200, animated("WEBP")), "stored", ""),
    ("an animated PNG",             "/anim.png", reply(200, animated("PNG")), "stored", ""),
    ("gzip on the way",             "/gz.png", reply(200, gzip.compress(picture(11)), Content_Encoding="gzip"), "stored", ""),
    ("deflate on the way",          "/df.png", reply(200, zlib.compress(picture(12)), Content_Encoding="deflate"), "stored", ""),
    ("in chunks",                   "/chunks.png", lambda _: [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % len(picture(13)), picture(13), b"\r\n0\r\n\r\n"], "stored", ""),
    ("no length, then the end",     "/http10.png", lambda _: [b"HTTP/1.0 200 OK\r\n\r\n", picture(14)], "stored", ""),
    ("a Chinese name",              "/开心 孩子.png".replace(" ", "%20"), reply(200, picture(15)), "stored", ""),
    ("a name that climbs",          "/../../../../etc/cron.d/face.png", reply(200, picture(16)), "stored", ""),
    ("a name that climbs, encoded", "/%2e%2e%2f%2e%2e%2fetc%2fpasswd", reply(200, picture(17)), "stored", ""),
    ("NUL in the name",             "/face.png%00.sh", reply(200, picture(18)), "stored", ""),
    ("3,900 letters",               "/" + "a" * 3900, reply(200, picture(19)), "stored", ""),
    ("a name from a header",        "/cd.png", reply(200, picture(20), Content_Disposition='attachment; filename="../../.bashrc"'), "stored", ""),
    ("a fragment",                  "/f.png#<script>", reply(200, picture(21)), "stored", ""),
    ("one good redirect",           "/moved.png", redirect("/to.png"), "stored", ""),
    ("four of them",                "/r0.png", redirect("/r1.png"), "stored", ""),
    ("503, then good",              "/503.png", in_turn(reply(503), reply(200, picture(24))), "stored", ""),
    ("429, Retry-After, then good", "/429.png", in_turn(reply(429, Retry_After=1), reply(200, picture(25))), "stored", ""),
    ("reset, then good",            "/reset-good.png", in_turn(reset, reply(200, picture(26))), "stored", ""),
    ("cut short, then good",        "/short-good.png", in_turn(drop_half(picture(27)), reply(200, picture(27))), "stored", ""),
    ("more than is announced",      "/lies.png", reply(200, picture(28) + b"<script>", length=len(picture(28))), "stored", ""),
    # Once is enough.
    ("the same bytes elsewhere",    "/copy.png", reply(200, GOOD), "duplicate", ""),
    # Contents that are no sound picture.
    ("nothing",                     "/zero.png", reply(200, b""), "no_picture", "b''"),
    ("HTML called JPEG",            "/page.jpg", reply(200, b"<!doctype html><p>Sign in", Content_Type="image/jpeg"), "no_picture", "doctype"),
    ("SVG",                         "/a.svg", reply(200, SVG, Content_Type="image/svg+xml"), "no_picture", "<svg"),
    ("SVG called PNG",              "/svg.png", reply(200, SVG, Content_Type="image/png"), "no_picture", "<svg"),
    ("a ZIP called PNG",            "/zip.png", reply(200, zipped(GOOD)), "no_picture", "PK"),
    ("PostScript called JPEG",      "/eps.jpg", reply(200, b"%!PS-Adobe-3.0 EPSF-3.0\n"), "no_picture", "%!PS"),
    ("a TIFF",                      "/a.tiff", reply(200, picture(29, "TIFF")), "no_picture", "II"),
    ("an animated GIF",             "/anim.gif", reply(200, animated("GIF")), "no_picture", "GIF8"),
    ("brotli, not asked for",       "/br.png", reply(200, GOOD, Content_Encoding="br"), "no_picture", "'br'"),
    ("half a PNG",                  "/half.png", reply(200, GOOD[: len(GOOD) // 2]), "broken", "truncated"),
    ("half a JPEG",                 "/half.jpg", reply(200, JPEG[: len(JPEG) // 2]), "broken", "truncated"),
    ("a head without a body",       "/head.jpg", reply(200, b"\xff\xd8\xff\xe0"), "broken", "cannot be read"),
    ("a PNG, one bit wrong",        "/bit.png", reply(200, GOOD[:60] + bytes([GOOD[60] ^ 1]) + GOOD[61:]), "broken", ""),
    ("a PNG's head on a ZIP",       "/poly.png", reply(200, b"\x89PNG\r\n\x1a\n" + zipped(GOOD)), "broken", ""),
    ("gzip that is none",           "/badgz.png", reply(200, GOOD, Content_Encoding="gzip"), "broken", "unfolded"),
    ("one pixel",                   "/pixel.png", reply(200, picture(1, size=(1, 1))), "too_small", "1 x 1"),
    # More than anybody wants.
    ("a bomb of pixels",            "/bomb.png", reply(200, huge_png(30_000, 30_000)), "too_many_pixels", "900000000"),
    ("a small bomb of pixels",      "/flat.png", reply(200, huge_png(1000, 600, bytes(600 * 3001))), "too_many_pixels", "1000 x 600"),
    ("a bomb of gzip",              "/bomb.gz", reply(200, gzip.compress(bytes(50_000_000)), Content_Encoding="gzip"), "too_large", "200,000"),
    ("too long, and says so",       "/long.png", reply(200, b"", length=10**12), "too_large", "1,000,000,000,000"),
    ("endless",                     "/endless.png", endless(), "too_large", "more came"),
    ("endless chunks",              "/chunked.png", endless_chunks, "too_large", "more came"),
    ("endless headers",             "/headers.png", endless_headers, "unreachable", "headers"),
    ("an overlong header",          "/header.png", lambda _: [b"HTTP/1.1 200 OK\r\nX: ", bytes(100_000).replace(b"\0", b"x")], "unreachable", "line"),
    ("a slow drip",                 "/drip.png", drip([b"HTTP/1.1 200 OK\r\n\r\n", *[b"."] * 200], 0.05), "too_slow", "1.5 s"),
    ("a slow drip of headers",      "/dripping.png", drip([b"HTTP/1.1 200 OK\r\nX: ", *[b"."] * 200], 0.05), "too_slow", "1.5 s"),
    ("silence",                     "/silence.png", drip([b"", b""], 3), "too_slow", "1.5 s"),
    ("always cut short",            "/short.png", drop_half(GOOD), "cut_short", "announced"),
    ("a broken chunk",              "/chunk.png", lambda _: [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7fffffff\r\nabc"], "cut_short", ""),
    # Redirects.
    ("to itself",                   "/self.png", redirect("/self.png"), "redirects", "loop"),
    ("in a circle",                 "/ping.png", redirect("/pong.png"), "redirects", "loop"),
    ("one too many",                "/r.png", redirect("/r0.png"), "redirects", "more than 4"),
    ("endless, never the same",     "/n.png", lambda r: redirect(f"/n.png?{len(r.path)}{'0' * len(r.path)}")(r), "redirects", "more than 4"),
    ("to this machine",             "/in1.png", to("http://<secret>/"), "refused", "127.0.0.1"),
    ("to this machine, by name",    "/in2.png", to("http://localhost:<port>/"), "refused", "not on the public"),
    ("to this machine, IPv6",       "/in3.png", to("http://[::1]:<port>/"), "refused", "::1"),
    ("to it as IPv4 in IPv6",       "/in4.png", to("http://[::ffff:127.0.0.1]:<port>/"), "refused", "not on the public"),
    ("to it in decimal",            "/in5.png", to("http://2130706433:<port>/"), "refused", "127.0.0.1"),
    ("to it in hexadecimal",        "/in6.png", to("http://0x7f000001:<port>/"), "refused", "127.0.0.1"),
    ("to it in octal",              "/in7.png", to("http://0177.0.0.1:<port>/"), "refused", "127.0.0.1"),
    ("to it, shortened",            "/in8.png", to("http://127.1:<port>/"), "refused", "127.0.0.1"),
    ("to any address",              "/in9.png", to("http://0.0.0.0:<port>/"), "refused", "0.0.0.0"),
    ("to a cloud's metadata",       "/meta.png", redirect("http://169.254.169.254/latest/meta-data/"), "refused", "169.254.169.254"),
    ("to a file",                   "/file.png", redirect("file:///etc/passwd"), "refused", "'file'"),
    ("to other schemes",            "/ftp.png", redirect("ftp://127.0.0.1/face.png"), "refused", "'ftp'"),
    ("to data",                     "/data.png", redirect("data:image/png;base64,AAAA"), "refused", "'data'"),
    ("without saying where",        "/where.png", reply(302), "http_error", "302"),
    # URLs that are not asked at all.
    ("a file",                      "file:///etc/passwd", None, "refused", "'file'"),
    ("data",                        "data:image/png;base64,AAAA", None, "refused", "'data'"),
    ("JavaScript",                  "javascript:alert(1)", None, "refused", "'javascript'"),
    ("gopher",                      "gopher://<secret>/_GET", None, "refused", "'gopher'"),
    ("this machine",                "http://<secret>/", None, "refused", "127.0.0.1"),
    ("a private network",           "http://10.0.0.1/a.png", None, "refused", "10.0.0.1"),
    ("another private network",     "http://192.168.1.1/a.png", None, "refused", "192.168.1.1"),
    ("a carrier's network",         "http://100.64.0.1/a.png", None, "refused", "100.64.0.1"),
    ("IPv6, unique local",          "http://[fd00::1]/a.png", None, "refused", "fd00::1"),
    ("IPv6, link local",            "http://[fe80::1%25eth0]/a.png", None, "refused", ""),
    ("IPv4 behind NAT64",           "http://[64:ff9b::7f00:1]/a.png", None, "refused", "64:ff9b::7f00:1"),
    ("a name and a password",       "http://me:secret@<server>/a.png", None, "refused", "password"),
    ("a name that looks a host",    "http://example.org@<secret>/", None, "refused", "user name"),
    ("a line of its own",           "http://<server>" + ("/a.png HTTP/1.1\r\nX-Injected: 1"), None, "refused", "control"),
    ("NUL",                         "http://<server>" + ("/a\0.png"), None, "refused", "control"),
    ("a backslash",                 "http://<server>\\@<secret>/", None, "refused", "backslash"),
    ("5,000 letters",               "http://<server>" + ("/" + "a" * 5000), None, "refused", "4,096"),
    ("no host",                     "http:///a.png", None, "refused", "no host"),
    ("no port",                     "http://127.0.0.1:99999/a.png", None, "refused", "malformed"),
    ("not even a URL",              "happy child.png", None, "refused", ""),
    ("half a letter",               "http://\ud800.example/", None, "refused", ""),
    ("no such name",                "http://no-such-host.invalid/a.png", None, "unreachable", "no address"),
    ("TLS that is none",            "https://<server>/a.png", None, "unreachable", "SSL"),
    # Servers that say no, or later, or nonsense.
    ("403",                         "/403.png", reply(403), "http_error", "403"),
    ("404",                         "/404.png", reply(404), "http_error", "404"),
    ("410",                         "/410.png", reply(410), "http_error", "410"),
    ("204, no content",             "/204.png", reply(204), "http_error", "204"),
    ("206, a part",                 "/206.png", reply(206, GOOD), "http_error", "206"),
    ("500, always",                 "/500.png", reply(500), "busy", "500"),
    ("429 for a day",               "/day.png", reply(429, Retry_After=86400), "busy", "429"),
    ("not to be learnt from",       "/noai.png", reply(200, GOOD, X_Robots_Tag="noindex, NoAI"), "declined", "NoAI"),
    ("reset, always",               "/reset.png", reset, "unreachable", "no HTTP answer"),
    ("no HTTP",                     "/ssh.png", lambda _: [b"SSH-2.0-OpenSSH_9.6\r\n"], "unreachable", "no HTTP answer"),
    ("closed without a word",       "/closed.png", lambda _: [], "unreachable", "no HTTP answer"),
]
# fmt: on
# Where the redirects above lead.
TARGETS: dict[str, Route] = {
    "/to.png": reply(200, picture(22)),
    "/r1.png": redirect("/r2.png", 301),
    "/r2.png": redirect("/r3.png", 307),
    "/r3.png": redirect("/r4.png", 308),
    "/r4.png": reply(200, picture(23)),
    "/pong.png": redirect("/ping.png"),
}


@dataclass
class Crawled:
    folder: Path
    rows: dict[str, dict]  # by what the case is
    server: Server
    secret: Server
    statuses: dict[str, int]


@pytest.fixture(scope="module")
def crawled(tmp_path_factory, quick, tight) -> Crawled:
    """All cases on one page of results, crawled once."""
    (server, close), (secret, close_secret) = serve(), serve()
    secret.routes["/"] = reply(200, picture(99))
    port = secret.address.split(":")[1]
    PLACES.update(server=server.address, secret=secret.address, port=port)
    server.routes.update(TARGETS)
    urls = []
    for _, where, answer, *_ in CASES:
        if answer is None:
            urls.append(fill(where))
        else:
            urls.append(server.url(where))
            server.routes[quote(where.partition("#")[0], safe="/%")] = answer
    server.routes["/results"] = results({"happy child": [urls]})
    folder = tmp_path_factory.mktemp("hostile")
    summary = crawl(
        folder,
        ["happy child"],
        "tests@example.org",
        [Listed(server.url(""))],
        quota=1000,
        limits=tight,
        pace=quick,
        allowed=[server.address],
        progress=False,
    )
    with Manifest(folder) as manifest:
        rows = list(manifest.rows())
    close(), close_secret()
    assert len(rows) == len(CASES)
    by_case = {name: row for (name, *_), row in zip(CASES, rows, strict=True)}
    return Crawled(folder, by_case, server, secret, summary.statuses)


@pytest.mark.parametrize(
    ("name", "status", "reason"), [(case[0], case[3], case[4]) for case in CASES], ids=str
)
def test_every_case_ends_as_it_should(crawled, name, status, reason) -> None:
    row = crawled.rows[name]
    assert row["status"] == status, row["reason"]
    assert reason in row["reason"]


def test_the_table_in_the_book_shows_these_cases(crawled, keep_record) -> None:
    cases = [
        dict(
            case=name,
            asked=answer is not None,
            expected=status,
            status=crawled.rows[name]["status"],
        )
        for name, _, answer, status, _ in CASES
    ]
    keep_record("hostile", cases=cases)
    assert all(case["status"] == case["expected"] for case in cases)
    assert Record.load(RESULTS / "collecting" / "hostile.json").values["cases"] == cases


def test_no_two_cases_have_one_name_and_none_is_lost(crawled) -> None:
    assert len({name for name, *_ in CASES}) == len(CASES) >= 40
    assert sum(crawled.statuses.values()) == len(CASES)


def test_nobody_reached_the_other_server(crawled) -> None:
    assert crawled.secret.log == []


def test_files_are_named_by_their_content_and_nothing_else_is_written(crawled) -> None:
    stored = {r["sha256"]: r for r in crawled.rows.values() if r["status"] == "stored"}
    endings = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "BMP": ".bmp"}
    expected = {
        crawled.folder / "pictures" / key[:2] / f"{key}{endings[row['format']]}"
        for key, row in stored.items()
    }
    found = {path for path in crawled.folder.rglob("*") if path.is_file()}
    ours = {crawled.folder / name for name in ("manifest.sqlite", ".lock.sqlite")}
    assert found == expected | ours
    for path in expected:
        content = path.read_bytes()
        row = stored[path.stem]
        assert hashlib.sha256(content).hexdigest() == path.stem
        assert len(content) == row["bytes"]
        assert pictures.load(path, "RGB").shape == (row["height"], row["width"], 3)


def test_pictures_are_measured_upright(crawled) -> None:
    row = crawled.rows["turned by EXIF"]
    assert (row["width"], row["height"]) == (56, 64)
    assert (crawled.rows["a PNG"]["width"], crawled.rows["a PNG"]["height"]) == (64, 56)


def test_what_is_refused_was_not_asked_and_what_is_final_was_asked_once(crawled) -> None:
    for name, where, answer, status, _ in CASES:
        if answer is None:
            continue
        asked = crawled.server.asked(quote(where.partition("#")[0], safe="/%"))
        if name in ("503, then good", "429, Retry-After, then good", "reset, then good"):
            assert asked == 2, name
        elif status in ("busy", "unreachable", "cut_short", "too_slow") and name != "429 for a day":
            assert asked == 3, name
        elif status == "http_error" or name == "429 for a day":
            assert asked == 1, name


def test_a_server_that_asks_to_wait_is_waited_for(crawled) -> None:
    first, second = (r.time for r in crawled.server.log if r.path == "/429.png")
    assert 1 <= second - first < 4


def test_every_request_says_who_asks_and_nothing_more(crawled) -> None:
    for request in crawled.server.log:
        assert re.fullmatch(
            r"occfer/[\w.]+ \(\+https://github.com/occfer/occfer; tests@example.org\)",
            request.headers["user-agent"],
        )
        assert request.headers["host"] == crawled.server.address
        assert request.headers.keys() == {
            "host", "user-agent", "accept", "accept-encoding", "connection"
        }  # fmt: skip


def test_after_the_judgement_the_name_may_mean_what_it_likes(
    monkeypatch, tmp_path, server, quick, tight
) -> None:
    """DNS rebinding: the name's first address is harmless, its second one is not."""
    other, close = serve()
    other.routes["/a.png"] = server.routes["/a.png"] = reply(200, GOOD)
    allowed, inward = server.address.split(":"), other.address.split(":")
    answers = iter([allowed, inward, inward])

    def rebind(host, port, *_, **__):
        address, real_port = allowed if host != "rebind.test" else next(answers)
        kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        return [(*kind, (address, int(real_port)))]

    monkeypatch.setattr(socket, "getaddrinfo", rebind)
    fetcher = Fetcher("tests@example.org", tight, [server.address])
    assert fetcher.fetch(f"http://rebind.test:{allowed[1]}/a.png").content == GOOD
    with pytest.raises(Failure, match=r"refused: rebind.test is 127.0.0.1"):
        fetcher.fetch(f"http://rebind.test:{inward[1]}/a.png")
    close()
    assert [request.headers["host"] for request in server.log] == [f"rebind.test:{allowed[1]}"]
    assert other.log == []


def test_one_inward_address_among_public_ones_refuses_them_all(monkeypatch) -> None:
    found = [(socket.AF_INET, 1, 6, "", (each, 80)) for each in ("93.184.215.14", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(Failure, match=r"10\.0\.0\.1, which is not on the public internet"):
        resolve(parse("http://two.test/"))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found[:1])
    assert resolve(parse("http://two.test/")) == "93.184.215.14"


@pytest.mark.parametrize(
    ("public", "addresses"),
    [
        (True, "8.8.8.8 93.184.215.14 2606:4700::1 ::ffff:8.8.8.8 64:ff9b::808:808 2002:808:808::"),
        (False, "127.0.0.1 127.8.8.8 0.0.0.0 10.1.2.3 172.16.0.1 172.31.255.255 192.168.0.1"),
        (False, "169.254.169.254 100.64.0.1 192.0.2.1 198.18.0.1 203.0.113.9 224.0.0.1 240.0.0.1"),
        (False, "255.255.255.255 ::1 :: fe80::1 fe80::1%eth0 fc00::1 fdff::1 fec0::1 ff02::1"),
        (False, "::ffff:127.0.0.1 ::ffff:10.0.0.1 ::127.0.0.1 64:ff9b::7f00:1 64:ff9b:1::a00:1"),
        (False, "2002:7f00:1:: 2002:a00:1:: 2001:0:808:808::1 2001:db8::1"),
    ],
)
def test_which_addresses_are_on_the_public_internet(public, addresses) -> None:
    assert {each: is_public(each) for each in addresses.split()} == dict.fromkeys(
        addresses.split(), public
    )


def test_a_bomb_of_gzip_is_not_even_unfolded(server, tight) -> None:
    """Fifty megabytes in fifty kilobytes: no more memory than the limit on bytes allows."""
    server.routes["/bomb"] = reply(200, gzip.compress(bytes(50_000_000)), Content_Encoding="gzip")
    fetcher = Fetcher("tests@example.org", tight, [server.address])
    tracemalloc.start()
    with pytest.raises(Failure, match="too_large"):
        fetcher.fetch(server.url("/bomb"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 * tight.bytes


def test_a_chunk_of_minus_one_byte_is_not_read_to_its_end(server, tight) -> None:
    """``http.client`` takes -1 for all that comes."""
    server.routes["/minus.png"] = chunk_of(b"-1")
    fetcher = Fetcher("tests@example.org", tight, [server.address])
    tracemalloc.start()
    with pytest.raises(Failure, match="too_large: more came"):
        fetcher.fetch(server.url("/minus.png"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 * tight.bytes


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (redirect("http://[::1/"), "refused"),
        (redirect("//[x]/"), "refused"),
        (reply(429, Retry_After="Mon, 01 Jan 99999999999999999999 00:00:00 GMT"), "busy"),
        (reply(503, Retry_After="Mon, 01 Jan 2024 00:00:00 +99999999999999999999"), "busy"),
        (reply(503, Retry_After="Mon, 01 Jan 0001 00:00:00 +2359"), "busy"),
        (chunk_of(b"-5"), "cut_short"),
        (chunk_of(b"-1"), "too_large"),
    ],
)
def test_what_the_standard_library_stumbles_over_is_a_failure_like_others(
    server, tight, answer, status
) -> None:
    server.routes["/a"] = answer
    fetcher = Fetcher("tests@example.org", tight, [server.address])
    with pytest.raises(Failure) as failure:
        fetcher.fetch(server.url("/a"))
    assert (failure.value.status, failure.value.wait or 0) == (status, 0)


@pytest.mark.parametrize(
    "limit",
    [dict(bytes=0), dict(pixels=0), dict(side=0), dict(redirects=-1), dict(seconds=0)]
    + [dict(seconds=seconds) for seconds in (float("nan"), float("inf"), 1e6)],
)
def test_limits_that_are_none_are_refused(limit) -> None:
    with pytest.raises(ValueError, match=r"Limits need bytes, .*, got Limits\("):
        Limits(**limit)


def test_a_search_key_goes_to_its_engine_and_nowhere_else(server, tight) -> None:
    other, close = serve()
    other.routes["/away"] = reply(200, b"[]")
    server.routes |= {"/a": redirect("/b"), "/b": redirect(f"http://{other.address}/away")}
    fetcher = Fetcher("tests@example.org", tight, [server.address, other.address])
    fetcher.fetch(server.url("/a"), {"Authorization": "Bearer key"})
    close()
    assert [r.headers.get("authorization") for r in server.log] == ["Bearer key"] * 2
    assert [r.headers.get("authorization") for r in other.log] == [None]


@pytest.mark.parametrize("contact", ["", "me", "me@example.org\r\nX-Header: 1", "mé@example.org"])
def test_who_asks_has_to_be_said(contact) -> None:
    with pytest.raises(ValueError, match="contact should be an e-mail or web address"):
        Fetcher(contact)
