"""The runner of one run: under the worker's own user, holding the one lock that guards catalog and log.

Started as `python -m wellspring.worker RUN --project P`. Reads one JSON line on standard input: its credential (null
for runs that need no server), and what else the run is given, a person's short login among it, which must stand in no
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
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from pydantic import JsonValue

from wellspring import journey, project
from wellspring.assembly import (
    Assembly,
    Credential,
    assemble,
    open_online,
    open_records,
    open_registry,
    open_releases,
    open_shelf,
)
from wellspring.data.features import load_kept
from wellspring.data.materialize import shape, source
from wellspring.errors import NotFound, ProjectError, Refused, Unavailable, WellspringError
from wellspring.models.artefact import candidates as candidates_of
from wellspring.models.artefact import read as read_artefact
from wellspring.models.artefact import read_candidate
from wellspring.models.definition import names
from wellspring.models.release import Releases
from wellspring.models.switches import history
from wellspring.project import Project, nearest
from wellspring.records.record import stamp
from wellspring.servers.confine import confine
from wellspring.trust.ledger.index import Index

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


def _transform(asked: Asked) -> JsonValue:
    with ExitStack() as stack:
        house = stack.enter_context(_house(asked))
        store = stack.enter_context(open_online(house)) if asked.here.features is not None else None
        return journey.transform(house, store, progress=asked.progress).model_dump(mode="json")


def _learn(asked: Asked) -> JsonValue:
    with _house(asked) as house:
        learned = journey.learn(
            house,
            asked.subject,
            registry=open_registry(asked.here),
            shelf=open_shelf(house.records, house.models.public_key()),
            releases=Releases(asked.here.models_kept),
            progress=asked.progress,
        )
        return learned.model_dump(mode="json")


def _reproduce(asked: Asked) -> JsonValue:
    with _house(asked) as house:
        again = journey.reproduce(
            house,
            asked.subject,
            str(asked.given["run"]),
            registry=open_registry(asked.here),
            shelf=open_shelf(house.records, house.models.public_key()),
            progress=asked.progress,
        )
        return {"files": {**again}}


def _propose(asked: Asked) -> JsonValue:
    with _house(asked) as house:
        shelf = open_shelf(house.records, house.models.public_key())
        release = journey.propose(
            house, open_releases(house), asked.subject, shelf=shelf, token=str(asked.given["token"])
        )
        return {"release": release.model_dump(mode="json")}


def _approve(asked: Asked) -> JsonValue:
    with _house(asked) as house:
        release, person = journey.approve(house, open_releases(house), asked.subject, token=str(asked.given["token"]))
        return {"release": release.model_dump(mode="json"), "person": person}


def _rollback(asked: Asked) -> JsonValue:
    with _house(asked) as house:
        release, person = journey.rollback(house, open_releases(house), asked.subject, token=str(asked.given["token"]))
        return {"release": release.model_dump(mode="json"), "person": person}


def _releases(asked: Asked) -> JsonValue:
    with open_records(asked.here) as records:
        kept, index = Releases(asked.here.models_kept), records.index
        candidates = [read_candidate(each, paths=kept.paths) for each in candidates_of(kept.paths)]
        releases = sorted((kept.get(each) for each in kept.ids()), key=lambda each: (each.known_since, each.id))
        live = {each: found.candidate if (found := kept.live(each)) else "" for each in kept.models()}

        def beside(model: str, candidate: str) -> bool:
            judged = index.entries(subject=f"candidate:{candidate}", action="gate", phase="done")
            return bool(judged) and judged[-1].entry.facts.get("live") == live.get(model, "")

        return {
            "candidates": [
                {
                    "model": each.model, "id": each.id, "run": each.run, "edition": each.edition,
                    "outcome": each.verdict.outcome, "auc": round(each.scores.figures["auc"].value, 4),
                    "at": stamp(each.known_since), "beside_live": beside(each.model, each.id),
                }
                for each in sorted(candidates, key=lambda each: (each.known_since, each.id))
            ],
            "releases": [
                {
                    "model": each.model, "id": each.id, "candidate": each.candidate,
                    "proposed": ", ".join(_people(index, each.subject, "propose")),
                    "approved": ", ".join(_people(index, each.subject, "approve")),
                    "live": kept.pointed(each.model) == each.id, "beside_live": beside(each.model, each.candidate),
                }
                for each in releases
            ],
        }  # fmt: skip


def _people(index: Index, subject: str, action: str) -> list[str]:
    found = index.entries(subject=subject, action=action, phase="done")
    return sorted({str(each.entry.facts.get("person", "")) for each in found})


def _enrolled(asked: Asked) -> JsonValue:
    """Name who is enrolled; with the servers up, those of this very moment too."""
    with ExitStack() as stack:
        if asked.credential is None:
            index = stack.enter_context(open_records(asked.here)).index
        else:
            house = stack.enter_context(assemble(asked.here, asked.credential))
            house.sequencer.integrate()
            index = house.records.index
        found = {each.entry.subject for each in index.entries(action="enrol", phase="done")}
        return [each.removeprefix("person:") for each in sorted(found)]


def _history(asked: Asked) -> JsonValue:
    at = asked.given.get("at")
    with open_records(asked.here) as records:
        periods = history(records.index, asked.subject, None if at is None else _instant(str(at)))
    if not periods and asked.subject not in (known := names(asked.here.own.get("models"))):
        raise NotFound(f"no model {asked.subject!r}", fix=nearest(asked.subject, known))
    return [{**each._asdict(), "proposed": ", ".join(each.proposed)} for each in periods]


def _instant(text: str) -> datetime:
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        read = None
    if read is None or read.utcoffset() is None:
        raise ProjectError(f"{text[:40]!a} is no instant", fix="write it as 2026-11-25T14:00:00Z")
    return read.astimezone(UTC)


def _newest(asked: Asked) -> JsonValue:
    """Name the keys of the newest row that a model can be asked about, from the tables that it was trained on."""
    with _house(asked) as house:
        releases, edition = Releases(asked.here.models_kept), journey.built_edition(house)
        live = releases.live(asked.subject)
        if live is None:
            raise NotFound(f"no release of {asked.subject} is live", fix="see `wellspring release list`")
        shelf = open_shelf(house.records, house.models.public_key())
        recipe = read_artefact(live.artefact, objects=shelf.objects, paths=shelf.paths, key=shelf.key).recipe
        needed = dict.fromkeys(column for columns in recipe.keys.values() for column in columns)
        for view in load_kept(asked.here.lake / "views", live.views).views:
            held = shape(source(house.lake, edition, view.table)).names
            if set(needed) <= set(held):
                rows = house.lake.table(edition, view.table, [*needed, "known_since"])
                rows = rows.sort_by([("known_since", "descending")]).slice(0, int(asked.given.get("count", 1)))
                return [{name: str(row[name]) for name in needed} for row in rows.to_pylist()]
        raise NotFound(f"no built table holds all of {', '.join(needed)}", fix="ask with COLUMN=TOKEN")


def _replays(asked: Asked) -> JsonValue:
    with _house(asked) as house:
        shelf = open_shelf(house.records, house.models.public_key())
        told = asked.given.get("predictions") or [asked.subject]
        return [each._asdict() for each in journey.replay_answers(house, open_releases(house), told, shelf=shelf)]


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
    "transform": _transform,
    "learn": _learn,
    "reproduce": _reproduce,
    "propose": _propose,
    "approve": _approve,
    "rollback": _rollback,
    "releases": _releases,
    "enrolled": _enrolled,
    "history": _history,
    "newest": _newest,
    "replay-answers": _replays,
}


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m wellspring.worker", description=__doc__)
    parser.add_argument("run", choices=sorted(RUNS))
    parser.add_argument("subject", nargs="?", default="")
    parser.add_argument("--project", type=Path, required=True)
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
