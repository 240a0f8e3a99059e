"""A user holds an edition, and lifts the hold; each with a reason."""

from __future__ import annotations

import base64
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.builders.approvals import Somebody
from tests.builders.entry_index import Index
from tests.builders.pii import SCANNER
from tests.builders.recording_step import RecordingStep
from tests.builders.user_notes import SIGNED_AT, project_with_users, sign
from wellspring.errors import NotFound, Refused
from wellspring.trust.user_notes import hash_reason
from wellspring.workflows import reasons
from wellspring.workflows.holds import Hold, change_hold, list_holds

EDITION, REASON = "a" * 12, "a lawsuit"


class World:
    """A ledger with an enrolled owner, and a lake with one edition."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.step = RecordingStep(service="worker")
        self.index = Index(self.step)
        self.ledger = self
        self.sequencer = SimpleNamespace(integrate=lambda: None)
        self.lake = self
        self.ana = Somebody("ana", "owner")
        (folder / "users.cedar").write_text('permit (principal in Role::"owner", action == Action::"hold", resource);')
        self.project = project_with_users(self.ana, source_paths={"policies": folder}, name="tests")
        public_key: dict[str, Any] = {"public_key": base64.b64encode(self.ana.public_key).decode()}
        with self.step("enroll", "user:ana", facts=public_key):
            pass
        self.step.entries[-1] = self.step.entries[-1].model_copy(update={"service": "supervisor"})
        monkeypatch.setattr(reasons, "load_scanner", lambda project: SCANNER)

    def require_readable(self, edition: str) -> None:
        if edition != EDITION:
            raise NotFound(f"no edition {edition}", fix="see `wellspring status`")

    def change(self, action: Any, edition: str = EDITION, *, at: str = SIGNED_AT) -> list[Hold]:
        platform: Any = self
        note = sign(self.ana, action, edition, hash_reason(REASON), at)
        return change_hold(platform, action, edition, note=note, reason=REASON)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


def test_a_hold_is_in_force_until_it_is_lifted(world: World, tmp_path: Path):
    (hold,) = world.change("hold")
    assert (hold.edition, hold.user, hold.reason) == (EDITION, "user:ana", REASON)
    assert world.change("hold") == [hold], "the same note again changes nothing"
    with pytest.raises(Refused, match="already"):
        world.change("hold", at=SIGNED_AT.replace("000Z", "001Z"))
    with pytest.raises(Refused, match="no policy permits"):
        world.change("lift_hold")
    (tmp_path / "users.cedar").write_text('permit (principal in Role::"owner", action, resource);')
    assert world.change("lift_hold") == []
    index: Any = world.index
    assert list_holds(index) == []
    assert [entry.action for entry in world.step.entries if entry.phase == "done"][1:] == ["hold", "lift_hold"]
    with pytest.raises(Refused, match="no hold"):
        world.change("lift_hold", at=SIGNED_AT.replace("000Z", "002Z"))


def test_an_edition_that_does_not_exist_cannot_be_held(world: World):
    with pytest.raises(NotFound):
        world.change("hold", "b" * 12)
