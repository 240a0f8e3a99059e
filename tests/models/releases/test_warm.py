"""Which releases are warm: what is live, what a rollback restores, and what waits for its approval."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders.changes import build_change
from tests.builders.released_model import ANYTHING, Released
from tests.builders.rollbacks import go_back
from wellspring.models.releases.warm import list_warm_releases
from wellspring.records.models import Release
from wellspring.trust.approvals import record_proposal


@pytest.fixture
def project(tmp_path: Path) -> Released:
    return Released(tmp_path)


def warm(project: Released, keep_warm: int = 1) -> list[Release]:
    return [*list_warm_releases(project.books, project.releases, keep_warm=keep_warm)]


def test_nothing_is_warm_before_the_first_proposal(project: Released):
    project.train(1)
    assert warm(project) == []


def test_the_live_release_comes_first_then_those_before_it_then_what_waits(project: Released):
    first, second, third = (project.released(seed) for seed in (1, 2, 3))
    waiting = project.train(4)
    project.propose(waiting)
    assert warm(project) == [third, second, waiting]
    assert warm(project, 0) == [third, waiting]
    assert warm(project, 10) == [third, second, first, waiting]


def test_only_the_newest_proposal_waits(project: Released):
    live = project.released(1)
    for seed in (2, 3):
        waiting = project.train(seed)
        project.propose(waiting)
    assert warm(project) == [live, waiting]


def test_what_was_rolled_back_is_not_warm_as_a_proposal(project: Released):
    first, _ = project.released(1), project.released(2)
    go_back(project)
    assert warm(project) == [first]


def test_the_proposal_of_a_change_is_no_release_of_a_model(project: Released):
    live = project.released(1)
    change = build_change("transform", "project")
    record_proposal(change, change.content_ref, project.ana, ledger=project.books, policies=ANYTHING, step=project.step)
    assert warm(project) == [live]
