"""Quotas, pauses, repairs and the manifest of a crawl."""

import json
import re
import resource
import socket
import sqlite3
import threading
import time
from dataclasses import replace
from itertools import pairwise

import pytest

from occfer.cli import main
from occfer.data.crawl import Manifest, Openverse, Pace, crawl
from occfer.data.crawl.manifest import Found
from occfer.data.crawl.outcomes import Failure, Status
from tests.data.crawl.server import Listed, in_turn, picture, redirect, reply, results


@pytest.fixture
def call(server, tmp_path, quick, tight):
    """``call(pages, ...)``: crawl a server whose engine answers with these pages."""

    def run(pages: dict[str, list[list[str]]], quota: int = 100, **options):
        def full(where: str) -> str:
            return where if where.startswith("http") else server.url(where)

        urls = {k: [[full(u) for u in page] for page in v] for k, v in pages.items()}
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


@pytest.fixture
def one_behind_six(server, monkeypatch):
    """Six URLs on six hosts that all redirect to one; what is asked there, in its order."""
    place = "127.0.0.1", int(server.address.split(":")[1])
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", place)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    for number in range(6):
        there = f"/there/{number}"
        server.routes[f"/{number}"] = redirect(f"http://there.test:{place[1]}{there}")
        server.routes[there] = reply(200, picture(number))
    urls = [f"http://host{number}.test:{place[1]}/{number}" for number in range(6)]
    return urls, lambda: [each for each in server.log if each.path.startswith("/there")]


def test_a_host_behind_redirects_is_asked_no_harder(one_behind_six, server, call, quick) -> None:
    urls, asked = one_behind_six
    assert call({"sad man": [urls]}, pace=replace(quick, interval=0.2)).statuses == {"stored": 6}
    times = [request.time for request in asked()]
    assert len(times) == 6
    assert times[-1] - times[0] >= 0.2 * 4


def test_so_many_requests_are_under_way_behind_redirects(
    one_behind_six, server, call, quick
) -> None:
    urls, _ = one_behind_six
    under_way, most = set(), []

    def slow(request):
        under_way.add(request.path)
        most.append(len(under_way))
        time.sleep(0.1)
        under_way.discard(request.path)
        return reply(200, picture(int(request.path[-1])))(request)

    server.routes |= {f"/there/{number}": slow for number in range(6)}
    call({"sad man": [urls]}, pace=replace(quick, per_host=2))
    assert max(most) == 2


def test_a_host_behind_redirects_that_asks_to_wait_is_left_alone(
    one_behind_six, server, call, quick
) -> None:
    urls, asked = one_behind_six
    good = reply(200, picture(7))
    for number in range(6):
        server.routes[f"/there/{number}"] = lambda request: (
            reply(429, Retry_After=1) if len(asked()) == 1 else good
        )(request)
    call({"sad man": [urls]}, pace=replace(quick, per_host=1))
    first, second, *_ = (request.time for request in asked())
    assert second - first >= 1


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


def test_a_manifest_that_is_damaged_further_in_is_named(tmp_path) -> None:
    with Manifest(tmp_path) as manifest:
        found = [Found(f"https://example.org/{n}.jpg") for n in range(200)]
        manifest.add_page("bing", "sad man", 1, found, last=True)
    file = tmp_path / "manifest.sqlite"
    content = bytearray(file.read_bytes())
    content[4096:] = b"?" * len(content[4096:])  # all but the page that says what stands where
    file.write_bytes(content)
    with (
        pytest.raises(
            ValueError, match=r"manifest\.sqlite should be .* but is damaged \(.*\); put"
        ),
        Manifest(tmp_path) as manifest,
    ):
        manifest.counts("engine")


@pytest.mark.parametrize("options", [dict(keywords=[]), dict(engines=[]), dict(quota=0)])
def test_a_crawl_without_anything_to_do_is_refused(tmp_path, options) -> None:
    given = dict(folder=tmp_path, keywords=["sad man"], contact="tests@example.org")
    with pytest.raises(ValueError, match="needs keywords, engines and a quota"):
        crawl(**given | options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (dict(keywords=["sad man", "sad man"]), "got 'sad man' on openverse 2 times"),
        (dict(engines=[Openverse(), Openverse()]), "got 'sad man' on openverse 2 times"),
        (dict(engines=[Openverse("notaurl")]), "openverse cannot be asked at 'notaurl/v1"),
        (dict(engines=[Openverse("file:///etc")]), "only http and https are asked"),
    ],
)
def test_what_cannot_be_searched_or_would_be_twice_is_refused(tmp_path, options, said) -> None:
    given = dict(folder=tmp_path, keywords=["sad man"], contact="tests@example.org")
    with pytest.raises(ValueError, match=re.escape(said)):
        crawl(**given | options)
    assert list(tmp_path.iterdir()) == []


def test_without_its_manifest_a_crawl_keeps_its_pictures(server, call, tmp_path) -> None:
    serve_pictures(server, "/a", "/b")
    pages = {"sad man": [["/a", "/b"]]}
    call(pages)
    manifest, aside = tmp_path / "crawl" / "manifest.sqlite", tmp_path / "aside.sqlite"
    before = {path: path.read_bytes() for path in tmp_path.glob("crawl/pictures/*/*")}
    manifest.rename(aside)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"2 pictures of a crawl whose manifest\.sqlite is"):
            call(pages)
    assert {path: path.read_bytes() for path in tmp_path.glob("crawl/pictures/*/*")} == before
    aside.rename(manifest)
    asked = len(server.log)
    assert call(pages).statuses == {"stored": 2}
    assert len(server.log) == asked


