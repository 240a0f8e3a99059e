"""Access to a socket of the enclave, connection limits, and malformed or slow peers."""

from __future__ import annotations

import io
import os
import select
import socket
import struct
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import BinaryIO

import pytest
from pydantic import JsonValue

from tests.builders.recording_step import FixedClock, RecordingStep
from wellspring.enclave import socket_server
from wellspring.enclave.socket_server import SocketServer, SocketSpec
from wellspring.errors import NotFound, Refused, WellspringError
from wellspring.project import CallerSettings, load_project
from wellspring.runtime.service_users import ServiceUsers
from wellspring.trust.vault import protocol
from wellspring.trust.vault.port import ProgressCallback

SERVICE_UIDS = ServiceUsers().uids

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


class ProjectFixture:
    """Serve a socket for `uids`, with an operation that echoes and one that fails, and a second one for this user."""

    def __init__(
        self, folder: Path, uids: frozenset[int], *, idle_timeout: float = 2, linger_seconds: float = 1
    ) -> None:
        self.clock = FixedClock()
        self.step = RecordingStep(clock=self.clock)
        self.path = folder / "intake.sock"
        self.waiting = threading.Event()
        operations = {"echo": self.echo, "fail": self.fail, "wait": self.wait, "trace": self.trace}
        socket_path = SocketSpec(
            "intake", self.path, uids, operations, {"who": lambda request, uid: [uid, request.get("uid")]}
        )
        self.second = folder / "vault.sock"
        second = SocketSpec("vault", self.second, frozenset({os.geteuid()}), operations)
        self.sockets = SocketServer(
            (socket_path, second),
            step=self.step,
            clock=self.clock,
            idle_timeout=idle_timeout,
            linger_seconds=linger_seconds,
        )

    def echo(self, request: protocol.FrameMessage, progress: ProgressCallback) -> tuple[JsonValue, BinaryIO | None]:
        progress("fetch", 1, 1)
        return socket_server.text_field(request, "say"), io.BytesIO(b"arrow")

    def trace(self, request: protocol.FrameMessage, progress: ProgressCallback) -> tuple[JsonValue, BinaryIO | None]:
        return self.step.current_trace(), None

    def fail(self, request: protocol.FrameMessage, progress: ProgressCallback) -> tuple[JsonValue, BinaryIO | None]:
        raise NotFound("nothing", fix="none")

    def wait(self, request: protocol.FrameMessage, progress: ProgressCallback) -> tuple[JsonValue, BinaryIO | None]:
        self.waiting.wait(10)
        return None, None

    def connect(self, path: Path | None = None) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(10)
        connection.connect(str(path or self.path))
        return connection

    def ask(self, **request: JsonValue) -> protocol.FrameMessage:
        with self.connect() as connection:
            protocol.send_frame(connection, dict(request))
            return answer(connection)


def answer(connection: socket.socket) -> protocol.FrameMessage:
    while (message := protocol.receive_frame(connection, limit=1 << 20)) and message["kind"] == "progress":
        pass
    assert message is not None
    return message


def trickle(connection: socket.socket) -> bool:
    """Send single bytes with short pauses. Returns True if the server closes the connection, False if it does not."""
    for _ in range(300):
        try:
            connection.sendall(b"\0")
        except (BrokenPipeError, ConnectionResetError):
            return True
        select.select([], [], [], 0.01)
    return False


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ws-") as name:
        os.chmod(name, 0o755)
        yield Path(name)


@pytest.fixture
def project(folder: Path) -> Iterator[ProjectFixture]:
    opened_files = ProjectFixture(folder, frozenset({os.geteuid()}))
    yield opened_files
    opened_files.sockets.close()


def test_a_request_continues_the_trace_of_its_caller(project: ProjectFixture):
    assert project.ask(op="trace", trace="ab" * 16)["value"] == "ab" * 16
    assert project.ask(op="trace")["value"] != "ab" * 16


def test_answers_one_request_after_another(project: ProjectFixture) -> None:
    with project.connect() as connection:
        for word in ("a", "b"):
            protocol.send_frame(connection, {"op": "echo", "say": word})
            assert protocol.receive_frame(connection, limit=1000) == {
                "kind": "progress",
                "stage": "fetch",
                "done": 1,
                "total": 1,
            }
            assert protocol.receive_frame(connection, limit=1000) == {"kind": "done", "value": word, "arrow_bytes": 5}
            assert protocol.PayloadStream(connection, 5).read() == b"arrow"


def test_uid_handler_gets_the_peer_uid(project: ProjectFixture) -> None:
    assert project.ask(op="who", uid=64104)["value"] == [os.geteuid(), 64104]


