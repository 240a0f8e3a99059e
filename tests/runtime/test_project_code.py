"""The client of the server of project code, with a server of a few lines."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from wellspring.errors import Unavailable
from wellspring.runtime.project_code import ProjectCodeClient, ProjectCodeFiles, ProjectCodeRun

FILES = ProjectCodeFiles(Path("/scratch"), (Path("/code"),))
Serve = Callable[[socket.socket, dict[str, Any], list[int]], None]


@contextmanager
def open_client(serve: Serve) -> Iterator[ProjectCodeClient]:
    """Open a client whose server gets one request, and then closes."""
    local, remote = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def run() -> None:
        with remote:
            content, descriptors, _, _ = socket.recv_fds(remote, 4096, 3)
            serve(remote, json.loads(content), descriptors)
            for descriptor in descriptors:
                os.close(descriptor)

    thread = threading.Thread(target=run)
    thread.start()
    client = ProjectCodeClient(local)
    yield client
    client.close()
    thread.join()


def send(channel: socket.socket, **message: Any) -> None:
    channel.send(json.dumps(message).encode())


def test_the_request_is_passed_and_the_output_is_returned():
    requests: list[dict[str, Any]] = []

    def serve(channel: socket.socket, message: dict[str, Any], descriptors: list[int]) -> None:
        requests.append(message)
        send(channel, started=message["start"], pid=7)
        os.write(descriptors[1], os.read(descriptors[0], 100).upper())
        os.write(descriptors[2], b"a warning")
        send(channel, ended="another", status=0)
        send(channel, ended=message["start"], status=3)

    with open_client(serve) as client:
        output = client.run("dbt", b"build", FILES, timeout=60, trace="ab" * 16)
    assert output == ProjectCodeRun(3, b"BUILD", b"a warning")
    (request,) = requests
    assert request.pop("start").startswith("dbt")
    assert request == {"kind": "dbt", "folder": "/scratch", "readable": ["/code"], "trace": "ab" * 16}


def test_after_the_timeout_the_process_is_killed():
    def serve(channel: socket.socket, message: dict[str, Any], _: list[int]) -> None:
        assert json.loads(channel.recv(4096)) == {"kill": message["start"]}
        send(channel, ended=message["start"], status=-9)

    with open_client(serve) as client:
        assert client.run("model", b"", FILES, timeout=0.2).status is None


def test_without_its_server_project_code_is_unavailable():
    with open_client(lambda *_: None) as client:
        for _ in range(2):
            with pytest.raises(Unavailable, match="server of project code ended"):
                client.run("model", b"", FILES, timeout=60)
