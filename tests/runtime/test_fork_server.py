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
ForkServer(socket.socket(fileno=int(sys.argv[1])), run).serve_requests()
"""


class Server:
    """A server in a process of its own, and its first channel."""

    def __init__(self) -> None:
        self.channel, remote = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with remote:
            self.process = subprocess.Popen(
                [sys.executable, "-c", SERVER, str(remote.fileno())], pass_fds=(remote.fileno(),)
            )

    def close(self) -> None:
        self.channel.close()
        self.process.wait()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server()
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


def open_channel(server: Server, **opening: Any) -> socket.socket:
    local, remote = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with remote:
        send(server.channel, {"open": "x", **opening}, remote.fileno())
    return local


def test_a_child_gets_its_message_and_its_end_is_reported(server: Server):
    child = Child(server.channel, "a")
    assert child.read() == [{"start": "a", "word": "w"}, {}]
    assert os.getpgid(child.pid) == child.pid
    child.end(5)
    assert receive(server.channel) == {"ended": "a", "status": 5}
    child.close()


def test_two_children_of_two_channels_are_reported_to_their_own(server: Server):
    with open_channel(server, limit=3) as channel:
        inner, outer = Child(channel, "a"), Child(server.channel, "a")
        assert (inner.read()[1], outer.read()[1]) == ({"open": "x", "limit": 3}, {})
        outer.end(1)
        assert receive(server.channel) == {"ended": "a", "status": 1}
        inner.end(2)
        assert receive(channel) == {"ended": "a", "status": 2}
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


def test_with_a_channel_its_children_end_and_no_others(server: Server):
    channel = open_channel(server)
    inner, outer = Child(channel, "a"), Child(server.channel, "b")
    channel.close()
    wait_until(lambda: not Path(f"/proc/{inner.pid}").exists())
    outer.end(0)
    assert receive(server.channel) == {"ended": "b", "status": 0}
    inner.close()
    outer.close()


def test_only_the_first_channel_adds_channels(server: Server):
    with open_channel(server) as channel:
        local, remote = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with local:
            with remote:
                send(channel, {"open": "y"}, remote.fileno())
            # The server has closed what it got.
            assert local.recv(1) == b""


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
