"""Open, change and heal incidents: each change is a ledger entry first, then the file of the incident.

`.wellspring/incidents/ID.json` holds the incidents that are open or were healed lately, `history/` the others, so that
reading the first folder costs the same in the second year. The files can be written again from the entries.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple, cast

from pydantic import ValidationError

from wellspring.errors import CorruptedError, NotFound, Unavailable, suggest_name
from wellspring.project import Project
from wellspring.records.clock import Clock
from wellspring.records.incidents import Incident, IncidentAct, Severity
from wellspring.records.observe import Recorder
from wellspring.records.record import format_instant
from wellspring.records.trust import Entry
from wellspring.runtime.privileges import detect_privileges
from wellspring.runtime.trusted_folder import FileOwner, move_file, write_file

RECENT = timedelta(days=1)
"""How long a healed incident is shown beside the open ones."""
INCIDENT_ACTIONS = ("open_incident", "act_on_incident", "heal_incident")
"""Actions of the ledger entries of incidents."""
_HISTORY = "history"


class IncidentCause(NamedTuple):
    """Why an incident is opened. code: one word; text: one sentence of at most 200 characters, without data values."""

    code: str
    text: str
    severity: Severity = "warning"


class IncidentStore:
    """The incidents that one service opens. step: the recorder of that service."""

    def __init__(self, project: Project, service: str, *, step: Recorder, clock: Clock) -> None:
        self._project = project
        self._service = service
        self._step = step
        self._clock = clock

    def open_incident(self, subject: str, cause: IncidentCause) -> Incident:
        """Open an incident; if this service has one open with the same subject and code, return that one."""
        for incident in self.list_open():
            if (incident.subject, incident.code) == (subject, cause.code):
                return incident
        now = self._clock.now()
        incident = Incident(
            tenant=self._project.tenant,
            known_since=now,
            id=secrets.token_hex(6),
            opened_by=self._service,
            subject=subject,
            code=cause.code,
            text=cause.text,
            severity=cause.severity,
            owner=self._project.project.owner,
            opened_at=now,
        )
        facts = incident.model_dump(mode="json", include={"code", "text", "severity", "owner"})
        facts |= {"about": subject, "at": format_instant(now)}
        with self._step("open_incident", f"incident:{incident.id}", facts=facts):
            pass
        _write_incident(self._project.incidents_dir, incident)
        return incident

    def add_act(self, incident_id: str, what: str, result: str, *, severity: Severity | None = None) -> Incident:
        """Add an act to an open incident. severity: its new severity. Raises NotFound."""
        incident = self._require_open(incident_id)
        act = IncidentAct(at=self._clock.now(), what=what, result=result)
        facts = act.model_dump(mode="json") | {"severity": severity or incident.severity}
        with self._step("act_on_incident", f"incident:{incident.id}", facts=facts):
            pass
        incident = _apply_act(incident, act, severity or incident.severity)
        _write_incident(self._project.incidents_dir, incident)
        return incident

    def heal_incident(self, incident_id: str) -> Incident:
        """Close an incident that is over. Raises NotFound if no such incident is open."""
        incident, now = self._require_open(incident_id), self._clock.now()
        with self._step("heal_incident", f"incident:{incident.id}", facts={"at": format_instant(now)}):
            pass
        incident = _apply_healing(incident, now)
        _write_incident(self._project.incidents_dir, incident)
        self._move_old_incidents(now)
        return incident

    def list_open(self, subject: str | None = None) -> list[Incident]:
        """List the open incidents of this service, all or those of one subject, oldest first."""
        return [
            incident
            for incident in list_recent_incidents(self._project, self._clock.now())
            if incident.state == "open" and incident.opened_by == self._service and subject in (None, incident.subject)
        ]

    def _require_open(self, incident_id: str) -> Incident:
        incidents = {incident.id: incident for incident in self.list_open()}
        if incident_id not in incidents:
            raise NotFound(
                f"{self._service} has no open incident {incident_id!r}", fix=suggest_name(incident_id, list(incidents))
            )
        return incidents[incident_id]

    def _move_old_incidents(self, now: datetime) -> None:
        """Move this service's incidents that were healed earlier than lately; the folder lets each move its own."""
        folder = self._project.incidents_dir
        for incident in _read_folder(folder):
            if incident.opened_by == self._service and not _is_recent(incident, now):
                move_file(_incident_path(folder, incident), _incident_path(folder / _HISTORY, incident))


def list_recent_incidents(project: Project, now: datetime) -> list[Incident]:
    """List the incidents that are open or were healed within a day, oldest first."""
    return _sort_incidents(incident for incident in _read_folder(project.incidents_dir) if _is_recent(incident, now))


