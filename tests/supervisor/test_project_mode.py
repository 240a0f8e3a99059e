"""The mode of wellspring.toml is recorded once; development ends before the entry says so, and cannot return."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.builders import projects
from tests.builders.approvals import Books, Somebody
from tests.builders.openbao import in_mode
from wellspring.errors import ProjectError, Unavailable
from wellspring.project import Project
from wellspring.supervisor.project_mode import record_mode


@pytest.fixture
def project() -> Iterator[Project]:
    with projects.create_project() as project:
        yield project


def record(project: Project, books: Books, removed: list[int]) -> bool:
    books.step.service = "supervisor"
    return record_mode(
        project, books, step=books.step, remove_development_login=lambda: removed.append(len(books.step.entries))
    )


@pytest.mark.parametrize("mode", ["development", "governed"])
def test_a_new_project_gets_the_mode_of_its_file_once(project: Project, mode: str):
    books, removed = Books(), list[int]()
    project = in_mode(project, "development" if mode == "development" else "governed")
    assert not record(project, books, removed)
    assert not record(project, books, removed)
    (entry,) = books.step.done("mode")
    assert entry.facts == {"mode": mode, "previous": "", "principal": "owner"}
    assert removed == []


def test_development_ends_with_its_login_and_then_with_the_entry(project: Project):
    books, removed = Books(), list[int]()
    record(in_mode(project, "development"), books, removed)

    def fail() -> None:
        raise Unavailable("OpenBao did not respond", fix="wait")

    with pytest.raises(Unavailable):
        record_mode(project, books, step=books.step, remove_development_login=fail)
    assert len(books.step.done("mode")) == 1
    assert record(project, books, removed)
    assert removed == [1]
    assert [entry.facts["previous"] for entry in books.step.done("mode")] == ["", "development"]


def test_a_governed_project_is_not_set_back(project: Project):
    books, removed = Books(), list[int]()
    record(project, books, removed)
    with pytest.raises(ProjectError, match="mode is development"):
        record(in_mode(project, "development"), books, removed)
    assert len(books.step.done("mode")) == 1


def test_a_project_with_users_and_without_a_recorded_mode_is_governed(project: Project):
    books = Books(Somebody("ana"))
    with pytest.raises(ProjectError, match="mode is development"):
        record(in_mode(project, "development"), books, [])
    assert books.step.done("mode") == []
