"""The first user of a governed project is enrolled with the code that the start of the servers printed."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.builders import projects
from tests.builders.approvals import Books, Somebody
from tests.builders.openbao import in_mode
from wellspring.embedded import layout, users
from wellspring.errors import Refused
from wellspring.operations.incidents import IncidentStore, list_all_incidents
from wellspring.project import Project
from wellspring.runtime.privileges import detect_privileges
from wellspring.supervisor.enrollments import Enrollments, hash_code

USERS = '[users.ana]\nroles = ["author"]\n\n[users.bo]\nroles = ["approver"]\n'


@pytest.fixture
def project(monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    def enroll_user(project: Project, name: str, password: str, *, client: Any, step: Any) -> dict[str, str]:
        with step("enroll", f"user:{name}"):
            return {"otpauth_url": "otpauth://", "public_key": "k"}

    monkeypatch.setattr(users, "enroll_user", enroll_user)
    with projects.create_project(sections=USERS) as project:
        project.state_dir.mkdir()
        layout.create_folders(project, detect_privileges(project))
        yield project


def open_enrollments(project: Project, books: Books) -> Enrollments:
    books.step.service = "supervisor"

    @contextmanager
    def open_client() -> Generator[None]:
        yield None

    incidents = IncidentStore(project, "supervisor", step=books.step, clock=books.step.clock)
    return Enrollments(project, books, step=books.step, incidents=incidents, open_client=open_client)


def enroll(enrollments: Enrollments, name: str, code: str = "") -> None:
    enrollments.enroll(name, "a long enough sentence", code, trace="")


def test_the_first_governed_enrollment_needs_the_code(project: Project):
    books = Books()
    enrollments = open_enrollments(project, books)
    code = enrollments.issue_code()
    for typed in ("", "AAAA-BBBB-CCCC-DDDD", hash_code(code)):
        with pytest.raises(Refused, match="`wellspring up` printed"):
            enroll(enrollments, "ana", typed)
    assert books.step.done("enroll") == []
    enroll(enrollments, "ana", f" {code.replace('-', '').lower()} ")
    enroll(enrollments, "bo")
    assert [entry.subject for entry in books.step.done("enroll")] == ["user:ana", "user:bo"]


def test_the_code_is_in_the_ledger_as_a_digest_and_its_use_in_an_incident(project: Project):
    books = Books()
    enrollments = open_enrollments(project, books)
    code = enrollments.issue_code()
    (entry,) = books.step.done("issue_code")
    assert entry.facts == {"code_digest": hash_code(code), "principal": "owner"}
    assert code not in "".join(entry.model_dump_json() for entry in books.step.entries)
    with pytest.raises(Refused):
        enroll(enrollments, "ana")
    enroll(enrollments, "ana", code)
    assert [incident.state for incident in list_all_incidents(project)] == ["open"]
    enroll(enrollments, "bo")
    (incident,) = list_all_incidents(project)
    assert [(act.what, act.result) for act in incident.acts] == [
        ("issue_code", "printed"), ("enroll user:ana", "wrong_code"), ("enroll user:ana", "enrolled"),
        ("enroll user:bo", "enrolled"),
    ]  # fmt: skip
    assert (incident.code, incident.state) == ("first_enrollment", "healed")


def test_a_start_before_the_first_enrollment_replaces_the_code(project: Project):
    books = Books()
    lost = open_enrollments(project, books).issue_code()
    enrollments = open_enrollments(project, books)
    code = enrollments.issue_code()
    assert code != lost
    with pytest.raises(Refused):
        enroll(enrollments, "ana", lost)
    enroll(enrollments, "ana", code)
    assert open_enrollments(project, books).issue_code() == ""
    assert len(list_all_incidents(project)) == 1


def test_what_was_enrolled_in_development_does_not_replace_the_code(project: Project):
    books = Books()
    books.enter_mode("development")
    books.enrol(Somebody("ana"))
    assert open_enrollments(in_mode(project, "development"), books).issue_code() == ""
    enroll(open_enrollments(in_mode(project, "development"), books), "bo")
    books.enter_mode("governed")
    assert open_enrollments(project, books).issue_code() != ""


def test_a_project_without_users_has_no_code(project: Project):
    books = Books()
    assert open_enrollments(project.model_copy(update={"users": {}}), books).issue_code() == ""
    assert books.step.entries == []
