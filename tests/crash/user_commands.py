"""The commands of a project that users run at a terminal, each with a password and a fresh code."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from pyotp.totp import TOTP

from tests.crash.project import ProjectCommands
from wellspring.cli.pseudo_terminal import TerminalResult, run_in_pty

PASSWORD = "a long enough sentence"
PERIOD = 30


class UserCommands(ProjectCommands):
    """The commands of one project. secrets: TOTP secrets by user name."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.secrets: dict[str, str] = {}
        self._used: dict[str, set[int]] = {}

    def enroll_users(self, *names: str) -> None:
        """Enroll users, each at a terminal."""
        for name in names:
            prompts = [("code that `up` printed: ", self.bootstrap_code)] if self.bootstrap_code else []
            prompts += [("password: ", PASSWORD), ("again: ", PASSWORD)]
            output = self.run_at_terminal(("users", "enroll", name), prompts)
            assert output.exit_code == 0, output.screen
            self.bootstrap_code = ""
            result = parse_qs(urlsplit(json.loads(output.out)["otpauth_url"]).query)
            self.secrets[name] = result["secret"][0]

    def act(self, name: str, *words: str, crash_at: str | None = None) -> TerminalResult:
        """Run a command as a user: type name, password and a fresh code at a terminal."""
        answers = [("name: ", name), ("password: ", PASSWORD), ("code: ", self.next_code(name))]
        return self.run_at_terminal(words, answers, crash_at=crash_at)

    def run_at_terminal(
        self, words: Sequence[str], answers: Sequence[tuple[str, str]], *, crash_at: str | None = None
    ) -> TerminalResult:
        """Run a command at a terminal. The child inherits the environment, so `env` sets the differences."""
        point = [f"WELLSPRING_CRASH_AT={crash_at}"] if crash_at else []
        return run_in_pty(["env", "-u", "WELLSPRING_CRASH_AT", *point, *self.argv(*words)], answers)

    def next_code(self, name: str) -> str:
        """Return an unused TOTP code of the current, next or previous period; each code works once."""
        used = self._used.setdefault(name, set())
        while True:
            now = int(time.time()) // PERIOD
            # Use the oldest code last: it may expire while it is typed.
            for step in (now, now + 1, now - 1):
                if step not in used:
                    used.add(step)
                    return TOTP(self.secrets[name]).at(step * PERIOD)
            threading.Event().wait(PERIOD - time.time() % PERIOD + 0.1)

    def release_contract(self, name: str, *, author: str = "ines", approver: str = "omar") -> str:
        """Release the contract that is on disk as two users, and return the id of the release."""
        release = self.propose_contract(name, author=author)
        approved = self.act(approver, "release", "approve", release)
        assert approved.exit_code == 0, approved.screen
        return release

    def propose_contract(self, name: str, *, author: str = "ines") -> str:
        """Propose the contract that is on disk, and return the id of the release."""
        proposed = self.act(author, "release", "propose", "--kind", "contract", name)
        assert proposed.exit_code == 0, proposed.screen
        return str(json.loads(proposed.out)["release"]["id"])
