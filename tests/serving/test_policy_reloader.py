"""Changed policies are reloaded; an unreadable or invalid file keeps the active set and is reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders.released_model import PORTAL, Released, claim, run
from wellspring.errors import Refused
from wellspring.records.changes import PROJECT_WIDE
from wellspring.trust.changes.activation import ChangeContext, adopt_content
from wellspring.trust.changes.store import ChangeStore
from wellspring.trust.policy import encode_policies


@pytest.fixture
def project(tmp_path: Path) -> Released:
    built = Released(tmp_path)
    built.released()
    return built


def test_changed_policies_are_reloaded_and_invalid_ones_ignored(project: Released):
    async def scenario() -> None:
        service, dependencies = project.service()
        folder = project.folder / "policies"
        await service.predict("denials", claim(1), include_reasons=False, principal=PORTAL)
        (folder / "a.cedar").write_text("permit (principal, action, nonsense);")
        project.clock.pass_(seconds=2)
        await service.predict("denials", claim(1), include_reasons=False, principal=PORTAL)
        assert dependencies.policy_reloader.last_error is not None
        assert (await service.health())["status"] == "degraded"
        (folder / "a.cedar").write_text("// nobody may do anything")
        project.clock.pass_(seconds=2)
        with pytest.raises(Refused):
            await service.predict("denials", claim(1), include_reasons=False, principal=PORTAL)
        assert (await service.health())["status"] == "ok"
        await service.close()

    run(scenario())


def test_unreadable_policy_is_reported_and_reloaded_when_readable(project: Released, monkeypatch: pytest.MonkeyPatch):
    _, dependencies = project.service()
    policies, folder = dependencies.policy_reloader, project.folder / "policies"
    permitted = policies.current().digest

    def unreadable(path: Path, **options: bool) -> bytes:
        raise PermissionError(13, "Permission denied")

    (folder / "a.cedar").write_text("// nobody may do anything")
    monkeypatch.setattr("wellspring.trust.policy.read_plain_file", unreadable)
    for _ in range(2):
        project.clock.pass_(seconds=2)
        assert policies.current().digest == permitted
        assert policies.last_error is not None
        assert "cannot be read: Permission denied" in policies.last_error.what
    # The file content is unchanged; only its readability changed.
    monkeypatch.undo()
    project.clock.pass_(seconds=2)
    assert policies.current().digest != permitted
    assert policies.last_error is None


def test_policy_removed_during_check_is_reported(project: Released):
    _, dependencies = project.service()
    folder = project.folder / "policies"
    (folder / "b.cedar").symlink_to(folder / "nowhere")
    project.clock.pass_(seconds=2)
    dependencies.policy_reloader.current()
    assert dependencies.policy_reloader.last_error is not None
    (folder / "b.cedar").unlink()
    project.clock.pass_(seconds=2)
    dependencies.policy_reloader.current()
    assert dependencies.policy_reloader.last_error is None


def test_released_policies_act_within_a_second_and_an_edit_on_disk_does_not(project: Released):
    async def scenario() -> None:
        service, dependencies = project.service()
        store, file = ChangeStore(project.folder / "changes"), project.folder / "policies" / "a.cedar"
        context = ChangeContext(store, project.books, project.fence)
        content = store.objects.put(encode_policies({"a.cedar": file.read_text()}))
        adopt_content(
            "policy", PROJECT_WIDE, content, context,
            tenant="acme", clock=project.clock, apply=lambda _: None, step=project.step,
        )  # fmt: skip
        file.write_text("// nobody may do anything")
        project.clock.pass_(seconds=2)
        await service.predict("denials", claim(1), include_reasons=False, principal=PORTAL)
        assert (await service.health())["policies"] == {
            "digest": dependencies.policy_reloader.current().digest,
            "last_error": None,
            "on_disk": "not released",
        }
        # Whoever writes the folder moves the pointer; the last valid set stays.
        (project.folder / "changes/live/policy/project").write_text("0" * 12)
        project.clock.pass_(seconds=2)
        await service.predict("denials", claim(1), include_reasons=False, principal=PORTAL)
        assert (await service.health())["status"] == "degraded"
        await service.close()

    run(scenario())
