"""The runner of one run: under the worker's own user, holding the one lock that guards catalog and log.

Started as `python -m wellspring.worker RUN --project P`. Reads one JSON line on standard input: its credential (null for
runs that need no server), and what else the run is given, a person's short login among it, which must stand in no
argument list. Writes JSON lines on standard output: progress, then one result or one error.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from pydantic import JsonValue

from wellspring import journey, project
from wellspring.assembly import Assembly, Credential, assemble, open_records
from wellspring.errors import Refused, Unavailable, WellspringError
from wellspring.project import Project
from wellspring.servers.confine import confine

Emit = Callable[[dict[str, Any]], None]


class Asked(NamedTuple):
    """One run: of which project, with which login, about what. given: what else it needs, by name."""

    here: Project
    credential: Credential | None
    subject: str
    given: dict[str, Any]
    progress: journey.Progress


def main(argv: list[str] | None = None) -> int:
    """Run one run and return its exit code."""
    asked = _arguments(argv)
    line = sys.stdin.readline()
    told: dict[str, Any] = json.loads(line) if line.strip() else {}
    # What libraries print must not mix with our lines: they get standard error.
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    credential = told.get("credential")
    return run(asked, None if credential is None else Credential(**credential), out, told.get("given"))


def run(
    asked: argparse.Namespace, credential: Credential | None, out: TextIO, given: dict[str, Any] | None = None
) -> int:
    """Carry out what was asked; every outcome is one JSON line."""

    def emit(event: dict[str, Any]) -> None:
        out.write(json.dumps(event) + "\n")
        out.flush()

    def progress(stage: str, done: int, total: int) -> None:
        emit({"event": "progress", "stage": stage, "done": done, "total": total})

    try:
        here = project.load(asked.project)
        confine(here, role="worker")
        with writer_lock(here):
            value = RUNS[asked.run](Asked(here, credential, asked.subject, given or {}, progress))
        emit({"event": "result", "value": value})
    except WellspringError as wrong:
        verdict = wrong.verdict.model_dump(mode="json") if isinstance(wrong, Refused) and wrong.verdict else None
        emit({"event": "error", "slug": wrong.slug, "what": wrong.what, "fix": wrong.fix, "verdict": verdict})
        return wrong.exit_code
    return 0


@contextmanager
def writer_lock(here: Project) -> Iterator[None]:
    """Hold the one lock that guards the catalog and the log. Raises Unavailable when another run holds it."""
    try:
        lock = (here.state / "writer.lock").open("a+")
    except FileNotFoundError:
        raise Unavailable("the servers of this project have never been up", fix="run `wellspring up`") from None
    with lock as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unavailable("another run is under way in this project", fix="try again when it has ended") from None
        yield


def _receive(asked: Asked) -> JsonValue:
    with _house(asked) as house:
        return journey.receive(house, asked.subject, progress=asked.progress).model_dump(mode="json")


def _replay(asked: Asked) -> JsonValue:
    with _house(asked) as house:
        drop = asked.subject.removeprefix("drop:")
        return journey.replay(house, drop, progress=asked.progress).model_dump(mode="json")


def _quarantined(asked: Asked) -> JsonValue:
    with _house(asked) as house:
        rows = house.vault.quarantined(asked.subject.removeprefix("drop:") or None)
        return [row.model_dump(mode="json") for row in rows]


def _accounts(asked: Asked) -> JsonValue:
    with _house(asked) as house:
        house.sequencer.integrate()
        drops = dict.fromkeys(each.entry.subject for each in house.records.index.entries(action="land"))
        accounts = {drop: journey.account(house, drop.removeprefix("drop:")) for drop in drops}
        edition = house.lake.edition()
        return {
            "edition": None if edition is None else edition.model_dump(mode="json"),
            "accounts": {
                drop: {**each.model_dump(mode="json"), "balanced": each.balanced} for drop, each in accounts.items()
            },
        }


def _prove(asked: Asked) -> JsonValue:
    folder = asked.here.state / "packs" / re.sub(r"[^A-Za-z0-9_.-]", "-", asked.subject)
    if asked.credential is None:
        with open_records(asked.here) as records:
            pack = journey.prove(records, asked.subject, folder)
    else:
        with assemble(asked.here, asked.credential) as house:
            pack = journey.prove(house.records, asked.subject, folder, house=house)
    return {"subject": pack.subject, "folder": str(pack.folder), "entries": pack.entries}


def _house(asked: Asked) -> AbstractContextManager[Assembly]:
    if asked.credential is None:
        raise Unavailable("the servers of this project are not running", fix="run `wellspring up`")
    return assemble(asked.here, asked.credential)


RUNS: dict[str, Callable[[Asked], JsonValue]] = {
    "receive": _receive,
    "replay": _replay,
    "quarantined": _quarantined,
    "accounts": _accounts,
    "prove": _prove,
}


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m wellspring.worker", description=__doc__)
    parser.add_argument("run", choices=sorted(RUNS))
    parser.add_argument("subject", nargs="?", default="")
    parser.add_argument("--project", type=Path, required=True)
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