def test_connection_continues_after_an_error(project: ProjectFixture) -> None:
    with project.connect() as connection:
        protocol.send_frame(connection, {"op": "fail"})
        assert answer(connection)["slug"] == "not-found"
        protocol.send_frame(connection, {"op": "echo", "say": "still here"})
        assert answer(connection)["value"] == "still here"


@pytest.mark.parametrize("request_", [{}, {"op": 7}, {"op": "none"}, {"op": "echo"}, {"op": "echo", "say": [1]}])
def test_a_request_that_makes_no_sense_is_an_error(project: ProjectFixture, request_: protocol.FrameMessage) -> None:
    assert project.ask(**request_)["kind"] == "error"
    assert project.ask(op="echo", say="x")["value"] == "x"


def test_bad_frame_does_not_stop_the_server(project: ProjectFixture) -> None:
    random = Random(7)
    for number in range(150):
        content = random.randbytes(random.randrange(0, 60))
        if number % 3 == 0:
            content = len(content).to_bytes(4, "big") + content
        with project.connect() as connection:
            connection.sendall(content)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(4096):
                pass
    assert project.ask(op="echo", say="x")["value"] == "x"


def test_peer_that_disconnects_silently_is_not_recorded(project: ProjectFixture) -> None:
    for _ in range(40):
        connection = project.connect()
        protocol.send_frame(connection, {"op": "echo", "say": "x" * 60000})
        # Reset, not closed: what the other side still writes fails.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
    deadline = time.monotonic() + 5
    while (output := project.ask(op="echo", say="x"))["kind"] == "error" and time.monotonic() < deadline:
        assert output["slug"] == "unavailable", "the server has not yet closed the last connections"
    assert output["value"] == "x"


def test_oversized_request_is_refused(project: ProjectFixture) -> None:
    with project.connect() as connection:
        connection.sendall((1 << 30).to_bytes(4, "big"))
        assert answer(connection)["slug"] == "refused"


def test_request_with_unexpected_rows_is_refused(project: ProjectFixture) -> None:
    with project.connect() as connection:
        protocol.send_frame(connection, {"op": "echo", "say": "x"}, io.BytesIO(b"rows"))
        assert answer(connection)["slug"] == "refused"
        assert connection.recv(1) == b"", "the rows stand unread, so the connection ends"


def test_idle_peer_is_disconnected_and_full_server_reports_it(project: ProjectFixture) -> None:
    silent = [project.connect() for _ in range(socket_server._MAX_CONNECTIONS)]
    # The last of them holds its place once it is answered; then one more is too many.
    for connection in silent:
        protocol.send_frame(connection, {"op": "echo", "say": "x"})
        assert answer(connection)["kind"] == "done"
    with project.connect() as connection:
        assert answer(connection)["slug"] == "unavailable"
    for connection in silent:
        protocol.PayloadStream(connection, 5).read()
        assert connection.recv(1) == b"", "the server closes the connection after its idle timeout"
        connection.close()
    assert project.ask(op="echo", say="x")["value"] == "x"


def test_slow_frame_times_out(folder: Path) -> None:
    project = ProjectFixture(folder, frozenset({os.geteuid()}), idle_timeout=0.2)
    with project.connect() as connection:
        connection.sendall(protocol.REQUEST_LIMIT.to_bytes(4, "big"))
        assert trickle(connection)
    project.sockets.close()


def test_rejected_peer_is_disconnected_soon(folder: Path) -> None:
    project = ProjectFixture(folder, frozenset({SERVICE_UIDS["api"]}), linger_seconds=0.2)
    with project.connect() as connection:
        assert trickle(connection)
    project.sockets.close()


