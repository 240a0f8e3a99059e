"""Enrolls users on request of the owner; the first one of a governed project needs the code that `up` printed.

Without it, whoever reaches the control socket unseen could enroll both persons of a release. The code is in the memory
of the supervisor and on the screen of `up` only; the ledger has its digest, and an incident is open until two users are
enrolled. A start of the servers before the first enrollment replaces the code, so a lost one can be replaced.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from functools import partial
from typing import Any

from wellspring.embedded import openbao_setup, users
from wellspring.errors import CorruptedError, Refused, Unavailable
from wellspring.operations.incidents import IncidentCause, IncidentStore
from wellspring.project import Project
from wellspring.records.observe import Recorder
from wellspring.records.trust import LedgerEntries
from wellspring.runtime.privileges import ServicePrivileges
from wellspring.runtime.server_sockets import find_server_socket
from wellspring.runtime.simulated_clock import open_clock
from wellspring.supervisor.project_mode import record_mode
from wellspring.trust.ledger.remote_sequencer import RemoteSequencer
from wellspring.trust.modes import find_mode_period

_CODE_BYTES = 10
_CODE_GROUP = 4
_ENROLLED_USERS = 2
"""How many users a governed project needs for a release; the incident of the first enrollment is open until then."""
_CAUSE = IncidentCause(
    "first_enrollment",
    "the project is governed and has no two users: `up` printed the code of the first enrollment",
    "info",
)


class Enrollments:
    """The enrollments of one run of the supervisor. open_client: a session that may enroll users."""

    def __init__(
        self,
        project: Project,
        ledger: LedgerEntries,
        *,
        step: Recorder,
        incidents: IncidentStore,
        open_client: Callable[[], AbstractContextManager[Any]],
    ) -> None:
        self._project = project
        self._step = step
        self._incidents = incidents
        self._open_client = open_client
        self._code_digest = ""
        period = find_mode_period(ledger)
        self._enrolled = {
            indexed.entry.subject
            for indexed in ledger.list_entries(action="enroll", phase="done")
            if period.includes(indexed.index)
        }

    def issue_code(self) -> str:
        """Return a new code if the first user of a governed project is not enrolled yet, otherwise ''."""
        project = self._project
        if project.project.mode == "development" or not project.users or self._enrolled:
            return ""
        text = base64.b32encode(secrets.token_bytes(_CODE_BYTES)).decode()
        code = "-".join(text[start : start + _CODE_GROUP] for start in range(0, len(text), _CODE_GROUP))
        digest = hash_code(code)
        with self._step("issue_code", self._subject, facts={"code_digest": digest, "principal": "owner"}):
            incident = self._incidents.open_incident(self._subject, _CAUSE)
        self._incidents.add_act(incident.id, "issue_code", "printed")
        self._code_digest = digest
        return code

    def enroll(self, name: str, password: str, code: str, *, trace: str) -> dict[str, Any]:
        """Enroll a user. code: of the first enrollment. Raises Refused for a wrong one, and as `enroll_user`."""
        with self._step.continue_trace(trace):
            if self._code_digest and not hmac.compare_digest(hash_code(code), self._code_digest):
                self._add_act(f"enroll user:{name}", "wrong_code")
                raise Refused(
                    "the first user of a governed project is enrolled with the code that `wellspring up` printed",
                    fix="type that code; `wellspring down` and `wellspring up` print another one",
                )
            with self._open_client() as client:
                enrolled = users.enroll_user(self._project, name, password, client=client, step=self._step)
            self._code_digest = ""
            self._enrolled.add(f"user:{name}")
            self._add_act(f"enroll user:{name}", "enrolled")
            if len(self._enrolled) >= _ENROLLED_USERS:
                for incident in self._incidents.list_open(self._subject):
                    self._incidents.heal_incident(incident.id)
        return enrolled

    def needs_code(self) -> bool:
        """Return whether the next enrollment needs the code."""
        return bool(self._code_digest)

    @property
    def _subject(self) -> str:
        return f"project:{self._project.name}"

    def _add_act(self, what: str, result: str) -> None:
        for incident in self._incidents.list_open(self._subject):
            self._incidents.add_act(incident.id, what, result)


def open_enrollments(
    project: Project, ledger: LedgerEntries, privileges: ServicePrivileges, step: Recorder
) -> Enrollments:
    """Put the mode of wellspring.toml into force, and open the enrollments. OpenBao and the sequencer must be up.

    Raises ProjectError for a governed project whose wellspring.toml says development.
    """

    def remove_development_login() -> None:
        with openbao_setup.supervisor_session(project) as client:
            users.remove_development_login(project, client, privileges)

    # What the last run recorded may not be in the log yet; a log that does not grow is reported by `status`.
    sequencer = RemoteSequencer(find_server_socket(project, "sequencer"), "supervisor")
    with suppress(CorruptedError, Unavailable):
        sequencer.integrate()
    if record_mode(project, ledger, step=step, remove_development_login=remove_development_login):
        # Before the API is ready: it serves what the log says.
        sequencer.integrate()
    return Enrollments(
        project,
        ledger,
        step=step,
        incidents=IncidentStore(project, "supervisor", step=step, clock=open_clock(project)),
        open_client=partial(openbao_setup.supervisor_session, project),
    )


def hash_code(code: str) -> str:
    """Return the digest of a code, without regard to spaces, dashes and case."""
    return hashlib.sha256("".join(code.split()).replace("-", "").upper().encode()).hexdigest()
