"""New builds run the released dbt code; the first is adopted, and an edit on disk waits for its release."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.builders.changes import ChangedProject, build_change
from tests.builders.recording_step import Died
from wellspring.data.transform import build
from wellspring.data.transform.build import Transform
from wellspring.errors import CorruptedError, ProjectError
from wellspring.workflows.released_transform import adopt_transform, load_released_transform


class World(ChangedProject):
    """The platform of a job. on_disk: the digest of the dbt code in the project's folder."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(folder)
        self.on_disk = "1" * 64
        monkeypatch.setattr(build, "save_transform", lambda project, sources: Transform(self.on_disk))
        index = SimpleNamespace(list_entries=self.books.list_entries, list_open_intents=self.step.open_intents)
        self.platform: Any = SimpleNamespace(
            project=SimpleNamespace(tenant="acme"),
            clock=self.step.clock,
            ledger=SimpleNamespace(index=index),
            step=self.step,
            sequencer=SimpleNamespace(integrate=lambda: None),
            fence=self.fence,
            changes=self.store,
        )

    def load(self) -> tuple[str, bool]:
        sources: Any = None
        released = load_released_transform(self.platform, sources)
        if not released.release:
            adopt_transform(self.platform, released.content)
        return released.content, released.is_on_disk


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


def test_code_that_was_not_built_is_not_adopted(world: World):
    sources: Any = None
    assert load_released_transform(world.platform, sources).release == ""
    world.on_disk = "2" * 64
    assert world.load() == ("2" * 64, True)


def test_the_first_code_is_adopted_and_an_edit_waits_for_its_release(world: World):
    assert world.load() == ("1" * 64, True)
    world.on_disk = "2" * 64
    assert world.load() == ("1" * 64, False)
    (entry,) = world.step.done("adopt")
    change = world.propose(
        build_change("transform", "project", content="2" * 64, replaces=entry.subject.removeprefix("release:"))
    )
    world.approve(change)
    world.activate(change)
    assert world.load() == ("2" * 64, True)


def test_an_interrupted_adoption_is_completed(world: World):
    world.step.die_at = "change.activate:intent"
    with pytest.raises(Died):
        world.load()
    world.step.die_at, world.on_disk = None, "2" * 64
    assert world.load() == ("1" * 64, False)


def test_a_pointer_that_the_log_does_not_name_builds_nothing(world: World):
    world.load()
    change = build_change("transform", "project", content="2" * 64)
    world.store.save(change)
    world.store.set_live(change)
    with pytest.raises(CorruptedError):
        world.load()


def test_a_project_that_lost_its_dbt_folder_still_builds_the_released_code(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    world.load()

    def fail(*_: Any) -> Any:
        raise ProjectError("no dbt project", fix="add one")

    monkeypatch.setattr(build, "save_transform", fail)
    assert world.load() == ("1" * 64, False)
