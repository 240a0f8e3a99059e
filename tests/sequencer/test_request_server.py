"""Requests over the socket: who may send them, and what malformed ones get."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from socket import SHUT_WR
from types import SimpleNamespace
from typing import Any

import pytest

from tests.builders.recording_step import RecordingStep
from tests.builders.sockets import own_server
from wellspring.embedded.probes import responds_to_line
from wellspring.errors import CorruptedError, Refused, Unavailable
from wellspring.observe.refusal_log import RefusalLog
from wellspring.runtime.service_users import ServiceUsers
from wellspring.runtime.unix_socket import connect_unix_socket
from wellspring.sequencer import request_server
from wellspring.sequencer.request_server import RequestServer, allowed_uids
from wellspring.trust.ledger.remote_sequencer import PackReport, RemoteSequencer, SequencerStatus
from wellspring.trust.ledger.tree import SignedCheckpoint

CHECKPOINT = SignedCheckpoint(3, b"\x01" * 32, "text\n\n\u2014 example.com/log AAAA\n".encode())


class ScriptedLoop:
    """Answers as both loops: with a checkpoint or a report, or with the error that a test sets."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.problem = "packs wait"
        self.services: list[str] = []

    def integrate_for(self, service: str) -> SignedCheckpoint:
        self.services.append(service)
        if self.error is not None:
            raise self.error
        return CHECKPOINT

    def pack(self) -> PackReport:
        if self.error is not None:
            raise self.error
        return PackReport(1, 300)

    def read_status(self) -> SequencerStatus:
        return SequencerStatus(3, "2026-11-25T12:00:00.000000Z", 2, "a problem")


@pytest.fixture
def folder() -> Iterator[Path]:
    # The path of a socket has at most 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="ws-"))
    yield folder
    shutil.rmtree(folder)


def serve(folder: Path, loop: Any, uids: frozenset[int], step: RecordingStep | None = None) -> RequestServer:
    server = RequestServer(folder / "s.sock", loop, loop, uids, RefusalLog(step or RecordingStep()))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    return server


@pytest.fixture
def loop(folder: Path) -> Iterator[ScriptedLoop]:
    item = ScriptedLoop()
    server = serve(folder, item, frozenset({os.geteuid()}))
    yield item
    server.shutdown()
    server.server_close()
    assert not (folder / "s.sock").exists()


def test_a_client_gets_the_checkpoint_and_the_status(folder: Path, loop: ScriptedLoop):
    sequencer = RemoteSequencer(own_server(folder / "s.sock"), "worker")
    assert sequencer.integrate() == CHECKPOINT
    assert loop.services == ["worker"]
    assert sequencer.read_status() == loop.read_status()
    assert sequencer.pack_lines() == (1, 300)


def test_a_user_has_a_limited_number_of_connections(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(request_server, "MAX_CONNECTIONS", 2)
    loop = ScriptedLoop()
    server = serve(folder, loop, frozenset({os.geteuid()}))
    socket = own_server(folder / "s.sock")
    idle = [connect_unix_socket(socket, 5) for _ in range(2)]
    with pytest.raises(Unavailable, match="open connections"):
        RemoteSequencer(socket, "worker").read_status()
    for connection in idle:
        # The end of a request that is none ends its connection, and the server closes it.
        connection.shutdown(SHUT_WR)
        assert connection.recv(65536)
        assert connection.recv(1) == b""
        connection.close()
    deadline = time.monotonic() + 10
    while True:
        try:
            assert RemoteSequencer(socket, "worker").read_status() == loop.read_status()
            break
        except Unavailable:
            # The thread of the connection ends a moment after its client.
            assert time.monotonic() < deadline
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("error", [Unavailable("away", fix="wait"), CorruptedError("changed", fix="stop")])
def test_a_client_gets_the_error_of_the_loop(folder: Path, loop: ScriptedLoop, error: Exception):
    loop.error = error
    with pytest.raises(type(error), match=str(error)):
        RemoteSequencer(own_server(folder / "s.sock"), "api").pack_lines()
    with pytest.raises(type(error), match=str(error)):
        RemoteSequencer(own_server(folder / "s.sock"), "worker").integrate()


@pytest.mark.usefixtures("loop")
def test_it_responds_to_a_probe(folder: Path):
    assert responds_to_line(own_server(folder / "s.sock"))
    assert not responds_to_line(own_server(folder / "other.sock"))


@pytest.mark.parametrize("line", [b"", b"nonsense", b"[]", b'{"op": "sign"}', b'{"op": "integrate"}', b"x" * 10_000])
def test_an_unknown_request_is_refused(folder: Path, loop: ScriptedLoop, line: bytes):
    with connect_unix_socket(own_server(folder / "s.sock"), 5) as connection:
        connection.sendall(line + b"\n")
        response = json.loads(connection.makefile("rb").readline())
    assert response["error"]["slug"] == "refused"
    assert loop.services == []


def test_a_user_who_may_not_send_requests_is_refused_and_recorded_once_a_minute(folder: Path):
    step = RecordingStep()
    server = serve(folder, ScriptedLoop(), frozenset({4711}), step)
    for _ in range(3):
        with pytest.raises(Refused, match="may not send requests"):
            RemoteSequencer(own_server(folder / "s.sock"), "worker").integrate()
    (entry,) = step.entries
    assert (entry.action, entry.phase, entry.subject) == ("connect", "refused", "server:sequencer")
    assert entry.facts["peer"] == f"uid:{os.geteuid()}"
    server.shutdown()
    server.server_close()


def test_the_services_the_owner_and_root_may_send_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    project: Any = SimpleNamespace(state_dir=tmp_path)
    assert allowed_uids(project) == {os.geteuid()}
    monkeypatch.setattr(request_server.os, "geteuid", lambda: ServiceUsers().uid_of("sequencer"))
    services = {ServiceUsers().uid_of(name) for name in ("worker", "api", "enclave")}
    assert allowed_uids(project) == {*services, tmp_path.stat().st_uid, 0}
