"""The users of the demo, who log in at a pseudo-terminal as people do."""

from __future__ import annotations

import json
import sys
import threading
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from wellspring.cli.demo_harness import require_outcome
from wellspring.project import Project

if TYPE_CHECKING:
    from wellspring.cli.pseudo_terminal import Answer

_CODE_SECONDS = 30
"""The time of one code. The server accepts the code before and the one after, too."""


class DemoUsers:
    """The users ines and omar, each at a pseudo-terminal with a password and authenticator codes.

    code: what the first of them types to be enrolled.
    """

    def __init__(self, project: Project, code: str) -> None:
        self._code = code
        self._command = [sys.executable, "-m", "wellspring.cli", "--project", str(project.root), "--json"]
        self._secrets: dict[str, tuple[str, str]] = {}
        self._last_steps: dict[str, int] = {}

    def enroll(self, name: str) -> None:
        import secrets

        from wellspring.cli.pseudo_terminal import run_in_pty

        password = secrets.token_urlsafe(18)
        prompts = [] if self._secrets else [("code that `up` printed: ", self._code)]
        inputs = [*prompts, ("password: ", password), ("again: ", password)]
        result = run_in_pty([*self._command, "users", "enroll", name], inputs)
        require_outcome(result.exit_code == 0, f"{name} is enrolled (the terminal shows {result.screen.strip()!r})")
        query = parse_qs(urlsplit(json.loads(result.out)["otpauth_url"]).query)
        self._secrets[name] = (password, query["secret"][0])

    def run_as(self, name: str, *argv: str) -> tuple[int, Any]:
        """Run a command as a user, with the first code that this user has not used: each code works once."""
        from pyotp.totp import TOTP

        from wellspring.cli.pseudo_terminal import run_in_pty

        password, secret = self._secrets[name]

        def compute_code() -> str:
            # When it is asked for: a draft that is built before the login takes longer than a code is valid.
            return TOTP(secret).at(_CODE_SECONDS * self._take_step(name))

        inputs: list[Answer] = [("name: ", name), ("password: ", password), ("code: ", compute_code)]
        result = run_in_pty([*self._command, *argv], inputs)
        text = result.out if result.exit_code == 0 else result.screen[result.screen.index("{") :]
        return result.exit_code, json.loads(text)

    def _take_step(self, name: str) -> int:
        """Return the step of the next unused code; wait until the server accepts it."""
        step = max(_current_step() - 1, self._last_steps.get(name, 0) + 1)
        while step > _current_step() + 1:
            threading.Event().wait(_CODE_SECONDS - time.time() % _CODE_SECONDS)
        self._last_steps[name] = step
        return step


def _current_step() -> int:
    return int(time.time()) // _CODE_SECONDS
