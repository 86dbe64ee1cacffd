"""Each engine against a server that answers as the engine's documentation or pages show."""

import html
import json
from urllib.parse import parse_qs, urlsplit

import pytest

from occfer.data.crawl import ENGINES, Baidu, Bing, Manifest, Openverse, crawl
from occfer.data.crawl.engines import BadPage, Engine
from tests.data.crawl.server import picture, reply

ATTRIBUTION = (
    '"A smile" by Ann is licensed under CC BY 2.0. To view a copy of this license, visit '
    "https://creativecommons.org/licenses/by/2.0/."
)


def openverse_page(server, page: int, pages: int) -> bytes:
    """The fields of the API's documented answer that matter, and some that do not."""
    results = [
        {
            "id": f"4bc43a04-ef46-4544-a0c1-63c63f56e27{page}",
            "title": "A smile",
            "foreign_landing_url": f"https://www.example.org/photos/{page}",
            "url": server.url(f"/openverse/{page}.png"),
            "creator": "Ann",
            "license": "by",
            "license_version": "2.0",
            "license_url": "https://creativecommons.org/licenses/by/2.0/",
            "provider": "flickr",
            "attribution": ATTRIBUTION,
            "height": 56,
            "width": 64,
            "mature": False,
            "tags": [{"name": "smile", "accuracy": None}],
        },
        {
            "title": None,
            "foreign_landing_url": None,
            "url": server.url(f"/openverse/{page}b.png"),
            "creator": None,
            "license": "cc0",
            "license_version": None,
            "license_url": None,
            "attribution": None,
        },
    ]
    told = {"result_count": 2 * pages, "page_count": pages, "page_size": 20, "results": results}
    return json.dumps(told | {"page": page}).encode()


def bing_page(*urls: str) -> bytes:
    """One ``imgpt`` block per picture, whose ``m`` attribute is JSON, as Bing writes it."""
    blocks = [
        '<li><div class="iuscp isv"><div class="imgpt"><a class="iusc" m="'
        + html.escape(json.dumps({"sid": "", "murl": url, "turl": "https://tse1.mm.bing.net/th.jpg",
                                  "md5": "0", "t": "A \ue000happy\ue001 child"},
                                 separators=(",", ":"), ensure_ascii=False))
        + '" href="/images/search?view=detailV2"><img class="mimg"/></a></div></div></li>'
        for url in urls
    ]  # fmt: skip
    return (
        f'<div class="dgControl"><ul class="dgControl_list">{"".join(blocks)}</ul></div>'.encode()
    )


def baidu_page(*urls: str) -> bytes:
    """``objURL`` as Baidu obfuscates it; its JSON escapes single quotes, and ends in ``{}``."""
    plain = "abcdefghijklmnopqrstuvw1234567890"
    hidden = "wkv1ju2it3hs4g5rq6fp7eo8dn9cm0bla"
    letters = str.maketrans(plain, hidden)
    signs = {":": "_z2C$q", ".": "_z&e3B", "/": "AzdH3F"}
    data = [
        {"objURL": "".join(signs.get(c, c.translate(letters)) for c in url), "title": "it's"}
        for url in urls
    ]
    return json.dumps({"displayNum": len(urls), "data": [*data, {}]}).replace("'", "\\'").encode()


def query(request) -> dict[str, str]:
    return {key: value[0] for key, value in parse_qs(urlsplit(request.path).query).items()}


@pytest.fixture
def crawled(server, tmp_path, quick, tight):
    """``crawled(engine, keyword)``: the rows and what the engine was asked."""

    def run(engine, keyword: str, quota: int = 100) -> list[dict]:
        crawl(
            tmp_path / "crawl", [keyword], "tests@example.org", [engine], quota, tight, quick,
            [server.address], progress=False,
        )  # fmt: skip
        with Manifest(tmp_path / "crawl") as manifest:
            return list(manifest.rows())

    return run


def test_openverse_is_asked_page_by_page_and_its_licences_are_kept(server, crawled) -> None:
    def answer(request):
        return reply(200, openverse_page(server, int(query(request)["page"]), 3))(request)

    server.routes["/v1/images/"] = answer
    for seed, name in enumerate(f"{page}{letter}" for page in (1, 2, 3) for letter in ("", "b")):
        server.routes[f"/openverse/{name}.png"] = reply(200, picture(seed))
    rows = crawled(Openverse(server.url(""), token="key", licences="by,cc0"), "开心 小孩子")
    assert [row["status"] for row in rows] == ["stored"] * 6
    assert [row["page"] for row in rows] == [0, 0, 1, 1, 2, 2]
    assert {row["engine"] for row in rows} == {"openverse"}
    assert rows[0]["landing"] == "https://www.example.org/photos/1"
    assert rows[0]["licence"] == "by 2.0 https://creativecommons.org/licenses/by/2.0/"
    assert rows[0]["attribution"] == ATTRIBUTION
    assert (rows[1]["licence"], rows[1]["attribution"], rows[1]["landing"]) == ("cc0", "", "")
    searches = [request for request in server.log if request.path.startswith("/v1")]
    assert [query(request) for request in searches] == [
        {"q": "开心 小孩子", "page": str(page), "page_size": "20", "license": "by,cc0"}
        for page in (1, 2, 3)
    ]
    assert {request.headers["authorization"] for request in searches} == {"Bearer key"}
    others = [request for request in server.log if request not in searches]
    assert {"authorization" in request.headers for request in others} == {False}