def test_unknown_users_cannot_block_allowed_users(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    me = os.geteuid()
    asking = [SERVICE_UIDS["vendor"]]
    monkeypatch.setattr(socket_server, "peer_uid", lambda _: asking[0])
    project = ProjectFixture(folder, frozenset({me}), linger_seconds=60)
    # None of them ends what it says: whoever waits for one waits for a minute.
    knocking = [project.connect() for _ in range(socket_server._MAX_CONNECTIONS + 5)]
    assert [answer(item)["slug"] for item in knocking] == ["refused"] * socket_server._MAX_CONNECTIONS + [
        "unavailable"
    ] * 5
    asking[0] = me
    assert project.ask(op="echo", say="x")["value"] == "x"
    for item in knocking:
        item.close()
    project.sockets.close()


def test_connection_limit_is_per_user_and_socket(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    me, portal = os.geteuid(), 4711
    asking = [portal]
    monkeypatch.setattr(socket_server, "peer_uid", lambda _: asking[0])
    project = ProjectFixture(folder, frozenset({me, portal}))
    sitting = [project.connect() for _ in range(socket_server._MAX_CONNECTIONS)]
    for item in sitting:
        protocol.send_frame(item, {"op": "echo", "say": "x"})
        assert answer(item)["kind"] == "done"
    with project.connect() as one_more:
        assert answer(one_more)["slug"] == "unavailable"
    asking[0] = me
    assert project.ask(op="echo", say="x")["value"] == "x"
    with project.connect(project.second) as connection:
        protocol.send_frame(connection, {"op": "echo", "say": "x"})
        assert answer(connection)["value"] == "x"
    for item in sitting:
        item.close()
    project.sockets.close()


def test_suppressed_denials_are_counted(folder: Path) -> None:
    clock = FixedClock()
    step = RecordingStep(clock=clock)
    refusals = socket_server._DenialLog(step, clock)
    for _ in range(3):
        refusals.count_suppressed("intake", 4711)
    refusals.record_denial("intake", 4711)
    assert [entry.facts["suppressed_count"] for entry in step.entries] == [3]


def test_long_response_is_sent_whole(project: ProjectFixture) -> None:
    with project.connect() as slow:
        protocol.send_frame(slow, {"op": "wait"})
        assert project.ask(op="echo", say="x")["value"] == "x"
        project.waiting.set()
        assert answer(slow)["kind"] == "done"


def test_unlisted_user_is_refused_and_recorded(folder: Path) -> None:
    project = ProjectFixture(folder, frozenset({SERVICE_UIDS["api"]}))
    try:
        for _ in range(5):
            refused = project.ask(op="echo", say="x")
            assert refused["slug"] == "refused"
        project.clock.pass_(seconds=2)
        project.ask(op="echo", say="x")
    finally:
        project.sockets.close()
    me = os.geteuid()
    entries = [(entry.action, entry.phase, entry.subject, entry.facts["uid"]) for entry in project.step.entries]
    assert entries == [("connect", "refused", "server:intake", me)] * 2
    assert [entry.facts["suppressed_count"] for entry in project.step.entries] == [0, 4], "knocking fills no ledger"


@needs_root
@pytest.mark.parametrize(("service", "let_in"), [("api", True), ("worker", False), ("vendor", False)])
def test_peer_uid_is_reported_by_the_kernel(folder: Path, service: str, let_in: bool) -> None:
    project = ProjectFixture(folder, frozenset({SERVICE_UIDS["api"], 0}))
    try:
        pid = os.fork()
        if pid == 0:
            status = 9
            try:
                os.setgroups([])
                os.setgid(SERVICE_UIDS[service])
                os.setuid(SERVICE_UIDS[service])
                status = 0 if project.ask(op="echo", say="x")["kind"] == "done" else 1
            finally:
                os._exit(status)
        _, ended = os.waitpid(pid, 0)
    finally:
        project.sockets.close()
    assert os.waitstatus_to_exitcode(ended) == (0 if let_in else 1)
    assert [entry.facts["uid"] for entry in project.step.entries] == ([] if let_in else [SERVICE_UIDS[service]])


def test_socket_replaces_a_stale_socket_file(folder: Path) -> None:
    first = ProjectFixture(folder, frozenset({os.geteuid()}))
    second = ProjectFixture(folder, frozenset({os.geteuid()}))
    assert second.ask(op="echo", say="x")["value"] == "x"
    first.sockets.close()
    second.sockets.close()


def test_caller_may_use_the_vault_socket_and_service_uids_are_not_callers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toml = '[project]\nname = "plan"\ntenant = "acme"\n[sources]\n[callers.portal]\nuid = 4711\n'
    (tmp_path / "wellspring.toml").write_text(toml)
    (tmp_path / ".wellspring").mkdir()
    named = load_project(tmp_path)
    # wellspring.toml rejects such a caller; the socket server checks it as well.
    sly = CallerSettings.model_construct(uid=SERVICE_UIDS["worker"])
    project = named.model_copy(update={"callers": {**named.callers, "sly": sly}})
    me = os.geteuid()
    assert socket_server.allowed_uids(project) == {"intake": {me}, "vault": {me}}
    monkeypatch.setattr(socket_server.os, "geteuid", lambda: SERVICE_UIDS["enclave"])
    assert socket_server.allowed_uids(project) == {
        "intake": {SERVICE_UIDS["worker"], me, 0},
        "vault": {SERVICE_UIDS["api"], 4711, 0},
    }


def test_text_field_requires_text() -> None:
    assert socket_server.text_field({"op": "x"}, "op") == "x"
    for value in (None, 7, ["x"]):
        with pytest.raises(Refused):
            socket_server.text_field({"op": value}, "op")  # type: ignore[dict-item]
    assert issubclass(Refused, WellspringError)
