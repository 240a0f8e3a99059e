"""Policies are read again when they change; what cannot be read changes nothing, and is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.builders.released_model import PORTAL, Released, claim, run
from wellspring.errors import Refused


@pytest.fixture
def house(tmp_path: Path) -> Released:
    made = Released(tmp_path)
    made.released()
    return made


def test_policies_are_read_again_when_they_change_and_a_broken_one_changes_nothing(house: Released):
    async def asked() -> None:
        desk, ports = house.desk()
        folder = house.folder / "policies"
        await desk.predict("denials", claim(1), include_reasons=False, principal=PORTAL)
        (folder / "a.cedar").write_text("permit (principal, action, nonsense);")
        house.clock.pass_(seconds=2)
        await desk.predict("denials", claim(1), include_reasons=False, principal=PORTAL)
        assert ports.policy_reloader.last_error is not None
        assert desk.health()["status"] == "degraded"
        (folder / "a.cedar").write_text("// nobody may do anything")
        house.clock.pass_(seconds=2)
        with pytest.raises(Refused):
            await desk.predict("denials", claim(1), include_reasons=False, principal=PORTAL)
        assert desk.health()["status"] == "ok"
        await desk.close()

    run(asked())


def test_a_policy_that_cannot_be_read_is_told_and_counts_as_soon_as_it_can_be(
    house: Released, monkeypatch: pytest.MonkeyPatch
):
    _, ports = house.desk()
    law, folder = ports.policy_reloader, house.folder / "policies"
    permitted, read = law.current().digest, Path.read_text

    def unreadable(path: Path, *given: Any, **named: Any) -> str:
        raise PermissionError(13, "Permission denied")

    (folder / "a.cedar").write_text("// nobody may do anything")
    monkeypatch.setattr(Path, "read_text", unreadable)
    for _ in range(2):
        house.clock.pass_(seconds=2)
        assert law.current().digest == permitted
        assert law.last_error is not None
        assert "cannot be read: Permission denied" in law.last_error.what
    # The file is as it was: only who may read it changed.
    monkeypatch.setattr(Path, "read_text", read)
    house.clock.pass_(seconds=2)
    assert law.current().digest != permitted
    assert law.last_error is None


def test_a_policy_that_goes_away_while_it_is_looked_at_is_told(house: Released):
    _, ports = house.desk()
    folder = house.folder / "policies"
    (folder / "b.cedar").symlink_to(folder / "nowhere")
    house.clock.pass_(seconds=2)
    ports.policy_reloader.current()
    assert ports.policy_reloader.last_error is not None
    (folder / "b.cedar").unlink()
    house.clock.pass_(seconds=2)
    ports.policy_reloader.current()
    assert ports.policy_reloader.last_error is None
