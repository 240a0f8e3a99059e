"""The cache switches releases atomically, and only to an approved and undamaged release."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.builders.released_model import ANYTHING, Released
from wellspring.errors import CorruptedError, NotFound, ProjectError, Refused, Unavailable
from wellspring.models.releases.promotion import promote_release, rollback_release
from wellspring.trust.identity.port import Principal


@pytest.fixture
def project(tmp_path: Path) -> Released:
    return Released(tmp_path)


def damage(project: Released, artefact: str) -> None:
    path = project.folder / "models/manifests" / artefact
    path.write_bytes(path.read_bytes().replace(b"model.lgb", b"model.pkl"))


def test_live_release_is_loaded_once_and_recorded(project: Released):
    release = project.released()
    cache = project.model_store()
    assert cache.peek("denials") is None
    loaded = cache.get("denials")
    served = loaded.stable
    assert served.release == release
    assert cache.peek("denials") is loaded
    assert cache.get("denials") is loaded
    (entry,) = project.step.done("serve")
    assert (entry.subject, entry.inputs[0].digest) == (release.subject, release.digest)
    assert [item.name for item in served.views_used] == ["claim", "provider_history"]


def test_unknown_model_error_suggests_nearest_and_does_not_repeat(project: Released):
    project.released()
    for name in ("denial", "900-12-3456", "../x"):
        with pytest.raises(NotFound) as error:
            project.model_store().get(name)
        assert name not in error.value.what
        assert "denials" in error.value.fix


def test_changed_live_pointer_is_followed_forward_and_back(project: Released):
    first = project.released(1)
    cache = project.model_store()
    assert cache.get("denials").stable.release == first
    second = project.released(2)
    assert cache.peek("denials") is None
    assert cache.get("denials").stable.release == second
    rollback_release("denials", Principal("user:bo"), project.project, policies=ANYTHING, step=project.step)
    assert cache.get("denials").stable.release == first


def test_artifact_that_fails_verification_keeps_previous_release(project: Released):
    first = project.released(1)
    cache = project.model_store()
    cache.get("denials")
    second = project.train(2)
    project.approve(second)
    promote_release(second, "user:bo", project.project, step=project.step)
    damage(project, second.artifact)
    assert cache.get("denials").stable.release == first
    assert isinstance(cache.load_errors["denials"], CorruptedError)
    assert [entry.phase for entry in project.step.entries if entry.action == "serve"] == ["done", "failed"]
    # Ledger records of the previous release name the release that could not be loaded.
    assert cache.get("denials").stable.superseded_by == second.subject
    # The next call neither loads again nor writes an entry.
    assert cache.peek("denials") is cache.get("denials")
    assert len([entry for entry in project.step.entries if entry.action == "serve"]) == 2


def test_first_release_that_cannot_be_loaded_is_not_served(project: Released):
    release = project.released()
    damage(project, release.artifact)
    cache = project.model_store()
    for _ in range(2):
        with pytest.raises(CorruptedError):
            cache.get("denials")
    assert cache.loaded == {}


def test_unapproved_live_release_is_not_served(project: Released):
    first = project.released(1)
    cache = project.model_store()
    cache.get("denials")
    second = project.train(2)
    project.propose(second)
    project.releases.set_live(second)
    with project.step("promote", second.subject, facts={"model": "denials", "previous_release": first.id}):
        pass
    assert cache.get("denials").stable.release == first
    assert isinstance(cache.load_errors["denials"], Refused)
    with pytest.raises(Refused, match="not approved"):
        project.model_store().get("denials")


def test_a_release_of_development_is_not_served_once_the_project_is_governed(tmp_path: Path):
    project = Released(tmp_path)
    project.books.enter_mode("development")
    release = project.released()
    cache = project.model_store()
    assert cache.get("denials").stable.mode == "development"
    project.books.enter_mode("governed")
    project.clock.pass_(seconds=6)
    for _ in range(2):
        with pytest.raises(Refused, match="not approved"):
            cache.get("denials")
        project.clock.pass_(seconds=6)
    # The refusal is recorded once.
    assert [entry.phase for entry in project.step.entries if entry.action == "serve"] == ["done", "refused"]
    for person in (project.ana, project.bo):
        project.books.enrol(person)
    project.approve(release)
    project.clock.pass_(seconds=6)
    assert cache.get("denials").stable.mode == "governed"


def test_unavailable_dependency_is_retried(project: Released):
    release = project.released()
    cache = project.model_store()
    entries, down = project.books.list_entries, True

    def requests(**arguments: object) -> object:
        if down:
            raise Unavailable("the index is locked", fix="wait")
        return entries(**arguments)  # type: ignore[arg-type]

    project.books.list_entries = requests  # type: ignore[method-assign]
    with pytest.raises(Unavailable):
        cache.get("denials")
    down = False
    with pytest.raises(Unavailable):
        cache.get("denials")
    project.clock.pass_(seconds=3)
    assert cache.get("denials").stable.release == release
    assert cache.load_errors == {}


def test_project_error_is_retried(project: Released):
    release = project.released()
    cache = project.model_store()
    load, error = cache._load_release, True

    def loaded(requests: Any) -> Any:
        if error:
            raise ProjectError("a key column has no token domain", fix="edit the contracts")
        return load(requests)

    cache._load_release = loaded
    with pytest.raises(ProjectError):
        cache.get("denials")
    error = False
    project.clock.pass_(seconds=3)
    assert cache.get("denials").stable.release == release


def test_release_with_other_views_than_its_model_is_not_served(project: Released, monkeypatch: pytest.MonkeyPatch):
    release = project.released()
    second = project.views.model_copy(update={"views": project.views.views[:1]})
    cache = project.model_store()
    monkeypatch.setattr(project, "kept_views", lambda _: second)
    with pytest.raises(CorruptedError, match="which its views do not define"):
        cache.get(release.model)


def test_unreadable_files_keep_previous_release_and_are_retried(project: Released):
    first = project.released(1)
    cache = project.model_store()
    cache.get("denials")
    second = project.released(2)
    folder = project.folder / "models/manifests"
    # Root ignores file modes, so a file in the place of the folder stands in for an unreadable one.
    aside = folder.rename(folder.with_name("aside"))
    folder.touch()
    assert cache.get("denials").stable.release == first
    assert isinstance(cache.load_errors["denials"], Unavailable)
    folder.unlink()
    aside.rename(folder)
    project.clock.pass_(seconds=3)
    served = cache.get("denials").stable
    assert (served.release, served.superseded_by) == (second, "")


def test_release_that_cannot_be_served_is_not_promoted(project: Released, monkeypatch: pytest.MonkeyPatch):
    release = project.train()
    project.approve(release)
    whole = project.kept_views
    without = project.views.model_copy(update={"views": project.views.views[:1]})
    keyed = project.views.views[0].model_copy(update={"keys": ("other_id",)})
    project.domains = {**project.domains, "other_id": frozenset({"claim"})}
    rekeyed = project.views.model_copy(update={"views": (keyed, *project.views.views[1:])})
    for views in (without, rekeyed):
        monkeypatch.setattr(project, "kept_views", lambda _, views=views: views)
        with pytest.raises(CorruptedError):
            promote_release(release, "user:bo", project.project, step=project.step)
    monkeypatch.setattr(project, "kept_views", whole)
    assert project.releases.live_id("denials") == ""


def test_key_column_without_token_domain_is_neither_promoted_nor_served(project: Released):
    expected, project.domains = project.domains, {"claim_id": frozenset({"claim"})}
    release = project.train()
    project.approve(release)
    with pytest.raises(ProjectError, match="billing_npi of provider_history has no token domain"):
        promote_release(release, "user:bo", project.project, step=project.step)
    project.domains = expected
    promote_release(release, "user:bo", project.project, step=project.step)
    project.domains = {}
    with pytest.raises(ProjectError):
        project.model_store().get("denials")


def test_a_rewritten_pointer_is_refused_by_name_after_the_time_of_a_switch(project: Released):
    first = project.released(1)
    second = project.released(2)
    cache = project.model_store()
    assert cache.get("denials").stable.release == second
    project.releases.set_live(first)
    # The log says what may answer, and it may still gain a switch.
    assert cache.get("denials").stable.release == second
    project.clock.pass_(seconds=6)
    for _ in range(2):
        with pytest.raises(CorruptedError, match=f"names {first.id}, and the last switch in the log made {second.id}"):
            cache.get("denials")
    assert [entry.facts["pointer"] for entry in project.step.entries if entry.phase == "failed"] == [first.id]
    assert isinstance(cache.load_errors["denials"], CorruptedError)
    project.releases.set_live(second)
    assert cache.get("denials").stable.release == second
    assert cache.load_errors == {}


def test_a_pointer_that_parts_from_the_log_at_start_is_refused_at_once(project: Released):
    first, _ = project.released(1), project.released(2)
    project.releases.set_live(first)
    cache = project.model_store()
    with pytest.raises(CorruptedError, match="names"):
        cache.get("denials")
    (project.folder / "models/live/denials").unlink()
    fresh = project.model_store()
    fresh.check_all()
    assert "names no release" in fresh.load_errors["denials"].what


def test_the_release_before_answers_while_a_switch_is_in_progress(project: Released):
    first = project.released(1)
    second = project.train(2)
    project.approve(second)
    with project.step("promote", second.subject, intent=True, facts={"model": "denials", "previous_release": first.id}):
        project.releases.set_live(second)
        cache = project.model_store()
        assert cache.get("denials").stable.release == first
        project.clock.pass_(seconds=60)
        assert cache.get("denials").stable.release == first
    assert cache.load_errors == {}
    project.clock.pass_(seconds=1)
    assert cache.get("denials").stable.release == second


def test_a_switch_of_the_log_is_followed_although_the_pointer_stays(project: Released):
    first, second = project.released(1), project.released(2)
    cache = project.model_store()
    assert cache.get("denials").stable.release == second
    with project.step("rollback", first.subject, facts={"model": "denials", "previous_release": second.id}):
        pass
    assert cache.get("denials").stable.release == second
    project.clock.pass_(seconds=6)
    with pytest.raises(CorruptedError, match="names"):
        cache.get("denials")
