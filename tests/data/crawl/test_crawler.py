"""Quotas, pauses, repairs and the manifest of a crawl."""

import json
import re
import sqlite3
import threading
import time
from dataclasses import replace
from itertools import pairwise

import pytest

from occfer.cli import main
from occfer.data.crawl import Manifest, Pace, crawl
from occfer.data.crawl.manifest import Found
from occfer.data.crawl.outcomes import Failure, Status
from tests.data.crawl.server import Listed, in_turn, picture, reply, results


@pytest.fixture
def call(server, tmp_path, quick, tight):
    """``call(pages, ...)``: crawl a server whose engine answers with these pages."""

    def run(pages: dict[str, list[list[str]]], quota: int = 100, **options):
        urls = {k: [[server.url(u) for u in page] for page in v] for k, v in pages.items()}
        server.routes["/results"] = results(urls)
        given = dict(
            folder=tmp_path / "crawl",
            keywords=list(pages),
            contact="tests@example.org",
            engines=[Listed(server.url(""))],
            limits=tight,
            pace=quick,
            allowed=[server.address],
            progress=False,
        )
        return crawl(quota=quota, **given | options)

    return run


@pytest.fixture
def rows(tmp_path):
    def read() -> list[dict]:
        with Manifest(tmp_path / "crawl") as manifest:
            return list(manifest.rows())

    return read


def serve_pictures(server, *paths: str) -> None:
    for seed, path in enumerate(paths):
        server.routes[path] = reply(200, picture(seed))


def test_a_quota_is_met_exactly_and_not_exceeded(server, call, rows) -> None:
    paths = [f"/{number}" for number in range(30)]
    serve_pictures(server, *paths[::2])  # every other one is a 404
    pages = {"sad man": [paths[:10], paths[10:20], paths[20:]]}
    summary = call(pages, quota=7)
    assert summary.stored == {("listed", "sad man"): 7}
    asked, still_to_ask = rows()[:13], rows()[13:]
    assert [row["status"] for row in asked] == [*["stored", "http_error"] * 6, "stored"]
    assert [row["status"] for row in still_to_ask] == ["found"] * 7
    assert [r.path for r in server.log if "results" in r.path] == [
        f"/results?q=sad+man&page={page}" for page in (0, 1)
    ]
    # A larger quota goes on where the smaller one ended, and asks nobody twice.
    assert call(pages, quota=9).stored == {("listed", "sad man"): 9}
    assert call(pages, quota=100).stored == {("listed", "sad man"): 15}
    assert max(server.asked(path) for path in paths) == 1


def test_a_url_found_twice_has_the_row_of_its_first_keyword(server, call, rows) -> None:
    serve_pictures(server, "/a", "/b", "/c")
    call({"sad man": [["/a", "/b", "/a"]]})
    call({"sad man": [["/a"]], "happy child": [["/b", "/c"]]})
    assert [(row["keyword"], row["url"][-2:]) for row in rows()] == [
        ("sad man", "/a"), ("sad man", "/b"), ("happy child", "/c"),
    ]  # fmt: skip
    assert {row["status"] for row in rows()} == {"stored"}
    assert server.asked("/b") == 1


def test_requests_to_one_host_keep_their_distance(server, call, quick) -> None:
    paths = [f"/{number}" for number in range(6)]
    serve_pictures(server, *paths)
    call({"sad man": [paths]}, pace=replace(quick, interval=0.1))
    times = [request.time for request in server.log]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert len(gaps) == 6
    # The crawler's clock starts a request, the server's sees it arrive some time later.
    assert sum(gaps) >= 0.1 * (len(gaps) - 1)


def test_so_many_requests_are_under_way_and_no_more(server, call, quick) -> None:
    under_way, most, lock = set(), [0], threading.Lock()

    def slow(request):
        with lock:
            under_way.add(request.path)
            most[0] = max(most[0], len(under_way))
        time.sleep(0.05)
        with lock:
            under_way.discard(request.path)
        return reply(200, picture(int(request.path[1:])))(request)

    paths = [f"/{number}" for number in range(12)]
    server.routes |= dict.fromkeys(paths, slow)
    call({"sad man": [paths]}, pace=replace(quick, per_host=3))
    assert most == [3]


def test_pauses_double_and_a_servers_wish_comes_first() -> None:
    pace = Pace(attempts=5, backoff=2.0, patience=10.0)
    again = Failure(Status.BUSY, "503", again=True)
    assert [pace.pause(number, again) for number in (1, 2, 3, 4, 5)] == [2, 4, 8, 10, None]
    assert pace.pause(1, Failure(Status.BUSY, "429", again=True, wait=7)) == 7
    assert pace.pause(1, Failure(Status.BUSY, "429", again=True, wait=1)) == 2
    assert pace.pause(1, Failure(Status.BUSY, "429", again=True, wait=11)) is None
    assert pace.pause(1, Failure(Status.HTTP_ERROR, "404")) is None
    with pytest.raises(ValueError, match="counts of at least 1"):
        Pace(attempts=0)


def test_a_host_that_asks_to_wait_is_not_asked_for_anything_else(server, call) -> None:
    serve_pictures(server, "/b", "/c")
    server.routes["/a"] = in_turn(reply(429, Retry_After=1), reply(200, picture(7)))
    call({"sad man": [["/a", "/b", "/c"]]}, pace=Pace(interval=0, per_host=1, backoff=0.01))
    asked = [request for request in server.log if "results" not in request.path]
    assert asked[0].path == "/a"
    assert asked[1].time - asked[0].time >= 1


