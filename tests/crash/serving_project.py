"""A project that answers: history received, tables built, a model learned, released by two people at a terminal."""

from __future__ import annotations

import http.client
import json
import random
import shutil
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from pyotp.totp import TOTP

from examples.health_plan import drops
from tests.crash.project import EXAMPLE, Commands
from wellspring.cli.pseudo_terminal import TerminalResult, run_in_pty
from wellspring.cli.worker_client import run_worker
from wellspring.client import Client
from wellspring.project import Project, load_project

MODEL = "denials"
PASSWORD = "a long enough sentence"
PERIOD = 30
# The fewest on which the model still passes its gate.
MONTHS, MEMBERS, LINES = 18, 4_000, 34_000


class Result(NamedTuple):
    """What the API sent: its status and its bytes."""

    status: int
    body: bytes


class Served(Commands):
    """One copy of the example, walked to its answers. secrets: of the people's authenticators, by name."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        shutil.copytree(EXAMPLE, root, ignore=shutil.ignore_patterns("__pycache__", ".wellspring"))
        root.chmod(0o755)
        self.project: Project = load_project(root)
        self.secrets: dict[str, str] = {}
        self._used: dict[str, set[int]] = {}

    # --- the walk -------------------------------------------------------------------------------------------------

    def learned(self) -> str:
        """Walk from the vendor's history to a candidate that passed its gate, and return its id."""
        self.must("up")
        drops.history(self.project.vendor_dir / "outbox", months=MONTHS, members=MEMBERS, lines=LINES)
        self.must("ingest")
        self.must("transform")
        return str(self.must("train", MODEL)["id"])

    def enrolled(self, *names: str) -> None:
        """Enrol people, each at a terminal."""
        for name in names:
            output = self.typed(("users", "enroll", name), [("password: ", PASSWORD), ("again: ", PASSWORD)])
            assert output.exit_code == 0, output.screen
            result = parse_qs(urlsplit(json.loads(output.out)["otpauth_url"]).query)
            self.secrets[name] = result["secret"][0]

    def released(self, candidate: str) -> str:
        """Propose a candidate as ines, approve it as omar, and return the id of the release."""
        proposed = self.act("ines", "release", "propose", candidate)
        assert proposed.exit_code == 0, proposed.screen
        release = str(json.loads(proposed.out)["release"]["id"])
        approved = self.act("omar", "release", "approve", release)
        assert approved.exit_code == 0, approved.screen
        return release

    # --- people ---------------------------------------------------------------------------------------------------

    def act(self, name: str, *words: str, crash_at: str | None = None) -> TerminalResult:
        """Do something as a person: name, password and a fresh code, typed at a terminal."""
        answers = [("name: ", name), ("password: ", PASSWORD), ("code: ", self.code(name))]
        return self.typed(words, answers, crash_at=crash_at)

    def typed(
        self, words: Sequence[str], answers: Sequence[tuple[str, str]], *, crash_at: str | None = None
    ) -> TerminalResult:
        """Run a command at a terminal. A terminal's child inherits everything, so `env` says what is different."""
        point = [f"WELLSPRING_CRASH_AT={crash_at}"] if crash_at else []
        return run_in_pty(["env", "-u", "WELLSPRING_CRASH_AT", *point, *self.argv(*words)], answers)

    def code(self, name: str) -> str:
        """Make a code that has not been used: that of this half minute, the next or the last; each works once."""
        used = self._used.setdefault(name, set())
        while True:
            now = int(time.time()) // PERIOD
            # The oldest goes last: while it is typed, its time may end.
            for step in (now, now + 1, now - 1):
                if step not in used:
                    used.add(step)
                    return TOTP(self.secrets[name]).at(step * PERIOD)
            threading.Event().wait(PERIOD - time.time() % PERIOD + 0.1)

    # --- questions ------------------------------------------------------------------------------------------------

    def keys(self, count: int, *, seed: int = 1, newest: int = 3_000) -> list[dict[str, str]]:
        """Draw things that can be asked about, from the newest that the built edition holds."""
        matches: list[dict[str, str]] = run_worker(self.project, "latest-keys", MODEL, params={"count": newest})
        draw = random.Random(seed)
        return draw.sample(matches, count) if count <= len(matches) else draw.choices(matches, k=count)

    def client(self) -> Client:
        return Client(self.project)

    def http(self, method: str, address: str, body: Any = None) -> Result:
        """Say something to the API as any program could, and return what it sent."""
        line = http.client.HTTPConnection("api", timeout=10)
        line.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        line.sock.connect(str(self.project.socket_path("api")))
        try:
            headers: Mapping[str, str] = {"Content-Type": "application/json"} if body is not None else {}
            line.request(method, address, None if body is None else json.dumps(body), headers)
            answer = line.getresponse()
            return Result(answer.status, answer.read())
        finally:
            line.close()

    # --- what can be seen -----------------------------------------------------------------------------------------

    def journal(self, service: str) -> list[dict[str, Any]]:
        """Read the journal of a service, line by line; the last may be torn, as after a power cut."""
        lines: list[dict[str, Any]] = []
        for path in sorted((self.project.journals_dir / service).glob("*.log")):
            lines += [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]
        return lines

    def repair(self, name: str) -> None:
        """Bring a killed server back as its owner would: `restart NAME`, or `up` when nobody is left to ask."""
        self.must("up") if name == "supervisor" else self.must("restart", name)
