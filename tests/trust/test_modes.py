"""A project is in development only as long as nothing in its ledger says otherwise, and never again."""

from __future__ import annotations

import pytest

from tests.builders import projects
from tests.builders.approvals import Books
from tests.builders.openbao import in_mode
from wellspring.errors import ProjectError
from wellspring.trust.modes import find_mode_period, list_mode_entries, require_mode
from wellspring_verify.modes import ModePeriod


def recorded(*modes: str, service: str = "supervisor") -> Books:
    books = Books()
    for mode in modes:
        books.enter_mode(mode, service=service)
    return books


@pytest.mark.parametrize(
    ("modes", "expected"),
    [
        ([], ModePeriod("governed")),
        (["governed"], ModePeriod("governed")),
        (["development"], ModePeriod("development")),
        (["development", "governed"], ModePeriod("governed", 1)),
        (["development", "governed", "governed"], ModePeriod("governed", 1)),
        # Whatever is recorded after it, a governed project stays governed.
        (["development", "governed", "development"], ModePeriod("governed", 1)),
        (["governed", "development"], ModePeriod("governed")),
        (["development", "nothing"], ModePeriod("governed", 1)),
    ],
)
def test_a_governed_project_stays_governed(modes: list[str], expected: ModePeriod):
    assert find_mode_period(recorded(*modes)) == expected


def test_the_mode_before_an_index_is_that_of_the_entries_before_it():
    books = recorded("development", "governed")
    assert [find_mode_period(books, before_index=index).mode for index in range(3)] == [
        "governed", "development", "governed",
    ]  # fmt: skip


def test_acts_before_the_end_of_development_do_not_count():
    period = find_mode_period(recorded("development", "governed"))
    assert [period.includes(index) for index in range(4)] == [False, False, True, True]
    assert ModePeriod("development").includes(0)


def test_only_the_supervisor_puts_a_mode_into_force():
    books = recorded("development", service="worker")
    assert list_mode_entries(books) == []
    assert find_mode_period(books).mode == "governed"


def test_wellspring_toml_below_the_mode_in_force_is_an_error():
    with projects.create_project() as project:
        development = in_mode(project, "development")
        for books in (Books(), recorded("development")):
            require_mode(development, books)
        for books in (recorded("governed"), recorded("development", "governed")):
            require_mode(project, books)
            with pytest.raises(ProjectError, match="is governed according to its ledger"):
                require_mode(development, books)