def test_failures_for_a_while_are_asked_again_when_that_is_wished(server, call, rows) -> None:
    server.routes |= {"/a": reply(503), "/b": reply(404)}
    pages = {"sad man": [["/a", "/b"]]}
    assert call(pages).statuses == {"busy": 1, "http_error": 1}
    assert rows()[0]["attempts"] == 3
    serve_pictures(server, "/a", "/b")
    assert call(pages).statuses == {"busy": 1, "http_error": 1}
    assert call(pages, again=True).statuses == {"stored": 1, "http_error": 1}
    assert (server.asked("/a"), server.asked("/b")) == (4, 1)


def test_missing_damaged_and_unknown_files_are_put_right(server, call, rows, tmp_path) -> None:
    serve_pictures(server, "/a", "/b", "/c")
    pages = {"sad man": [["/a", "/b", "/c"]]}
    call(pages)
    before = rows()
    paths = [next(tmp_path.glob(f"crawl/pictures/*/{row['sha256']}.png")) for row in before]
    paths[0].unlink()
    paths[1].write_bytes(b"half a pic")
    stranger = paths[2].with_name("0" * 64 + ".png")
    stranger.write_bytes(b"a picture without a row")
    mine = paths[2].with_name("notes.txt")
    mine.write_text("not the crawler's")
    call(pages)
    after = rows()
    assert [(r["status"], r["sha256"]) for r in after] == [("stored", r["sha256"]) for r in before]
    assert all(path.stat().st_size == row["bytes"] for path, row in zip(paths, after, strict=True))
    assert (stranger.exists(), mine.exists()) == (False, True)
    assert [server.asked(path) for path in ("/a", "/b", "/c")] == [2, 2, 1]


def test_a_row_says_where_a_picture_came_from_and_when(server, call, rows) -> None:
    serve_pictures(server, "/a")
    call({"sad man": [["/a"]]})
    [row] = rows()
    assert (row["engine"], row["keyword"], row["page"]) == ("listed", "sad man", 0)
    assert row["url"] == row["final_url"] == server.url("/a")
    assert (row["status"], row["attempts"]) == ("stored", 1)
    assert row["found"] <= row["asked"]
    assert row["found"].endswith("+00:00")


def test_two_crawls_do_not_write_to_one_folder(tmp_path, call) -> None:
    with Manifest(tmp_path / "crawl") as manifest:
        with pytest.raises(ValueError, match=r"Another crawl is writing to .*crawl"):
            call({"sad man": [["/a"]]})
        # Who only reads is not in the way.
        reader = sqlite3.connect(tmp_path / "crawl" / "manifest.sqlite")
        manifest.add_page("listed", "sad man", 0, [Found("http://example.org/a.png")], last=True)
        assert reader.execute("SELECT count(*) FROM pictures").fetchone() == (1,)
        reader.close()
    call({"sad man": [["/a"]]})


@pytest.mark.parametrize("content", [b"not a database" * 100, None], ids=["other", "later"])
def test_a_file_that_is_no_manifest_is_named(tmp_path, content) -> None:
    if content is None:
        Manifest(tmp_path).close()
        later = sqlite3.connect(tmp_path / "manifest.sqlite")
        later.execute("PRAGMA user_version = 99")
        later.close()
    else:
        (tmp_path / "manifest.sqlite").write_bytes(content)
    with pytest.raises(
        ValueError, match=r"manifest\.sqlite is no manifest of a crawl \(.*\); choose"
    ):
        Manifest(tmp_path)


@pytest.mark.parametrize("options", [dict(keywords=[]), dict(engines=[]), dict(quota=0)])
def test_a_crawl_without_anything_to_do_is_refused(tmp_path, options) -> None:
    given = dict(folder=tmp_path, keywords=["sad man"], contact="tests@example.org")
    with pytest.raises(ValueError, match="needs keywords, engines and a quota"):
        crawl(**given | options)
    assert list(tmp_path.iterdir()) == []


def test_the_command_crawls_and_says_how_each_url_and_keyword_ended(
    server, tmp_path, monkeypatch, capsys
) -> None:
    told = {"page_count": 1, "results": [{"url": server.url("/a"), "license": "cc0"},
                                         {"url": "file:///etc/passwd"}]}  # fmt: skip
    server.routes["/v1/images/"] = reply(200, json.dumps(told).encode())
    serve_pictures(server, "/a")
    (tmp_path / "words.txt").write_text("sad man\n")
    monkeypatch.setenv("OPENVERSE_TOKEN", "key")
    words = f"--keywords {tmp_path}/words.txt --contact tests@example.org --out {tmp_path}/crawl"
    where = f"--base-url {server.url('')} --allowed {server.address} --pace.interval 0"
    main(["crawl", *words.split(), *where.split()])
    assert capsys.readouterr().out == ("refused\t1\nstored\t1\n1 of 100\topenverse\tsad man\n")
    assert server.log[0].headers["authorization"] == "Bearer key"
    with pytest.raises(SystemExit, match="contact should be an e-mail or web address"):
        main(["crawl", "--contact", "me"])
    with pytest.raises(SystemExit):
        main(["crawl", "--help"])
    assert "key" not in re.findall(r"--token.*\n.*", capsys.readouterr().out)[0]
