"""A server that forks: what a child gets, how its end is reported, and what ends with what."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

SERVER = """
import json, os, signal, socket, sys
from wellspring.runtime.fork_server import ForkServer
def run(start):
    if "leave" in start.message and os.fork() == 0:
        getattr(os, start.message["leave"])()
        os.write(start.descriptors[1], json.dumps(os.getpid()).encode())
        signal.pause()
    elif "leave" in start.message:
        return int(os.read(start.descriptors[0], 10))
    for descriptor in start.descriptors[1:]:
        os.write(descriptor, json.dumps([start.message, start.opening]).encode())
    return int(os.read(start.descriptors[0], 10) or b"9")
ForkServer(socket.socket(fileno=int(sys.argv[1])), run, permits=lambda _: "refuse" not in sys.argv).serve_requests()
"""


class Server:
    """A server in a process of its own, with one channel."""

    def __init__(self) -> None:
        self.channel, remote = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.process = start_process(remote)

    def close(self) -> None:
        self.channel.close()
        self.process.wait()


class ListeningServer:
    """A server that listens. words: further arguments."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.path = folder / "sock"
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.bind(str(self.path))
        listener.listen()
        self.process = start_process(listener, *words)

    def connect(self) -> socket.socket:
        channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        channel.connect(str(self.path))
        return channel

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


def start_process(source: socket.socket, *words: str) -> subprocess.Popen[bytes]:
    with source:
        command = [sys.executable, "-c", SERVER, str(source.fileno()), *words]
        return subprocess.Popen(command, pass_fds=(source.fileno(),))


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture(scope="module")
def listening(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ListeningServer]:
    server = ListeningServer(tmp_path_factory.mktemp("server"))
    yield server
    server.close()


class Child:
    """A child that ends with the status that is written to it."""

    def __init__(self, channel: socket.socket, name: str, **message: Any) -> None:
        reader, self.writer = os.pipe()
        self.output, writer = os.pipe()
        send(channel, {"start": name, "word": "w", **message}, reader, writer)
        os.close(reader)
        os.close(writer)
        started = receive(channel)
        self.pid: int = started["pid"]
        assert started == {"started": name, "pid": self.pid}

    def read(self) -> Any:
        return json.loads(os.read(self.output, 4096))

    def end(self, status: int) -> None:
        os.write(self.writer, str(status).encode())

    def close(self) -> None:
        os.close(self.writer)
        os.close(self.output)


def send(channel: socket.socket, message: dict[str, Any], *descriptors: int) -> None:
    socket.send_fds(channel, [json.dumps(message).encode()], list(descriptors))


def receive(channel: socket.socket) -> dict[str, Any]:
    return json.loads(channel.recv(4096))


def open_channel(server: ListeningServer, **opening: Any) -> socket.socket:
    channel = server.connect()
    assert receive(channel) == {"ready": True}
    send(channel, {"open": "x", **opening})
    return channel


def test_a_child_gets_its_message_and_its_end_is_reported(server: Server):
    child = Child(server.channel, "a")
    assert child.read() == [{"start": "a", "word": "w"}, {}]
    assert os.getpgid(child.pid) == child.pid
    child.end(5)
    assert receive(server.channel) == {"ended": "a", "status": 5}
    child.close()


def test_two_children_of_two_channels_are_reported_to_their_own(listening: ListeningServer):
    with open_channel(listening, limit=3) as first, open_channel(listening) as second:
        inner, outer = Child(first, "a"), Child(second, "a")
        assert (inner.read()[1], outer.read()[1]) == ({"open": "x", "limit": 3}, {"open": "x"})
        outer.end(1)
        assert receive(second) == {"ended": "a", "status": 1}
        inner.end(2)
        assert receive(first) == {"ended": "a", "status": 2}
        inner.close()
        outer.close()


def test_a_child_is_killed_on_request(server: Server):
    child = Child(server.channel, "a")
    send(server.channel, {"kill": "a"})
    assert receive(server.channel) == {"ended": "a", "status": -signal.SIGKILL}
    child.close()


@pytest.mark.parametrize("leave", ["getpid", "setpgrp", "setsid"])
def test_what_a_child_started_ends_with_it(server: Server, leave: str):
    child = Child(server.channel, "a", leave=leave)
    started = child.read()
    child.end(0)
    assert receive(server.channel) == {"ended": "a", "status": 0}
    wait_until(lambda: not Path(f"/proc/{started}").exists())
    child.close()


def test_with_a_channel_its_children_end_and_no_others(listening: ListeningServer):
    with open_channel(listening) as lasting:
        channel = open_channel(listening)
        inner, outer = Child(channel, "a"), Child(lasting, "b")
        channel.close()
        wait_until(lambda: not Path(f"/proc/{inner.pid}").exists())
        outer.end(0)
        assert receive(lasting) == {"ended": "b", "status": 0}
        inner.close()
        outer.close()


def test_only_the_first_message_opens_a_channel(listening: ListeningServer):
    with open_channel(listening, limit=3) as channel:
        send(channel, {"open": "x", "limit": 4})
        child = Child(channel, "a")
        assert child.read()[1] == {"open": "x", "limit": 3}
        child.close()


def test_a_connection_that_is_not_permitted_is_closed(tmp_path: Path):
    server = ListeningServer(tmp_path, "refuse")
    with server.connect() as channel:
        assert channel.recv(4096) == b""
    server.close()


@pytest.mark.parametrize("end", ["close", "kill"])
def test_with_the_server_its_children_end(end: str):
    server = Server()
    child = Child(server.channel, "a")
    if end == "kill":
        server.process.kill()
    server.close()
    wait_until(lambda: not Path(f"/proc/{child.pid}/exe").exists())
    child.close()


def wait_until(condition: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(1000):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError("it did not happen in time")
