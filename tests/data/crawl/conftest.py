"""Servers of this machine to crawl, a quick pace and tight limits."""

import pytest

from occfer.data.crawl import Limits, Pace
from tests.data.crawl.server import serve


@pytest.fixture
def server():
    """The server that may be asked."""
    server, close = serve()
    yield server
    close()


@pytest.fixture(scope="session")
def quick() -> Pace:
    """No pauses: the server is ours."""
    return Pace(interval=0.0, per_host=8, at_once=8, attempts=3, backoff=0.01, patience=5.0)


@pytest.fixture(scope="session")
def tight() -> Limits:
    """Small enough to be met by small tests."""
    return Limits(bytes=200_000, pixels=500_000, side=32, redirects=4, seconds=1.5)
