"""A real Valkey for the tests of a file, empty for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.builders.valkey import Valkey, running
from wellspring.stores.online.redis.writer import RedisWriter


@pytest.fixture(scope="module")
def server() -> Iterator[Valkey]:
    with running() as started:
        yield started


@pytest.fixture
def store(server: Valkey) -> Iterator[Valkey]:
    server.empty()
    yield server
    server.resume()


@pytest.fixture
def writer(store: Valkey) -> Iterator[RedisWriter]:
    built = store.writer()
    yield built
    built.close()


@pytest.fixture
def mortal() -> Iterator[Valkey]:
    """A server of its own, for a test that kills it."""
    with running() as started:
        yield started
