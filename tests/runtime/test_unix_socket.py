"""HTTP over a Unix socket, the uid of a peer, and a socket that accepts connections as soon as its path exists."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import pytest

from tests.builders.sockets import own_server
from wellspring.runtime.unix_socket import (
    UnixHTTPConnection,
    bind_public_socket,
    connect_unix_socket,
    has_unread_data,
    peer_uid,
)


def test_peer_uid_comes_from_the_kernel():
    near, far = socket.socketpair(socket.AF_UNIX)
    with near, far:
        assert peer_uid(near) == os.getuid()


def test_a_socket_with_data_or_a_closed_peer_can_be_read():
    near, far = socket.socketpair(socket.AF_UNIX)
    with near, far:
        assert not has_unread_data(near.fileno())
        far.sendall(b"x")
        assert has_unread_data(near.fileno())
        near.recv(1)
        assert not has_unread_data(near.fileno())
        far.close()
        assert has_unread_data(near.fileno())


def test_a_bound_socket_accepts_every_user_and_replaces_a_stale_path(tmp_path: Path):
    path = tmp_path / "s"
    for _ in range(2):
        with bind_public_socket(path, backlog=4) as listener, connect_unix_socket(own_server(path), 2) as connection:
            accepted, _ = listener.accept()
            assert peer_uid(accepted) == os.getuid()
            assert connection.gettimeout() == 2
            accepted.close()
    assert oct(path.stat().st_mode & 0o777) == "0o666"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_connect_raises_and_closes_the_connection(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        connect_unix_socket(own_server(tmp_path / "missing"), 1)
    connection = UnixHTTPConnection(own_server(tmp_path / "missing"), timeout=1)
    with pytest.raises(FileNotFoundError):
        connection.request("GET", "/")
    assert connection.sock is None


def test_http_works_over_a_unix_socket(tmp_path: Path):
    requests: list[bytes] = []
    with bind_public_socket(tmp_path / "s", backlog=1) as listener:

        def serve_once() -> None:
            accepted, _ = listener.accept()
            with accepted:
                requests.append(accepted.recv(4096))
                accepted.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

        thread = threading.Thread(target=serve_once)
        thread.start()
        connection = UnixHTTPConnection(own_server(tmp_path / "s"), host="api", timeout=60)
        connection.request("GET", "/path")
        response = connection.getresponse()
        assert (response.status, response.read()) == (200, b"ok")
        thread.join()
        connection.close()
    assert requests[0].startswith(b"GET /path HTTP/1.1\r\nHost: api\r\n")
