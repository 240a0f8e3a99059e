"""Start a run under the worker's own user, hand it its credential over a pipe, and follow it to its end."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import Any

from wellspring.errors import BY_SLUG, Refused, Unavailable, WellspringError
from wellspring.project import Project
from wellspring.records.verdict import Verdict

OnProgress = Callable[[str, int, int], None]


def follow(
    here: Project,
    run: str,
    subject: str = "",
    *,
    given: dict[str, Any] | None = None,
    offline: bool = False,
    on_progress: OnProgress | None = None,
) -> Any:
    """Run one of the worker's runs and return its result.

    given: what the run needs besides its subject; it travels over a pipe and stands in no argument list.
    offline: go on without a credential when the servers are down, for runs that may need none. Raises what the run
    raised; Unavailable when the servers are down.
    """
    from wellspring.servers.control import credential
    from wellspring.servers.privileges import command, environment

    born_with: dict[str, str] | None
    try:
        born_with = credential(here, "worker")
    except Unavailable:
        if not offline:
            raise
        born_with = None
    argv = [
        sys.executable,
        "-P",
        "-m",
        "wellspring.worker",
        run,
        *([subject] if subject else []),
        "--project",
        str(here.root),
    ]
    result: Any = None
    problem: WellspringError | None = None
    ended = False
    # Complaints go to a file: a library that warns at length must not fill a pipe that nobody reads yet.
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as complaints:
        with subprocess.Popen(
            command(here, "worker", argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
            cwd="/",
            env=environment(here, "worker"),
        ) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            # A run that dies before it listens is told by its exit code.
            with contextlib.suppress(BrokenPipeError), child.stdin:
                child.stdin.write(json.dumps({"credential": born_with, "given": given or {}}) + "\n")
            for line in child.stdout:
                event = json.loads(line)
                if event["event"] == "progress" and on_progress is not None:
                    on_progress(event["stage"], event["done"], event["total"])
                elif event["event"] == "result":
                    result, ended = event["value"], True
                elif event["event"] == "error":
                    problem = _raised(event)
        complaints.seek(0)
        said, code = complaints.read(), child.returncode
    if problem is not None:
        raise problem
    if code != 0 or not ended:
        raise WellspringError(
            f"the run {run!r} ended unexpectedly ({'signal ' + str(-code) if code < 0 else 'exit ' + str(code)})"
            + _last_line(said),
            fix="run the command again: nothing is lost, and what was half done is finished first",
        )
    return result


def _raised(event: dict[str, Any]) -> WellspringError:
    kind = BY_SLUG.get(event["slug"], WellspringError)
    if kind is Refused:
        verdict = None if event["verdict"] is None else Verdict.model_validate(event["verdict"])
        return Refused(event["what"], fix=event["fix"], verdict=verdict)
    return kind(event["what"], fix=event["fix"])


def _last_line(said: str) -> str:
    """The class of the exception alone: its text could quote data."""
    lines = [line for line in said.strip().splitlines() if line and not line.startswith(" ")]
    return f": {lines[-1].partition(':')[0]}" if lines else ""
