"""A probe asks as a caller asks, and takes only the right answer for life."""

import os
import socket
import struct
import threading
from pathlib import Path

import pytest

from wellspring.embedded.probes import accepts_connections, responds_to_ping


@pytest.mark.parametrize(
    ("answer", "works"), [(b'{"kind": "done"}', True), (b'{"kind": "error"}', False), (b"", False)]
)
def test_a_ping_wants_a_done(tmp_path: Path, answer: bytes, works: bool):
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as socket_path:
        socket_path.bind(os.fspath(path))
        socket_path.listen()

        def serve() -> None:
            caller, _ = socket_path.accept()
            with caller:
                caller.recv(100)
                caller.sendall(struct.pack(">I", len(answer)) + answer if answer else b"")

        thread = threading.Thread(target=serve)
        thread.start()
        assert responds_to_ping(path) is works
        thread.join()


def test_no_socket_does_not_connect(tmp_path: Path):
    assert not accepts_connections(tmp_path / "nothing")
    assert not responds_to_ping(tmp_path / "nothing")