def test_openverse_is_asked_for_no_more_than_it_gives_anonymously() -> None:
    told = {"page_count": 50, "results": [{"url": "https://example.org/a.png"}]}

    def last(engine: Openverse) -> list[bool]:
        content = json.dumps(told).encode()
        return [engine.read(content, page).last for page in (0, 10, 11, 48, 49)]

    assert last(Openverse()) == [False, False, True, True, True]
    assert last(Openverse(token="key")) == [False, False, False, False, True]


@pytest.mark.parametrize("token", ["secret\nsecret", "secret\r\n", "secr\u00e9t", "secret\0"])
def test_a_token_that_cannot_be_sent_is_refused_and_not_repeated(token) -> None:
    with pytest.raises(ValueError, match="printable ASCII characters") as refusal:
        Openverse(token=token)
    assert "secr" not in str(refusal.value)


def test_bing_is_read_through_icrawler(server, crawled) -> None:
    wanted = [server.url(f"/{name}.jpg") for name in ("a", "b", "c")]
    pages = {"0": bing_page(*wanted[:2], server.url("/d.png")), "20": bing_page(wanted[2])}

    def answer(request):
        return reply(200, pages.get(query(request)["first"], bing_page()))(request)

    server.routes["/images/async"] = answer
    server.routes |= {
        f"/{name}.jpg": reply(200, picture(n, "JPEG")) for n, name in enumerate("abc")
    }
    rows = crawled(Bing(server.url(""), {"license": "creativecommons"}), "happy & sad child")
    assert [(row["url"], row["status"], row["page"]) for row in rows] == [
        (wanted[0], "stored", 0), (wanted[1], "stored", 0), (wanted[2], "stored", 1),
    ]  # fmt: skip
    searches = [query(request) for request in server.log if "async" in request.path]
    assert [search["first"] for search in searches] == ["0", "20", "40"]
    assert {search["q"] for search in searches} == {"happy & sad child"}
    assert "licenseType-Any" in searches[0]["qft"]


def test_baidu_is_read_through_icrawler(server, crawled) -> None:
    wanted = [server.url(f"/{name}.jpg") for name in ("a1", "b2")]
    pages = {"0": baidu_page(*wanted), "30": baidu_page()}

    def answer(request):
        return reply(200, pages[query(request)["pn"]])(request)

    server.routes["/search/acjson"] = answer
    server.routes |= {
        f"/{name}.jpg": reply(200, picture(n, "JPEG")) for n, name in enumerate(("a1", "b2"))
    }
    rows = crawled(Baidu(server.url("")), "开心 小孩子")
    assert [(row["url"], row["status"]) for row in rows] == [(url, "stored") for url in wanted]
    searches = [query(request) for request in server.log if "acjson" in request.path]
    assert [(search["pn"], search["rn"]) for search in searches] == [("0", "30"), ("30", "30")]
    assert {(search["word"], search["face"]) for search in searches} == {("开心 小孩子", "1")}


@pytest.mark.parametrize(
    ("engine", "content"),
    [
        (Openverse(), b"<html>Please wait"),
        (Openverse(), b"[]"),
        (Openverse(), b'{"results": null, "page_count": 1}'),
        (Openverse(), b'{"results": [{"title": "no url"}], "page_count": 1}'),
        (Openverse(), b'{"results": [{"url": ["a"]}], "page_count": 1}'),
        (Openverse(), b'{"results": [{"url": null}]}'),
        (Openverse(), b'{"results": [], "page_count": Infinity}'),
        (Openverse(), b'{"results": [], "page_count": 1e999}'),
        (Openverse(), b'{"results": [], "page_count": NaN}'),
        (Openverse(), b"[" * 100_000),
        (Openverse(), b"\xff\xfe"),
        (Bing(), b"<html>Are you a robot?"),
        (Bing(), b""),
        (Baidu(), b"<html>Are you a robot?"),
        (Baidu(), b'{"antiFlag": 1, "message": "Forbid spider access"}'),
        (Baidu(), b'{"data": 3}'),
        (Baidu(), b'{"data": [{}]}'),
    ],
)
def test_what_is_no_page_of_results_is_said_so(engine, content) -> None:
    with pytest.raises(BadPage, match=rf"^{engine.name} answered with something else than a page"):
        engine.read(content, 0)


def test_a_refusing_engine_stops_its_search_and_is_asked_again_by_the_next_call(
    server, tmp_path, quick, tight
) -> None:
    server.routes["/v1/images/"] = reply(200, b"<html>Please wait")
    call = dict(
        folder=tmp_path, keywords=["sad man"], contact="tests@example.org",
        engines=[Openverse(server.url(""))], limits=tight, pace=quick,
        allowed=[server.address], progress=False,
    )  # fmt: skip
    [(search, why)] = crawl(**call).stopped.items()
    assert search == ("openverse", "sad man")
    assert "something else than a page of results" in why
    server.routes["/v1/images/"] = reply(401, b"{}")
    assert crawl(**call).stopped == {("openverse", "sad man"): "openverse: 401 Said"}
    server.routes["/v1/images/"] = reply(200, openverse_page(server, 1, 1))
    server.routes |= {"/openverse/1.png": reply(200, picture(1)), "/openverse/1b.png": reply(404)}
    summary = crawl(**call)
    assert summary.stopped == {}
    assert summary.statuses == {"http_error": 1, "stored": 1}


def test_the_engines_by_name() -> None:
    assert list(ENGINES) == ["openverse", "bing", "baidu"]
    assert all(isinstance(engine(), Engine) for engine in ENGINES.values())
    assert {name: engine().name for name, engine in ENGINES.items()} == {n: n for n in ENGINES}
    assert "key" not in repr(Openverse(token="key"))
