"""Readiness probes accept only the expected response."""

import os
import socket
import struct
import threading
from pathlib import Path

import pytest

from tests.builders.sockets import own_server
from wellspring.embedded.probes import accepts_connections, responds_to_http, responds_to_ping


@pytest.mark.parametrize(
    ("answer", "works"), [(b'{"kind": "done"}', True), (b'{"kind": "error"}', False), (b"", False)]
)
def test_a_ping_needs_a_done_response(tmp_path: Path, answer: bytes, works: bool):
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(path))
        listener.listen()

        def serve() -> None:
            caller, _ = listener.accept()
            with caller:
                caller.recv(100)
                caller.sendall(struct.pack(">I", len(answer)) + answer if answer else b"")

        thread = threading.Thread(target=serve)
        thread.start()
        assert responds_to_ping(own_server(path)) is works
        thread.join()


def test_a_missing_socket_is_not_ready(tmp_path: Path):
    assert not accepts_connections(own_server(tmp_path / "nothing"))
    assert not responds_to_ping(own_server(tmp_path / "nothing"))


@pytest.mark.parametrize(
    ("answer", "works"),
    [(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", True), (b"HTTP/1.1 503 Busy\r\n\r\n", True), (b"", False)],
)
def test_any_http_response_is_a_sign_of_life(tmp_path: Path, answer: bytes, works: bool):
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(path))
        listener.listen()

        def serve() -> None:
            caller, _ = listener.accept()
            with caller:
                caller.recv(1000)
                caller.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        assert responds_to_http(own_server(path), "/healthz") is works
        thread.join()
    assert not responds_to_http(own_server(tmp_path / "nothing"), "/healthz")
