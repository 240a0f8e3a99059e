"""What lies on the disk is compared with the proved log, and each difference is named. Live: tests/journeys."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.builders import drops, feature_views, lakes
from tests.builders.ledger import JournalStep, Ledger
from tests.builders.projects import minimal_config
from wellspring.bootstrap.lake_ports import open_stored_state
from wellspring.data.features.views import save_views
from wellspring.operations.stored_state import list_editions, list_state_problems, list_story_problems
from wellspring.project import Project, load_project
from wellspring.records.lake import Edition

CLAIMS = drops.contract()


class ProjectState(NamedTuple):
    """A project with two landed editions and a view definition."""

    project: Project
    ledger: Ledger
    first: Edition
    second: Edition
    file: Path
    view: Path

    def find_problems(self) -> str:
        return "\n".join(problem.what for problem in list_state_problems(open_stored_state(self.project)))


@pytest.fixture
def state(tmp_path: Path) -> ProjectState:
    (tmp_path / "wellspring.toml").write_text(minimal_config())
    project, ledger = load_project(tmp_path), Ledger(tmp_path / ".wellspring")
    lake = lakes.open_lake(project.lake_dir, clock=ledger.clock)
    step = JournalStep(ledger, "worker")
    editions: list[Edition] = []
    for number, name in enumerate("ab"):
        lake.stage_part(drops.intake(name, CLAIMS, drops.rows(3, first=10 * number)), CLAIMS, step=step)
        editions.append(lake.publish("clearinghouse", lake.staged_parts(), step=step))
    ledger.sequencer.integrate()
    (file, _) = lakes.stored_files(lake.open_table(editions[1], "medical_claim"))
    views = feature_views.views(feature_views.view())
    save_views(views, project.lake_dir / "views")
    (view,) = (project.lake_dir / "views").glob("*.json")
    (tmp_path / ".wellspring/witness").rename(project.root / project.witness.folder)
    return ProjectState(project, ledger, editions[0], editions[1], Path(file), view)


def flip_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def point_editions(state: ProjectState) -> None:
    (state.project.lake_dir / "editions" / "landed").write_text(state.first.id)


def point_model(state: ProjectState) -> None:
    folder = state.project.models_dir / "live"
    folder.mkdir(parents=True)
    (folder / "denials").write_text("0123456789ab\n")


def replace_by_pipe(state: ProjectState) -> None:
    import os

    state.file.unlink()
    os.mkfifo(state.file)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda state: flip_byte(state.file), lambda state: [str(state.file), state.second.id]),
        (lambda state: state.file.unlink(), lambda state: [str(state.file), "is missing"]),
        (replace_by_pipe, lambda state: [str(state.file), "not a regular file"]),
        (lambda state: flip_byte(state.view), lambda state: [str(state.view)]),
        (point_editions, lambda state: ["editions/landed", state.first.id, state.second.id]),
        (point_model, lambda state: ["live/denials", "0123456789ab", "no release"]),
        (
            lambda state: flip_byte(state.project.ledger_dir / "tile/entries/000.p/6"),
            lambda state: ["signed checkpoint"],
        ),
        (lambda state: None, lambda state: []),
    ],
    ids=["file", "missing file", "pipe", "view", "edition pointer", "release pointer", "log", "twin"],
)
def test_each_difference_is_named(
    state: ProjectState, change: Callable[[ProjectState], None], named: Callable[[ProjectState], list[str]]
):
    assert state.find_problems() == ""
    change(state)
    problems = state.find_problems()
    assert [word for word in named(state) if word not in problems] == []
    assert bool(problems) == bool(named(state))


def test_a_story_is_compared_with_the_files_of_its_editions(state: ProjectState):
    stored = open_stored_state(state.project)
    stored.log.refresh()
    editions = list_editions(indexed.entry for indexed in stored.log.list_entries(action="publish"))
    assert editions == [state.second]
    assert list_story_problems(stored, editions) == []
    flip_byte(state.file)
    # A pointer of editions moves before its entry is in the log, so a story does not depend on it.
    point_editions(state)
    (problem,) = list_story_problems(stored, editions)
    assert str(state.file) in problem.what