def test_a_search_goes_on_with_what_it_was_begun_with(server, tmp_path, quick, tight) -> None:
    told = {"page_count": 2, "results": [{"url": server.url("/a")}]}
    server.routes["/v1/images/"] = reply(200, json.dumps(told).encode())
    serve_pictures(server, "/a")
    given = dict(
        folder=tmp_path, keywords=["sad man"], contact="tests@example.org", quota=1,
        limits=tight, pace=quick, allowed=[server.address], progress=False,
    )  # fmt: skip
    engine = Openverse(server.url(""), licences="by")
    crawl(**given, engines=[engine])
    asked = len(server.log)
    with pytest.raises(ValueError, match=r"openverse was asked for 'sad man' with another"):
        crawl(**given | dict(quota=2), engines=[replace(engine, licences="cc0")])
    assert len(server.log) == asked
    # A token changes who asks, not what is asked for.
    crawl(**given | dict(quota=2), engines=[replace(engine, token="key")])
    assert "page=2" in server.log[-1].path


def test_a_manifest_of_the_first_format_goes_on(server, call, tmp_path) -> None:
    serve_pictures(server, "/a", "/b")
    pages = {"sad man": [["/a"], ["/b"]]}
    call(pages, quota=1)
    old = sqlite3.connect(tmp_path / "crawl" / "manifest.sqlite")
    old.executescript("ALTER TABLE searches DROP COLUMN asked; PRAGMA user_version = 1;")
    old.close()
    assert call(pages).statuses == {"stored": 2}
    assert [server.asked(path) for path in ("/a", "/b")] == [1, 1]


@pytest.fixture
def command(server, tmp_path, monkeypatch):
    """``command(*more)``: ``occfer crawl`` with two keywords of a server's Openverse."""
    monkeypatch.delenv("OPENVERSE_TOKEN", raising=False)
    (tmp_path / "words.txt").write_text("sad man\nhappy child\n")
    words = f"--keywords {tmp_path}/words.txt --contact tests@example.org --out {tmp_path}/crawl"
    where = f"--base-url {server.url('')} --allowed {server.address}"
    pace = "--pace.interval 0 --pace.backoff 0.01"
    return lambda *more: main(["crawl", *words.split(), *where.split(), *pace.split(), *more])


@pytest.mark.parametrize("name", ["manifest.sqlite", ".lock.sqlite"])
def test_a_manifest_that_cannot_be_opened_is_one_sentence(command, tmp_path, name) -> None:
    (tmp_path / "crawl" / name).mkdir(parents=True)
    with pytest.raises(SystemExit, match=rf"^occfer: \S*/crawl/{name} cannot be opened and wr"):
        command()


def test_a_full_disk_is_one_sentence_and_then_the_same_call_goes_on(server, command) -> None:
    results = [{"url": server.url(f"/{'a' * 2000}{n}")} for n in range(200)]
    told = {"page_count": 1, "results": results}
    server.routes["/v1/images/"] = reply(200, json.dumps(told).encode())
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
    try:
        with pytest.raises(SystemExit, match=r"manifest\.sqlite cannot be opened and .* room"):
            command()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    command()
    assert sum(request.path.startswith("/aaa") for request in server.log) == 200


def test_a_crawl_that_got_nothing_is_one_sentence(server, command, capsys) -> None:
    server.routes["/v1/images/"] = reply(401, b"{}")
    with pytest.raises(SystemExit) as stop:
        command()
    assert stop.value.code == (
        "occfer: No search brought a picture (openverse: 401 Said); put that right, and the same "
        "command goes on."
    )
    assert capsys.readouterr().out == ""
    with pytest.raises(SystemExit, match=r"^occfer: openverse cannot be asked at 'notaurl"):
        command("--base-url", "notaurl")


def test_searches_that_stopped_for_one_reason_are_one_line(server, command, capsys) -> None:
    def answer(request):
        told = {"page_count": 2, "results": [{"url": server.url("/a")}]}
        refuses = "page=2" in request.path
        return (reply(401) if refuses else reply(200, json.dumps(told).encode()))(request)

    server.routes["/v1/images/"] = answer
    serve_pictures(server, "/a")
    command()
    *counts, stopped = capsys.readouterr().out.splitlines()[1:]
    # Both found the same picture, and whoever asked first has it.
    assert sorted(line.partition(" ")[0] for line in counts) == ["0", "1"]
    assert {line.split("\t")[-1] for line in counts} == {"sad man", "happy child"}
    assert stopped == "stopped\topenverse\t2 keywords\topenverse: 401 Said"


def test_the_command_crawls_and_says_how_each_url_and_keyword_ended(
    server, tmp_path, monkeypatch, capsys
) -> None:
    told = {"page_count": 1, "results": [{"url": server.url("/a"), "license": "cc0"},
                                         {"url": "file:///etc/passwd"}]}  # fmt: skip
    server.routes["/v1/images/"] = reply(200, json.dumps(told).encode())
    serve_pictures(server, "/a")
    (tmp_path / "words.txt").write_text("sad man\n")
    monkeypatch.setenv("OPENVERSE_TOKEN", "key\r\n")
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
