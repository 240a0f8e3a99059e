"""Compare what lies on the disk with the log: pointers, the data files of editions, and view definitions.

Everything is read without a server, and nothing is changed. The log is proved against its signed checkpoint first, so
the comparison trusts neither the index nor a pointer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from wellspring.data.features.views import load_views_by_digest
from wellspring.errors import CorruptedError, WellspringError
from wellspring.lake.built_tables import PURPOSE_PROPERTY, WARM
from wellspring.lake.editions import EditionLevel, EditionStore, edition_digest, edition_from_facts
from wellspring.lake.file_pins import FilePins, check_file, hash_local_file
from wellspring.models.releases.deployments import DEPLOYMENT_ACTIONS, find_deployment, is_changing
from wellspring.models.releases.history import find_live_release, list_switched_models
from wellspring.models.releases.store import ReleaseStore
from wellspring.records.lake import Edition
from wellspring.records.trust import Entry
from wellspring.trust.ledger.proved_entries import ProvedEntries

STATE_ACTIONS = (*DEPLOYMENT_ACTIONS, "publish", "retire")
EDITION_LEVELS: tuple[EditionLevel, ...] = ("landed", "built")
_POINTER_FIX = "find out who wrote it; after a crash, the next `wellspring ingest` or `transform` completes the switch"


class StateProblem(NamedTuple):
    """Something on the disk that is not what the log says. fix: what to do."""

    what: str
    fix: str


class StoredState(NamedTuple):
    """What is compared. log: the entries of STATE_ACTIONS. views: the folder of view definitions."""

    log: ProvedEntries
    releases: ReleaseStore
    editions: EditionStore
    pins: FilePins
    views: Path


def list_state_problems(state: StoredState) -> list[StateProblem]:
    """List what differs from the log; nothing before the first checkpoint.

    Checked are the pointers of releases and editions, the files of the newest landed and built edition and of the
    editions of live releases, the live releases, and all stored view definitions.
    """
    try:
        state.log.refresh()
        editions = _read_published(state.log)
        return [
            *_check_release_pointers(state),
            *_check_edition_pointers(state, editions),
            *_check_files(state, _select_used(state, editions)),
            *_check_views(state),
        ]
    except CorruptedError as exc:
        return [StateProblem(exc.what, exc.fix)]


def list_story_problems(state: StoredState, editions: Iterable[Edition]) -> list[StateProblem]:
    """List what differs from the log of these editions, and of release pointers, live releases and view definitions.

    Pointers of editions are left out: a publish moves one before its entry is in the log.
    """
    try:
        state.log.refresh()
        # From its intent on, the files of a retired edition may be gone.
        retired = {indexed.entry.subject for indexed in state.log.list_entries(action="retire")}
        present = [edition for edition in editions if edition.subject not in retired]
        return [*_check_release_pointers(state), *_check_files(state, present), *_check_views(state)]
    except CorruptedError as exc:
        return [StateProblem(exc.what, exc.fix)]


def list_editions(entries: Iterable[Entry]) -> list[Edition]:
    """List the editions that publish entries name, without landed ones whose files a later one has too."""
    editions: dict[str, Edition] = {}
    for entry in entries:
        is_published = (entry.action, entry.phase) == ("publish", "done")
        if is_published and entry.facts.get("level") in EDITION_LEVELS and "tables" in entry.facts:
            edition = edition_from_facts(entry.tenant, entry.facts)
            editions["landed" if edition.level == "landed" else edition.id] = edition
    return list(editions.values())


def _check_release_pointers(state: StoredState) -> Iterator[StateProblem]:
    for model in sorted({*state.releases.live_models(), *list_switched_models(state.log)}):
        live, pointer = find_live_release(state.log, model), state.releases.live_id(model)
        if pointer != live.release and pointer not in live.unsettled:
            yield StateProblem(
                f"the pointer live/{model} names {pointer[:12]!a}, and the last switch in the log made "
                f"{live.release or 'no release'} live",
                _POINTER_FIX,
            )
        deployed, challenger = find_deployment(state.log, model), state.releases.challenger_id(model)
        if challenger != deployed.challenger and not is_changing(state.log, model):
            yield StateProblem(
                f"the file challengers/{model} names {challenger[:12]!a}, and the log names "
                f"{deployed.challenger or 'no release'} as the challenger",
                "run the next `wellspring release` act of the model: it writes the file again",
            )
        if live.release:
            try:
                state.releases.get(live.release)
            except WellspringError as exc:
                yield StateProblem(exc.what, exc.fix)


def _read_published(log: ProvedEntries) -> dict[str, Edition]:
    """Return the published editions by id, in the order of the log."""
    editions: dict[str, Edition] = {}
    for indexed in log.list_entries(action="publish", phase="done"):
        if indexed.entry.facts.get("level") in EDITION_LEVELS and "tables" in indexed.entry.facts:
            edition = edition_from_facts(indexed.entry.tenant, indexed.entry.facts)
            editions[edition.id] = edition
    return editions


def _check_edition_pointers(state: StoredState, editions: dict[str, Edition]) -> Iterator[StateProblem]:
    warm = {
        indexed.entry.subject.removeprefix("edition:")
        for indexed in state.log.list_entries(action="publish", phase="done")
        if indexed.entry.text(PURPOSE_PROPERTY) == WARM
    }
    for level in EDITION_LEVELS:
        published = [edition for edition in editions.values() if edition.level == level and edition.id not in warm]
        expected = published[-1].id if published else None
        try:
            latest = state.editions.latest_edition(level)
            pointer = latest.id if latest is not None else None
            if (
                latest is not None
                and latest.id in editions
                and edition_digest(latest) != edition_digest(editions[latest.id])
            ):
                yield StateProblem(f"edition {latest.id} is not the one that the log names", "restore it from a copy")
        except WellspringError as exc:
            yield StateProblem(f"the pointer editions/{level}: {exc.what}", exc.fix)
            continue
        if pointer != expected:
            yield StateProblem(
                f"the pointer editions/{level} names {pointer or 'no edition'}, and the last edition that the "
                f"log published is {expected or 'none'}",
                _POINTER_FIX,
            )


def _select_used(state: StoredState, editions: dict[str, Edition]) -> list[Edition]:
    """Select the newest edition of each level, and the editions of the live releases."""
    used: dict[str, Edition] = {edition.level: edition for edition in editions.values()}
    for model in list_switched_models(state.log):
        try:
            trained_on = state.releases.get(find_live_release(state.log, model).release).edition
        except WellspringError:
            # `_check_release_pointers` reports it.
            continue
        if trained_on in editions:
            used[trained_on] = editions[trained_on]
    return list(used.values())


def _check_files(state: StoredState, editions: Iterable[Edition]) -> Iterator[StateProblem]:
    checked: set[str] = set()
    for edition in editions:
        for table in edition.tables:
            owner = f"table {table.table} of edition {edition.id}"
            try:
                files = state.pins.load_files(table.files) if table.files else {}
            except WellspringError as exc:
                yield StateProblem(f"{owner}: {exc.what}", exc.fix)
                continue
            for file in files.values():
                # A file elsewhere is compared by whoever reads it.
                if file.path in checked or not file.path.startswith("/"):
                    continue
                checked.add(file.path)
                try:
                    check_file(file, owner, hash_local_file)
                except CorruptedError as exc:
                    yield StateProblem(exc.what, exc.fix)


def _check_views(state: StoredState) -> Iterator[StateProblem]:
    for path in sorted(state.views.glob("*.json")):
        try:
            load_views_by_digest(state.views, path.stem)
        except WellspringError as exc:
            yield StateProblem(f"{path}: {exc.what}", exc.fix)
