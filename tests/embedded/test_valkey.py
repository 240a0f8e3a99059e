"""Valkey's users, listeners and durability. Uses the real server."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest

from tests.builders import feature_views, projects, sockets
from wellspring.embedded import layout, packages, valkey
from wellspring.project import Project
from wellspring.runtime.privileges import detect_privileges, service_environment
from wellspring.runtime.server_sockets import find_server_socket
from wellspring.runtime.unix_socket import connect_unix_socket
from wellspring.stores.online.port import StoreLogin
from wellspring.stores.online.redis.reader import RedisReader
from wellspring.stores.online.redis.writer import RedisWriter
from wellspring.supervisor.managed_process import ManagedProcess

pytestmark = pytest.mark.live


class Store(NamedTuple):
    """A running store. passwords: by user."""

    project: Project
    child: ManagedProcess
    passwords: dict[str, str]

    def start(self) -> None:
        self.child.start(
            detect_privileges(self.project).command_for("valkey", self.child.argv),
            service_environment(self.project, "valkey"),
        )
        self.child.wait_ready(time.monotonic() + 60)

    def execute(self, user: str, *words: str) -> Any:
        """Run one command as a user ('': without login) and return the reply or the error."""
        from redis import Redis
        from redis.backoff import NoBackoff
        from redis.exceptions import RedisError
        from redis.retry import Retry

        path, password = str(self.project.socket_path("valkey")), self.passwords.get(user)
        never = Retry(NoBackoff(), 0)
        client = Redis(unix_socket_path=path, username=user or None, password=password, protocol=2, retry=never)
        try:
            # redis-py's hints know no plain command.
            result: Any = client.execute_command(*words)
            return result
        except RedisError as exc:
            return exc
        finally:
            client.close()


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    with projects.create_project(sections="[features]") as project:
        granted = detect_privileges(project)
        layout.ensure_ownership(project)
        layout.create_folders(project, granted)
        layout.create_runtime_dir(project, granted)
        sockets.record_service_users(project)
        expected = valkey.generate_passwords()
        valkey.write_valkey_acl(project, expected, granted)
        program = packages.check_installed(project).valkey
        assert program is not None
        child = ManagedProcess(
            name="valkey", service="valkey", argv=valkey.valkey_command(project, program), version="",
            readiness_probe=lambda: valkey.is_valkey_ready(child.own_socket()),
            log_path=project.state_dir / "logs/valkey.log",
            socket=find_server_socket(project, "valkey"),
        )  # fmt: skip
        running = Store(project, child, expected)
        running.start()
        try:
            yield running
        finally:
            child.stop()
            layout.remove_runtime_dir(project)


def test_the_default_user_is_off(store: Store):
    for words in (("PING",), ("HGETALL", "x"), ("AUTH", "default", ""), ("AUTH", "", "")):
        assert isinstance(store.execute("", *words), Exception), words


def test_the_probe_user_can_only_ping(store: Store):
    for words in (("HGETALL", "x"), ("CLIENT", "LIST"), ("INFO",), ("HSET", "x", "a", "1")):
        result = store._replace(passwords={valkey.PROBE_USER: "any"}).execute(valkey.PROBE_USER, *words)
        assert "no permissions" in str(result), words


def test_the_api_reads_rows_and_never_writes(store: Store):
    assert store.execute(valkey.WRITER_USER, "HSET", "row", "a", "1") == 1
    assert store.execute(valkey.READER_USER, "HMGET", "row", "a") == [b"1"]
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
        assert "no permissions" in str(store.execute(valkey.READER_USER, *words)), words
    assert store.execute(valkey.READER_USER, "HMGET", "row", "a") == [b"1"]


@pytest.mark.parametrize("user", [valkey.WRITER_USER, valkey.READER_USER])
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
        assert "no permissions" in str(store.execute(user, *words)), words
    assert "DEBUG command not allowed" in str(store.execute(user, "DEBUG", "SLEEP", "0"))


def test_a_script_has_only_its_callers_permissions(store: Store):
    result = store.execute(valkey.WRITER_USER, "EVAL", "return redis.call('CONFIG', 'GET', 'dir')", "0")
    assert isinstance(result, Exception)


def test_it_listens_on_its_socket_and_on_no_port(store: Store):
    assert store.child.process is not None
    process = psutil.Process(store.child.process.pid)
    assert process.net_connections("inet") == []
    assert str(store.project.socket_path("valkey")) in {
        net_connection.laddr for net_connection in process.net_connections("unix")
    }


def test_the_acl_file_holds_only_hashes(store: Store):
    read = {path: path.read_bytes() for path in store.project.root.rglob("*") if path.is_file()}
    assert Path("users.acl") in {Path(path.name) for path in read}
    for password in store.passwords.values():
        assert not [path for path, content in read.items() if password.encode() in content]


def test_a_killed_store_keeps_its_rows(store: Store):
    assert store.execute(valkey.WRITER_USER, "HSET", "kept", "a", "1") in {0, 1}
    assert store.child.process is not None
    store.child.process.kill()
    store.child.process.wait()
    assert not valkey.is_valkey_ready(find_server_socket(store.project, "valkey"))
    store.start()
    assert store.execute(valkey.READER_USER, "HMGET", "kept", "a") == [b"1"]


def login_of(store: Store, user: str) -> StoreLogin:
    return StoreLogin(user, store.passwords[user], b"\x05" * 32)


def test_the_worker_and_api_users_have_all_permissions_they_need(store: Store):
    """The worker writes rows and sets the live edition with its user; the API reads rows with its own."""
    server, history = find_server_socket(store.project, "valkey"), feature_views.view()
    writer = RedisWriter(server, "acme", login=login_of(store, valkey.WRITER_USER))
    try:
        key = (feature_views.token(1),)
        table = feature_views.rows(history, [{"member_id": feature_views.token(index)} for index in range(3)])
        edition = feature_views.edition()
        assert writer.write_rows(history, table, edition) == (3, 0)
        views = feature_views.views(history)
        assert writer.set_live(edition, as_of=edition.known_since, views=views.digest)
        expected = writer.read_row(history, key)
        assert expected is not None
    finally:
        writer.close()

    async def look() -> Any:
        reader = RedisReader(server, views, login=login_of(store, valkey.READER_USER), deadline=60)
        try:
            return await reader.get_with_marker([(history.name, key)])
        finally:
            await reader.close()

    live, rows = asyncio.run(look())
    assert live is not None
    assert live.edition == edition.id
    assert rows == [expected]


def test_idle_and_numerous_clients_cannot_fill_it(store: Store):
    """Idle clients are closed, and there are at most 256; one that does not read its replies is closed too."""
    command = valkey.valkey_command(store.project, Path("valkey-server"))
    settings = dict(zip(command[1::2], command[2::2], strict=True))
    assert (settings["--timeout"], settings["--maxclients"]) == ("300", "256")
    assert settings["--client-output-buffer-limit"].startswith("normal ")
    with ExitStack() as stack:
        refused = 0
        for _ in range(300):
            client = stack.enter_context(connect_unix_socket(find_server_socket(store.project, "valkey"), 5))
            # One that is refused may be closed already.
            with suppress(BrokenPipeError, ConnectionResetError):
                client.sendall(b"PING\r\n")
            refused += b"max number of clients" in client.recv(200)
        assert refused >= 300 - 256
    assert valkey.is_valkey_ready(find_server_socket(store.project, "valkey"))
