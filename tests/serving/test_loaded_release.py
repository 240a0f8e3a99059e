"""Which of the releases of a model answers a request: by its tokens, its share and the seed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import JsonValue

from tests.builders.deployments import SEED, deploy
from tests.builders.released_model import Released, ask, claim
from wellspring.errors import CorruptedError
from wellspring.models.releases.deployments import Canary, deploy_challenger, undeploy_challenger
from wellspring.serving import loaded_release
from wellspring.serving.prediction import compute_request_digest
from wellspring_verify.deployments import selects_challenger


@pytest.fixture
def project(tmp_path: Path) -> Released:
    return Released(tmp_path)


def requests(count: int) -> list[str]:
    return [compute_request_digest(claim(number)) for number in range(count)]


def test_token_domains_are_collected_by_column_name():
    def contract(*columns: tuple[str, str | None]) -> Any:
        return SimpleNamespace(columns=[SimpleNamespace(name=name, domain=domain) for name, domain in columns])

    current = [contract(("npi", "provider"), ("amount", None)), contract(("npi", "person"))]
    assert loaded_release.collect_token_domains(current) == {"npi": frozenset({"provider", "person"})}


def test_the_same_keys_get_the_same_release_and_a_larger_share_adds_requests(project: Released):
    stable = project.released(1)
    challenger = deploy(project, share="0.3")
    cache = project.model_store()

    def choose() -> list[tuple[str, str]]:
        chosen = [cache.get("denials").choose_release(digest) for digest in requests(200)]
        return [(answering.role, answering.served.release.id) for answering in chosen]

    first = choose()
    assert set(first) == {("stable", stable.id), ("challenger", challenger.id)}
    assert 35 <= sum(role == "challenger" for role, _ in first) <= 85
    assert choose() == first
    deploy_challenger(challenger, Canary("0.6", SEED), project.project, step=project.step, note_facts={})
    second = choose()
    assert all(after[0] == "challenger" for before, after in zip(first, second, strict=True) if before[0] != "stable")
    assert sum(role == "challenger" for role, _ in second) > sum(role == "challenger" for role, _ in first)
    # It was loaded once, whatever its share.
    assert [entry.subject for entry in project.step.done("serve")] == [stable.subject, challenger.subject]
    undeploy_challenger("denials", project.project, step=project.step, note_facts={})
    assert set(choose()) == {("stable", stable.id)}


def test_a_challenger_that_cannot_be_loaded_is_named_by_the_answers_of_the_stable_release(project: Released):
    stable = project.released(1)
    challenger = deploy(project)
    path = project.folder / "models/manifests" / challenger.artifact
    path.write_bytes(path.read_bytes().replace(b"model.lgb", b"model.pkl"))
    cache = project.model_store()
    selected = [digest for digest in requests(40) if selects_challenger(SEED, "0.5", digest)]
    loaded = cache.get("denials")
    for digest in requests(40):
        answering = loaded.choose_release(digest)
        assert (answering.role, answering.served.release.id) == ("stable", stable.id)
        assert answering.missing_challenger == (challenger.subject if digest in selected else "")
    assert isinstance(cache.load_errors["denials (challenger)"], CorruptedError)
    # It is not loaded again at each request.
    project.clock.pass_(seconds=60)
    assert cache.get("denials").challenger is None
    assert [entry.phase for entry in project.step.entries if entry.subject == challenger.subject][-1:] == ["failed"]
    assert len([entry for entry in project.step.entries if entry.action == "serve"]) == 2


def test_a_challenger_without_the_approval_of_a_second_person_does_not_answer(project: Released):
    stable = project.released(1)
    challenger = project.train(2)
    project.propose(challenger)
    facts: dict[str, JsonValue] = {"model": "denials", "stable": stable.id, "share": "0.5", "seed": SEED}
    with project.step("deploy", challenger.subject, facts=facts):
        project.releases.set_challenger("denials", challenger.id)
    cache = project.model_store()
    assert {cache.get("denials").choose_release(digest).role for digest in requests(40)} == {"stable"}
    assert "not approved" in cache.load_errors["denials (challenger)"].what


def test_a_file_of_a_challenger_without_an_entry_changes_nothing(project: Released):
    project.released(1)
    challenger = project.train(2)
    project.approve(challenger)
    project.releases.set_challenger("denials", challenger.id)
    cache = project.model_store()
    assert {cache.get("denials").choose_release(digest).role for digest in requests(40)} == {"stable"}


def test_an_answer_says_in_which_role_its_release_gave_it(project: Released):
    stable = project.released(1)
    challenger = deploy(project)
    roles = {"stable": stable.id, "challenger": challenger.id}
    for number in range(12):
        prediction = ask(project, claim(number)).prediction
        assert prediction.release == roles[prediction.role]
        selected = selects_challenger(SEED, "0.5", prediction.request_digest)
        assert (prediction.role == "challenger") is selected
        assert project.step.done("predict")[-1].facts["role"] == prediction.role
