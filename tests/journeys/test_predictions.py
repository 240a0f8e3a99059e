"""From a vendor's history to a proved answer: two people release a model, it is asked, killed, replayed and proved."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest

from examples.health_plan import drops, population
from tests.crash import predictions as predictions_module
from tests.crash.project import ProjectFixture
from tests.crash.serving_project import MODEL, APIResponse, ServingProject
from tests.phi.search import Person, search, search_bytes
from wellspring.cli.pseudo_terminal import TerminalResult
from wellspring.cli.worker_client import run_worker
from wellspring.records.models import Prediction

pytestmark = [pytest.mark.live, pytest.mark.slow]

REQUESTS = 1_000
SSN = "912-34-5678"


class Answering(NamedTuple):
    """A house that answers, and what its people saw when they made it so."""

    project: ServingProject
    candidate: str
    release: str
    alone: TerminalResult


@pytest.fixture(scope="module")
def answering() -> Iterator[Answering]:
    # Services of other users reach the project through these folders.
    folder = Path(tempfile.mkdtemp(prefix="ws-answers-"))
    folder.chmod(0o755)
    project = ServingProject(folder / "project")
    try:
        candidate = project.train_candidate()
        project.enroll_users("ines", "omar")
        proposed = project.act("ines", "release", "propose", candidate)
        assert proposed.exit_code == 0, proposed.screen
        release = str(json.loads(proposed.out)["release"]["id"])
        alone = project.act("ines", "release", "approve", release)
        assert project.http("GET", f"/v1/models/{MODEL}").status == 404, "nothing answers before a second person"
        approved = project.act("omar", "release", "approve", release)
        assert approved.exit_code == 0, approved.screen
        yield Answering(project, candidate, release, alone)
    finally:
        ProjectFixture.down(project.root)
        shutil.rmtree(folder)


@pytest.fixture
def project(answering: Answering) -> ServingProject:
    return answering.project


@pytest.fixture(scope="module")
def keys(answering: Answering) -> list[dict[str, str]]:
    """A thousand random things that can be asked about."""
    return answering.project.sample_keys(REQUESTS)


def test_nobody_approves_what_they_proposed(answering: Answering) -> None:
    assert answering.alone.exit_code == 77
    assert "Traceback" not in answering.alone.screen
    approvals = [entry for entry in entries(answering.project, "approve") if entry["phase"] == "done"]
    assert [approval["facts"]["user"] for approval in approvals] == ["user:omar"]


def test_the_newest_is_asked_about_from_the_command_line(answering: Answering) -> None:
    result = Prediction.model_validate(answering.project.must("predict", MODEL, "--newest"), strict=False)
    assert (result.model, result.release) == (MODEL, answering.release)
    assert result.reasons
    assert result.signature is not None


def test_a_thousand_answers_are_given_again_to_the_last_bit(
    project: ServingProject, keys: list[dict[str, str]]
) -> None:
    with project.client() as client:
        arguments = {
            result.subject: result for result in (client.predict(MODEL, key, include_reasons=False) for key in keys)
        }
    assert len(arguments) == REQUESTS
    again = run_worker(project.project, "replay-predictions", params={"predictions": list(arguments)})
    assert [item for item in again if not item["equal"]] == []
    scores = {f"prediction:{item['prediction'].removeprefix('prediction:')}": item["score"] for item in again}
    assert scores == {subject: result.score.hex() for subject, result in arguments.items()}


def test_an_answer_is_proved_and_a_flipped_byte_is_named(
    project: ServingProject, keys: list[dict[str, str]], tmp_path: Path
):
    result = project.http("POST", f"/v1/models/{MODEL}/predictions", {"keys": keys[0]})
    assert result.status == 200
    answer, expected, pack = tmp_path / "answer.json", tmp_path / "keys.txt", tmp_path / "pack"
    answer.write_bytes(result.body)
    own_value = project.must("ledger", "key")
    expected.write_text(f"{own_value['log']}\n{own_value['witness']}\n")
    project.must("prove", f"prediction:{json.loads(result.body)['id']}", "--out", str(pack))
    words = ("verify", str(pack), "--key", str(expected), "--witness", str(expected), "--answer", str(answer))
    verified = project.run(*words)
    assert (verified.code, verified.document["findings"]) == (0, [])
    # The whole story: from the vendor's drops, through the people, to the answer.
    actions = {json.loads(path.read_bytes())["action"] for path in (pack / "entries").iterdir()}
    assert actions >= {
        "land",
        "admit",
        "publish",
        "train",
        "gate",
        "propose",
        "approve",
        "promote",
        "enroll",
        "predict",
    }

    forged = bytearray(result.body)
    place = result.body.index(b'"score": 0.') + len(b'"score": 0.') + 2
    forged[place] = ord("1") if forged[place] != ord("1") else ord("2")
    answer.write_bytes(forged)
    assert project.run(*words).code == 20
    answer.write_bytes(result.body)

    spoilt = sorted((pack / "entries").iterdir())[2]
    content = bytearray(spoilt.read_bytes())
    content[len(content) // 2] ^= 1
    spoilt.write_bytes(content)
    broken = project.run(*words)
    assert broken.code == 20
    assert f"entries/{spoilt.name}" in {item["file"] for item in broken.document["findings"]}


def test_a_persons_number_is_no_key_and_is_not_repeated(project: ServingProject, keys: list[dict[str, str]]) -> None:
    result = project.http("POST", f"/v1/models/{MODEL}/predictions", {"keys": dict.fromkeys(keys[0], SSN)})
    assert (result.status, SSN.encode() in result.body) == (422, False)
    # As the name of a key it is no name that the model knows.
    result = project.http("POST", f"/v1/models/{MODEL}/predictions", {"keys": {**keys[0], SSN: "x"}})
    assert (result.status, SSN.encode() in result.body) == (404, False)
    assert project.http("GET", f"/v1/features/claim_features?key={SSN}").status == 422
    for path in sorted((project.root / ".wellspring").glob("logs/*")):
        assert SSN.encode() not in path.read_bytes()
    assert not any(SSN in json.dumps(item) for item in project.journal("api"))


def test_no_error_of_the_api_repeats_who_was_asked_about(project: ServingProject, keys: list[dict[str, str]]) -> None:
    person = Person.of(population.planted(drops.PLANTED, drops.SEED)[0])
    result: list[APIResponse] = []
    for field in fields(person):
        value = str(getattr(person, field.name))
        if not value:
            continue
        predictions = f"/v1/models/{MODEL}/predictions"
        result += [
            project.http("POST", predictions, {"keys": dict.fromkeys(keys[0], value)}),
            project.http("POST", predictions, {"keys": {**keys[0], value: "x"}}),
            project.http("POST", predictions, {"keys": keys[0], value: value, "reasons": value}),
            project.http("POST", predictions, [value]),
            project.http("POST", f"/v1/models/{quote(value)}/predictions", {"keys": keys[0]}),
            project.http("GET", f"/v1/models/{quote(value)}"),
            project.http("GET", f"/v1/features/{quote(value)}?key=x"),
            project.http("GET", f"/v1/features/claim_features?key={quote(value)}"),
            project.http("GET", f"/v1/keys/{quote(value)}"),
            project.http("DELETE", f"/{quote(value)}"),
        ]
    assert {item.status for item in result} <= {404, 405, 422}
    assert search_bytes("bodies", b"\n".join(item.body for item in result), [person]) == []
    state = project.project.state_dir
    assert search([state / "logs", project.project.journals_dir / "api", state / "lineage"], [person]) == []


@pytest.mark.parametrize(
    "ask",
    [
        lambda project, keys: project.http("POST", "/v1/models/denails/predictions", {"keys": keys}),
        lambda project, _: project.http("GET", "/v1/models/denails"),
        lambda project, keys: project.http("GET", f"/v1/features/claim_featurse?key={next(iter(keys.values()))}"),
        lambda project, _: project.http("GET", "/v2/anything"),
    ],
    ids=["predict", "model", "view", "address"],
)
def test_what_is_not_served_is_not_found(
    project: ServingProject,
    keys: list[dict[str, str]],
    ask: Callable[[ServingProject, dict[str, str]], tuple[int, bytes]],
) -> None:
    status, body = ask(project, keys[0])
    assert status == 404
    assert json.loads(body)["type"] == "urn:wellspring:not-found"


def test_without_the_online_store_nothing_is_answered_and_then_right_again(
    project: ServingProject, keys: list[dict[str, str]]
) -> None:
    before = predictions_module.predict_scores(project, keys[:3])
    pid = project.server("valkey")
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    result = project.http("POST", f"/v1/models/{MODEL}/predictions", {"keys": keys[0]})
    assert result.status == 503
    assert json.loads(result.body)["type"] == "urn:wellspring:unavailable"
    project.restore_server("valkey")
    assert predictions_module.predict_scores(project, keys[:3]) == before


def test_a_restart_of_the_model_registry_changes_no_answer(project: ServingProject, keys: list[dict[str, str]]) -> None:
    before = predictions_module.predict_scores(project, keys[:3])
    project.must("restart", "mlflow")
    assert predictions_module.predict_scores(project, keys[:3]) == before


@pytest.mark.crash
def test_no_answer_is_lost_when_a_process_is_killed_under_load(
    project: ServingProject, keys: list[dict[str, str]]
) -> None:
    kills = [predictions_module.kill_server(project, server, keys[:100]) for server in ("api", "valkey")]
    for killed in kills:
        print(killed)
        assert killed.error == ()
        assert len(killed.answered) > predictions_module.RATE // 2
    assert (
        predictions_module.find_lost_predictions(project, [item for killed in kills for item in killed.answered]) == []
    )


def test_history_says_who_stands_behind_what_is_live(answering: Answering) -> None:
    result = answering.project.must("history", MODEL)
    assert [(item["release"], item["action"], item["proposed_by"], item["approved_by"]) for item in result] == [
        (answering.release, "promote", "user:ines", "user:omar")
    ]
    assert answering.project.must("history", MODEL, "--at", "2020-01-01T00:00:00Z") == []


def test_a_rollback_with_nothing_before_is_refused(answering: Answering) -> None:
    output = answering.project.act("omar", "release", "rollback", MODEL)
    assert output.exit_code == 77
    assert "nothing was live" in output.screen
    listed = answering.project.must("release", "list")["releases"]
    assert [(item["id"], item["live"]) for item in listed] == [(answering.release, True)]


def entries(project: ServingProject, action: str) -> list[dict[str, Any]]:
    tail: list[dict[str, Any]] = project.must("ledger", "tail", "-n", "1000000")
    return [item for item in tail if item["action"] == action]
