"""The online store's server: who may do what, over which door, and what a kill costs. On the real program."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest

from tests.data import histories
from tests.servers import houses
from wellspring.project import Project
from wellspring.servers import folders, packages, valkey
from wellspring.servers.children import Child
from wellspring.servers.privileges import environment, survey
from wellspring.stores.online import OnlineReader, OnlineWriter

pytestmark = pytest.mark.live


class Store(NamedTuple):
    """A running store. known: the passwords of its users."""

    project: Project
    child: Child
    known: dict[str, str]

    def start(self) -> None:
        self.child.start(survey(self.project).command("valkey", self.child.argv), environment(self.project, "valkey"))
        self.child.wait_ready(time.monotonic() + 20)

    def say(self, user: str, *words: str) -> Any:
        """Return what the store says to one command of a user ('': of nobody who logged in)."""
        from redis import Redis
        from redis.backoff import NoBackoff
        from redis.exceptions import RedisError
        from redis.retry import Retry

        path, password = str(self.project.socket("valkey")), self.known.get(user)
        never = Retry(NoBackoff(), 0)
        client = Redis(unix_socket_path=path, username=user or None, password=password, protocol=2, retry=never)
        try:
            # redis-py's hints know no plain command.
            told: Any = client.execute_command(*words)
            return told
        except RedisError as wrong:
            return wrong
        finally:
            client.close()


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    with houses.project(sections="[features]") as project:
        granted = survey(project)
        folders.own(project)
        folders.make(project, granted)
        folders.make_runtime(project, granted)
        known = valkey.passwords()
        valkey.welcome(project, known, granted)
        program = packages.check(project).valkey
        assert program is not None
        path = project.socket("valkey")
        child = Child(
            name="valkey", service="valkey", argv=valkey.argv(project, program), version="",
            ready=lambda: valkey.is_ready(path), log=project.state / "logs/valkey.log",
        )  # fmt: skip
        running = Store(project, child, known)
        running.start()
        try:
            yield running
        finally:
            child.stop()
            folders.sweep_runtime(project)


def test_the_default_user_is_off(store: Store):
    for words in (("PING",), ("HGETALL", "x"), ("AUTH", "default", ""), ("AUTH", "", "")):
        assert isinstance(store.say("", *words), Exception), words


def test_the_probe_only_pings(store: Store):
    for words in (("HGETALL", "x"), ("CLIENT", "LIST"), ("INFO",), ("HSET", "x", "a", "1")):
        told = store._replace(known={valkey.PROBE: "any"}).say(valkey.PROBE, *words)
        assert "no permissions" in str(told), words


def test_the_api_reads_rows_and_never_writes(store: Store):
    assert store.say(valkey.WRITER, "HSET", "row", "a", "1") == 1
    assert store.say(valkey.READER, "HMGET", "row", "a") == [b"1"]
    for words in (
        ("HSET", "row", "a", "2"),
        ("SET", "x", "1"),
        ("DEL", "row"),
        ("EXPIRE", "row", "1"),
        ("EVAL", "return redis.call('DEL', 'row')", "0"),
        ("FUNCTION", "LIST"),
        ("SCAN", "0"),
        ("KEYS", "*"),
        ("PUBLISH", "x", "y"),
    ):
        assert "no permissions" in str(store.say(valkey.READER, *words)), words
    assert store.say(valkey.READER, "HMGET", "row", "a") == [b"1"]


@pytest.mark.parametrize("user", [valkey.WRITER, valkey.READER])
def test_no_service_administers_the_store(store: Store, user: str):
    for words in (
        ("CONFIG", "GET", "dir"),
        ("CONFIG", "SET", "dir", "/tmp"),
        ("MODULE", "LIST"),
        ("REPLICAOF", "127.0.0.1", "1"),
        ("ACL", "LIST"),
        ("SHUTDOWN",),
        ("FLUSHALL",),
        ("SAVE",),
        ("MONITOR",),
        ("CLIENT", "KILL", "TYPE", "normal"),
        ("MIGRATE", "127.0.0.1", "1", "row", "0", "1"),
    ):
        assert "no permissions" in str(store.say(user, *words)), words
    assert "DEBUG command not allowed" in str(store.say(user, "DEBUG", "SLEEP", "0"))


def test_a_script_may_do_no_more_than_its_caller(store: Store):
    told = store.say(valkey.WRITER, "EVAL", "return redis.call('CONFIG', 'GET', 'dir')", "0")
    assert isinstance(told, Exception)


def test_it_listens_on_its_socket_and_on_no_port(store: Store):
    assert store.child.process is not None
    process = psutil.Process(store.child.process.pid)
    assert process.net_connections("inet") == []
    assert str(store.project.socket("valkey")) in {each.laddr for each in process.net_connections("unix")}


def test_its_file_holds_only_hashes(store: Store):
    read = {path: path.read_bytes() for path in store.project.root.rglob("*") if path.is_file()}
    assert Path("users.acl") in {Path(path.name) for path in read}
    for password in store.known.values():
        assert not [path for path, content in read.items() if password.encode() in content]


def test_a_killed_store_comes_back_with_its_rows(store: Store):
    assert store.say(valkey.WRITER, "HSET", "kept", "a", "1") in {0, 1}
    assert store.child.process is not None
    store.child.process.kill()
    store.child.process.wait()
    assert not valkey.is_ready(store.project.socket("valkey"))
    store.start()
    assert store.say(valkey.READER, "HMGET", "kept", "a") == [b"1"]


def test_the_services_own_users_are_enough_for_what_they_do(store: Store):
    """The worker writes, points and reads back with its user; the API looks rows up with its own."""
    path, history = store.project.socket("valkey"), histories.view()
    writer = OnlineWriter(path, "acme", user=valkey.WRITER, password=store.known[valkey.WRITER])
    try:
        key = (histories.token(1),)
        table = histories.rows(history, [{"member_id": histories.token(each)} for each in range(3)])
        edition = histories.edition()
        assert writer.write(history, table, edition) == (3, 0)
        views = histories.views(history)
        assert writer.point(edition, as_of=edition.known_since, views=views.digest)
        expected = writer.read(history, key)
        assert expected is not None
    finally:
        writer.close()

    async def look() -> Any:
        reader = OnlineReader(path, views, user=valkey.READER, password=store.known[valkey.READER], deadline=5)
        try:
            return await reader.look([(history.name, key)])
        finally:
            await reader.close()

    live, rows = asyncio.run(look())
    assert live is not None
    assert live.edition == edition.id
    assert rows == [expected]
