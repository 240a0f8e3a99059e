"""A process changes what it serves in one move, to nothing but an approved release that is whole."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.builders.released_model import ANYTHING, Released
from wellspring.errors import CorruptedError, NotFound, ProjectError, Refused, Unavailable
from wellspring.models.releases.promotion import promote_release, rollback_release
from wellspring.serving import release_cache
from wellspring.trust.identity.port import Principal


@pytest.fixture
def house(tmp_path: Path) -> Released:
    return Released(tmp_path)


def damage(house: Released, artefact: str) -> None:
    path = house.folder / "models/manifests" / artefact
    path.write_bytes(path.read_bytes().replace(b"model.lgb", b"model.pkl"))


def test_what_is_pointed_to_is_loaded_once_and_recorded(house: Released):
    release = house.released()
    shelf = house.shelf()
    assert shelf.peek("denials") is None
    served = shelf.get("denials")
    assert served.release == release
    assert shelf.peek("denials") is served
    assert shelf.get("denials") is served
    (entry,) = house.step.done("serve")
    assert (entry.subject, entry.inputs[0].digest) == (release.subject, release.digest)
    assert [item.name for item in served.views_used] == ["claim", "provider_history"]


def test_an_unknown_model_is_told_the_nearest_and_never_repeated(house: Released):
    house.released()
    for name in ("denial", "900-12-3456", "../x"):
        with pytest.raises(NotFound) as wrong:
            house.shelf().get(name)
        assert name not in wrong.value.what
        assert "denials" in wrong.value.fix


def test_a_moved_pointer_is_followed_forward_and_back(house: Released):
    first = house.released(1)
    shelf = house.shelf()
    assert shelf.get("denials").release == first
    second = house.released(2)
    assert shelf.peek("denials") is None
    assert shelf.get("denials").release == second
    rollback_release("denials", Principal("user:bo"), house.house, policies=ANYTHING, step=house.step)
    assert shelf.get("denials").release == first


def test_an_artefact_that_fails_verification_leaves_the_old_one_serving_and_is_told(house: Released):
    first = house.released(1)
    shelf = house.shelf()
    shelf.get("denials")
    second = house.train(2)
    house.approve(second)
    promote_release(second, "user:bo", house.house, step=house.step)
    damage(house, second.artifact)
    assert shelf.get("denials").release == first
    assert isinstance(shelf.load_errors["denials"], CorruptedError)
    assert [entry.phase for entry in house.step.entries if entry.action == "serve"] == ["done", "failed"]
    # Whoever is answered by the old one can see in the line which one should have answered.
    assert shelf.get("denials").superseded_by == second.subject
    # Asked again, it does not try, and does not fill the ledger.
    assert shelf.peek("denials") is shelf.get("denials")
    assert len([entry for entry in house.step.entries if entry.action == "serve"]) == 2


def test_a_first_release_that_cannot_be_loaded_serves_nothing(house: Released):
    release = house.released()
    damage(house, release.artifact)
    shelf = house.shelf()
    for _ in range(2):
        with pytest.raises(CorruptedError):
            shelf.get("denials")
    assert shelf.loaded == {}


def test_only_an_approved_release_is_served_whoever_moved_the_pointer(house: Released):
    first = house.released(1)
    shelf = house.shelf()
    shelf.get("denials")
    second = house.train(2)
    house.propose(second)
    house.releases.set_live(second)
    assert shelf.get("denials").release == first
    assert isinstance(shelf.load_errors["denials"], Refused)
    with pytest.raises(Refused, match="not approved"):
        house.shelf().get("denials")


def test_what_did_not_answer_is_tried_again(house: Released):
    release = house.released()
    shelf = house.shelf()
    entries, down = house.books.list_entries, True

    def asked(**given: object) -> object:
        if down:
            raise Unavailable("the index is locked", fix="wait")
        return entries(**given)  # type: ignore[arg-type]

    house.books.list_entries = asked  # type: ignore[method-assign]
    with pytest.raises(Unavailable):
        shelf.get("denials")
    down = False
    with pytest.raises(Unavailable):
        shelf.get("denials")
    house.clock.pass_(seconds=3)
    assert shelf.get("denials").release == release
    assert shelf.load_errors == {}


def test_a_mistake_of_the_projects_is_looked_at_again_when_it_may_be_mended(house: Released):
    release = house.released()
    shelf = house.shelf()
    load, wrong = shelf._load_release, True

    def loaded(asked: Any) -> Any:
        if wrong:
            raise ProjectError("a key column has no token domain", fix="edit the contracts")
        return load(asked)

    shelf._load_release = loaded
    with pytest.raises(ProjectError):
        shelf.get("denials")
    wrong = False
    house.clock.pass_(seconds=3)
    assert shelf.get("denials").release == release


def test_a_release_whose_views_are_not_those_of_its_model_is_not_served(
    house: Released, monkeypatch: pytest.MonkeyPatch
):
    release = house.released()
    other = house.views.model_copy(update={"views": house.views.views[:1]})
    shelf = house.shelf()
    monkeypatch.setattr(house, "kept_views", lambda _: other)
    with pytest.raises(CorruptedError, match="has no feature"):
        shelf.get(release.model)


def test_files_that_cannot_be_read_leave_the_old_one_serving_and_are_tried_again(house: Released):
    first = house.released(1)
    shelf = house.shelf()
    shelf.get("denials")
    second = house.released(2)
    manifest = house.folder / "models/manifests" / second.artifact
    content = manifest.read_bytes()
    # The tests may run as root, whom no mode keeps out: a folder is what cannot be read by anybody.
    manifest.unlink()
    manifest.mkdir()
    assert shelf.get("denials").release == first
    assert isinstance(shelf.load_errors["denials"], Unavailable)
    manifest.rmdir()
    manifest.write_bytes(content)
    house.clock.pass_(seconds=3)
    served = shelf.get("denials")
    assert (served.release, served.superseded_by) == (second, "")


def test_a_release_that_could_not_be_served_is_never_promoted(house: Released, monkeypatch: pytest.MonkeyPatch):
    release = house.train()
    house.approve(release)
    whole = house.kept_views
    without = house.views.model_copy(update={"views": house.views.views[:1]})
    keyed = house.views.views[0].model_copy(update={"keys": ("other_id",)})
    house.domains = {**house.domains, "other_id": frozenset({"claim"})}
    rekeyed = house.views.model_copy(update={"views": (keyed, *house.views.views[1:])})
    for views in (without, rekeyed):
        monkeypatch.setattr(house, "kept_views", lambda _, views=views: views)
        with pytest.raises(CorruptedError):
            promote_release(release, "user:bo", house.house, step=house.step)
    monkeypatch.setattr(house, "kept_views", whole)
    assert house.releases.live_id("denials") == ""


def test_a_key_column_without_a_known_token_domain_is_neither_promoted_nor_served(house: Released):
    known, house.domains = house.domains, {"claim_id": frozenset({"claim"})}
    release = house.train()
    house.approve(release)
    with pytest.raises(ProjectError, match="billing_npi of provider_history has no token domain"):
        promote_release(release, "user:bo", house.house, step=house.step)
    house.domains = known
    promote_release(release, "user:bo", house.house, step=house.step)
    house.domains = {}
    with pytest.raises(ProjectError):
        house.shelf().get("denials")


def test_the_domains_are_those_that_the_contracts_give_to_columns_of_a_name():
    def contract(*columns: tuple[str, str | None]) -> Any:
        return SimpleNamespace(columns=[SimpleNamespace(name=name, domain=domain) for name, domain in columns])

    held = [contract(("npi", "provider"), ("amount", None)), contract(("npi", "person"))]
    assert release_cache.collect_token_domains(held) == {"npi": frozenset({"provider", "person"})}
