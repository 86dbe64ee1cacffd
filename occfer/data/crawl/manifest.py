"""What a crawl knows: one row for every URL ever seen, in one SQLite file.

Each step of a crawl is one transaction, so a process that is killed loses nothing that it had
written, and the next one finds exactly what is still to be done. While a crawl runs, anybody may
read along (``sqlite3 manifest.sqlite "SELECT status, count(*) FROM pictures GROUP BY status"``).
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from occfer.data.crawl.outcomes import TEMPORARY, Status

FILE = "manifest.sqlite"
_FORMAT = 2
_TABLES = """
CREATE TABLE pictures (
    id INTEGER PRIMARY KEY,
    url TEXT NOT NULL UNIQUE,
    engine TEXT NOT NULL,       -- the search that found it first:
    keyword TEXT NOT NULL,
    page INTEGER NOT NULL,      --   its page of results, from 0
    landing TEXT NOT NULL,      -- the web page on which the picture stands; '' unknown, as below
    licence TEXT NOT NULL,
    attribution TEXT NOT NULL,
    found TEXT NOT NULL,        -- times are UTC, ISO 8601
    status TEXT NOT NULL,       -- a word of occfer.data.crawl.outcomes.Status
    reason TEXT NOT NULL DEFAULT '',
    attempts INTEGER NOT NULL DEFAULT 0,
    asked TEXT,                 -- when the last answer was there
    final_url TEXT,             -- after redirects
    sha256 TEXT,                -- of the file, whose name it is
    bytes INTEGER,
    format TEXT,
    width INTEGER,
    height INTEGER
) STRICT;
CREATE INDEX by_search ON pictures (engine, keyword, status);
CREATE INDEX by_content ON pictures (sha256);
CREATE TABLE searches (
    engine TEXT NOT NULL,
    keyword TEXT NOT NULL,
    next_page INTEGER NOT NULL,
    finished INTEGER NOT NULL,  -- 1: the engine has no further page
    asked TEXT NOT NULL DEFAULT '',  -- a digest of what else was asked for; '' unknown
    PRIMARY KEY (engine, keyword)
) STRICT;
"""
_FROM_1 = "ALTER TABLE searches ADD COLUMN asked TEXT NOT NULL DEFAULT '';"


@dataclass(frozen=True)
class Found:
    """A picture on a page of results; ``''`` stands for what the engine does not say."""

    url: str
    landing: str = ""
    licence: str = ""
    attribution: str = ""


@dataclass(frozen=True)
class Stored:
    """A picture that came."""

    final_url: str
    sha256: str
    bytes: int
    format: str
    width: int
    height: int


class Manifest:
    """The manifest in ``folder``, for one process at a time to write.

    Raises:
        ValueError: the folder's manifest is none, of another format, or in use by another crawl; or
            damaged, as a ``with`` block of it may find.
        OSError: it cannot be written; also when a ``with`` block of it ends so.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / FILE
        with ExitStack() as opened:
            opened.callback(_lock(folder).close)
            try:
                self._rows = sqlite3.connect(self.path, isolation_level=None, timeout=30)
                opened.callback(self._rows.close)
                self._rows.row_factory = sqlite3.Row
                self._rows.execute("PRAGMA journal_mode = WAL")
                # Enough for a killed process. After a power cut the last rows may be gone, and the
                # next crawl sweeps their pictures away.
                self._rows.execute("PRAGMA synchronous = NORMAL")
                self._create()
            except sqlite3.OperationalError as error:
                raise _unwritten(self.path, error) from error
            except sqlite3.DatabaseError as error:
                raise ValueError(
                    f"{self.path} is no manifest of a crawl ({error}); choose another folder."
                ) from error
            self.close = opened.pop_all().close

    def _create(self) -> None:
        [found] = self._rows.execute("PRAGMA user_version").fetchone()
        [tables] = self._rows.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if found == 0 and not tables:
            change = _TABLES
        elif (
            found == 1
            and self._rows.execute("SELECT 1 FROM sqlite_schema WHERE name = 'searches'").fetchone()
        ):
            change = _FROM_1
        elif found != _FORMAT:
            raise sqlite3.DatabaseError(f"its format is {found}, this version reads {_FORMAT}")
        else:
            return
        self._rows.executescript(f"BEGIN; {change} PRAGMA user_version = {_FORMAT}; COMMIT;")

    def __enter__(self) -> "Manifest":
        return self

    def __exit__(self, _, error: BaseException | None, __) -> None:
        self.close()
        if isinstance(error, sqlite3.OperationalError):
            raise _unwritten(self.path, error) from error
        if type(error) is sqlite3.DatabaseError:
            raise ValueError(
                f"{self.path} should be the manifest of a crawl, but is damaged ({error}); put a "
                f"copy of it there, or choose another folder: the pictures stay where they are."
            ) from error

    def search(self, engine: str, keyword: str, asked: str = "") -> tuple[int, bool]:
        """The next page of a search, and whether there is none.

        Raises:
            ValueError: it was begun with something else ``asked`` for; ``""`` is unknown.
        """
        row = self._rows.execute(
            "SELECT next_page, finished, asked FROM searches WHERE engine = ? AND keyword = ?",
            (engine, keyword),
        ).fetchone()
        if row is None:
            return 0, False
        if row["asked"] and asked and row["asked"] != asked:
            raise ValueError(
                f"In {self.path.parent} {engine} was asked for {keyword!r} with another address, "
                f"licences or filters; go on with those, or choose another folder."
            )
        return row["next_page"], bool(row["finished"])

    def add_page(
        self,
        engine: str,
        keyword: str,
        page: int,
        pictures: Iterable[Found],
        last: bool,
        asked: str = "",
    ) -> list[tuple[int, str]]:
        """Write a page of results, all or nothing; the id and URL of every URL not seen before."""
        new = []
        with self._transaction():
            for each in pictures:
                values = {key: _storable(value) for key, value in asdict(each).items()}
                values |= dict(engine=engine, keyword=keyword, page=page, found=_now())
                row = self._rows.execute(
                    "INSERT INTO pictures (url, engine, keyword, page, landing, licence, "
                    "attribution, found, status) VALUES (:url, :engine, :keyword, :page, :landing, "
                    f":licence, :attribution, :found, '{Status.FOUND}') "
                    "ON CONFLICT (url) DO NOTHING RETURNING id",
                    values,
                ).fetchone()
                if row:
                    new.append((row["id"], values["url"]))
            self._rows.execute(
                "INSERT OR REPLACE INTO searches VALUES (?, ?, ?, ?, ?)",
                (engine, keyword, page + 1, last, asked),
            )
        return new

    def pending(self, engine: str, keyword: str) -> list[tuple[int, str, int]]:
        """Id, URL and attempts of the rows still to be asked, in the order in which they came."""
        rows = self._rows.execute(
            "SELECT id, url, attempts FROM pictures WHERE engine = ? AND keyword = ? AND "
            f"status = '{Status.FOUND}' ORDER BY id",
            (engine, keyword),
        )
        return [tuple(row) for row in rows]

    def stored(self, engine: str, keyword: str) -> int:
        """How many pictures a search has brought."""
        [count] = self._rows.execute(
            "SELECT count(*) FROM pictures WHERE engine = ? AND keyword = ? AND "
            f"status = '{Status.STORED}'",
            (engine, keyword),
        ).fetchone()
        return count

    def knows(self, sha256: str) -> bool:
        """Whether a picture of this content is stored."""
        found = self._rows.execute(
            f"SELECT 1 FROM pictures WHERE sha256 = ? AND status = '{Status.STORED}'", (sha256,)
        )
        return found.fetchone() is not None

    def finish(
        self, row: int, status: Status, reason: str, attempts: int, stored: Stored | None = None
    ) -> None:
        """Write how a URL ended, or with ``FOUND`` that it is to be asked again."""
        values = dict(status=status, reason=_storable(reason), attempts=attempts, asked=_now())
        if stored is not None:
            values |= {key: _storable(value) for key, value in asdict(stored).items()}
        names = ", ".join(f"{name} = :{name}" for name in values)
        self._rows.execute(f"UPDATE pictures SET {names} WHERE id = :id", values | {"id": row})

    def forget_failures(self) -> int:
        """Rows that failed for a while become rows to be asked; how many."""
        words = ", ".join(f"'{status}'" for status in TEMPORARY)
        return self._rows.execute(
            f"UPDATE pictures SET status = '{Status.FOUND}', attempts = 0 WHERE status IN ({words})"
        ).rowcount

    def files(self) -> dict[str, tuple[str, int]]:
        """SHA-256 -> format and bytes of every stored picture."""
        rows = self._rows.execute(
            f"SELECT sha256, format, bytes FROM pictures WHERE status = '{Status.STORED}'"
        )
        return {row["sha256"]: (row["format"], row["bytes"]) for row in rows}

    def ask_again(self, sha256: str) -> None:
        """The picture's file is gone: all who had its content are asked again."""
        self._rows.execute(
            f"UPDATE pictures SET status = '{Status.FOUND}', sha256 = NULL WHERE sha256 = ?",
            (sha256,),
        )

    def counts(self, *columns: str) -> dict[tuple[str, ...], int]:
        """Rows per value of some columns, such as ``counts("engine", "status")``."""
        names = ", ".join(columns)
        rows = self._rows.execute(f"SELECT {names}, count(*) FROM pictures GROUP BY {names}")
        return {tuple(row[:-1]): row[-1] for row in rows}

    def rows(self) -> Iterator[dict]:
        """All rows as dictionaries, in the order in which the URLs were seen."""
        yield from map(dict, self._rows.execute("SELECT * FROM pictures ORDER BY id"))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._rows.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._rows.execute("COMMIT")
        except BaseException:
            if self._rows.in_transaction:  # a full disk has ended it already
                self._rows.execute("ROLLBACK")
            raise


def _lock(folder: Path) -> sqlite3.Connection:
    """A lock that ends with the process, however that ends, and leaves the manifest readable."""
    path, lock = folder / ".lock.sqlite", None
    try:
        lock = sqlite3.connect(path, isolation_level=None, timeout=0)
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.DatabaseError as error:
        if lock is not None:
            lock.close()
        if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
            raise _unwritten(path, error) from error
        raise ValueError(
            f"Another crawl is writing to {folder} ({error}); wait for it or choose another folder."
        ) from error
    return lock


def _unwritten(path: Path, error: sqlite3.DatabaseError) -> OSError:
    return OSError(
        f"{path} cannot be opened and written ({error}); see that the disk has room and that you "
        f"may write there, and the same call goes on."
    )


def _storable(value: object) -> object:
    """Text that is no Unicode, as JSON allows, with its halves of characters written out."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