def list_all_incidents(project: Project) -> list[Incident]:
    """List all incidents, oldest first."""
    return _sort_incidents([*_read_folder(project.incidents_dir), *_read_folder(project.incidents_dir / _HISTORY)])


def get_incident(project: Project, incident_id: str) -> Incident:
    """Return an incident. Raises NotFound with the nearest id."""
    incidents = {incident.id: incident for incident in list_all_incidents(project)}
    if incident_id not in incidents:
        raise NotFound(f"no incident {incident_id!r}", fix=suggest_name(incident_id, list(incidents)))
    return incidents[incident_id]


def rebuild_incidents(entries: Iterable[Entry]) -> list[Incident]:
    """Build the incidents from ledger entries, which are in the order of each journal; oldest first."""
    incidents: dict[str, Incident] = {}
    for entry in entries:
        incident_id = entry.subject.removeprefix("incident:")
        if entry.phase != "done" or incident_id == entry.subject:
            continue
        if entry.action == "open_incident":
            incidents[incident_id] = _open_from_entry(incident_id, entry)
        elif (incident := incidents.get(incident_id)) is not None:
            at = datetime.fromisoformat(entry.text("at"))
            if entry.action == "act_on_incident":
                act = IncidentAct(at=at, what=entry.text("what"), result=entry.text("result"))
                incidents[incident_id] = _apply_act(incident, act, cast(Severity, entry.text("severity")))
            elif entry.action == "heal_incident":
                incidents[incident_id] = _apply_healing(incident, at)
    return _sort_incidents(incidents.values())


def restore_incidents(project: Project, entries: Iterable[Entry], now: datetime) -> list[Incident]:
    """Write the files of all incidents again from their entries, and return those that differed or were missing."""
    stored = {incident.id: incident for incident in list_all_incidents(project)}
    changed = [incident for incident in rebuild_incidents(entries) if stored.get(incident.id) != incident]
    privileges = detect_privileges(project)
    for incident in changed:
        folder = project.incidents_dir if _is_recent(incident, now) else project.incidents_dir / _HISTORY
        # Its service replaces the file later, which it may do only as its owner.
        service = None if incident.opened_by == "supervisor" else incident.opened_by
        _write_incident(folder, incident, privileges.owner_of(service))
    return changed


def _read_folder(folder: Path) -> list[Incident]:
    """Read the incidents of a folder. Raises CorruptedError for a file that is not an incident."""
    incidents: list[Incident] = []
    for path in folder.glob("*.json"):
        try:
            incidents.append(Incident.model_validate_json(path.read_bytes()))
        except FileNotFoundError:
            # Its service moves it at this moment.
            continue
        except ValidationError:
            raise CorruptedError(
                f"{path} is not an incident", fix="move it away, then run `wellspring incident restore`"
            ) from None
    return incidents


def _incident_path(folder: Path, incident: Incident) -> Path:
    return folder / f"{incident.id}.json"


def _write_incident(folder: Path, incident: Incident, owner: FileOwner | None = None) -> None:
    path = _incident_path(folder, incident)
    try:
        write_file(path, incident.model_dump_json(indent=1).encode() + b"\n", 0o640, owner)
    except OSError as exc:
        raise Unavailable(
            f"{path} cannot be written ({exc.strerror}); the ledger has the incident",
            fix="free disk space, then run `wellspring incident restore`",
        ) from None


def _open_from_entry(incident_id: str, entry: Entry) -> Incident:
    opened_at = datetime.fromisoformat(entry.text("at"))
    return Incident(
        tenant=entry.tenant,
        known_since=opened_at,
        id=incident_id,
        opened_by=entry.service,
        subject=entry.text("about"),
        code=entry.text("code"),
        text=entry.text("text"),
        severity=cast(Severity, entry.text("severity")),
        owner=entry.text("owner"),
        opened_at=opened_at,
    )


def _apply_act(incident: Incident, act: IncidentAct, severity: Severity) -> Incident:
    return incident.model_copy(update={"acts": (*incident.acts, act), "severity": severity, "known_since": act.at})


def _apply_healing(incident: Incident, at: datetime) -> Incident:
    return incident.model_copy(update={"state": "healed", "healed_at": at, "known_since": at})


def _is_recent(incident: Incident, now: datetime) -> bool:
    return incident.healed_at is None or now - incident.healed_at < RECENT


def _sort_incidents(incidents: Iterable[Incident]) -> list[Incident]:
    return sorted(incidents, key=lambda incident: (incident.opened_at, incident.id))
