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
from tests.crash.project import House
from tests.crash.serving_project import MODEL, Served, Told
from tests.phi.search import Person, search, search_bytes
from wellspring.cli.pseudo_terminal import TerminalResult
from wellspring.cli.worker_client import run_worker
from wellspring.records.models import Prediction

pytestmark = [pytest.mark.live, pytest.mark.slow]

ASKED = 1_000
SSN = "912-34-5678"


class Answering(NamedTuple):
    """A house that answers, and what its people saw when they made it so."""

    house: Served
    candidate: str
    release: str
    alone: TerminalResult


@pytest.fixture(scope="module")
def answering() -> Iterator[Answering]:
    # Services of other users reach the project through these folders.
    folder = Path(tempfile.mkdtemp(prefix="ws-answers-"))
    folder.chmod(0o755)
    house = Served(folder / "house")
    try:
        candidate = house.learned()
        house.enrolled("ines", "omar")
        proposed = house.act("ines", "release", "propose", candidate)
        assert proposed.exit_code == 0, proposed.screen
        release = str(json.loads(proposed.out)["release"]["id"])
        alone = house.act("ines", "release", "approve", release)
        assert house.http("GET", f"/v1/models/{MODEL}").status == 404, "nothing answers before a second person"
        approved = house.act("omar", "release", "approve", release)
        assert approved.exit_code == 0, approved.screen
        yield Answering(house, candidate, release, alone)
    finally:
        House.down(house.root)
        shutil.rmtree(folder)


@pytest.fixture
def house(answering: Answering) -> Served:
    return answering.house


@pytest.fixture(scope="module")
def keys(answering: Answering) -> list[dict[str, str]]:
    """A thousand random things that can be asked about."""
    return answering.house.keys(ASKED)


def test_nobody_approves_what_they_proposed(answering: Answering) -> None:
    assert answering.alone.exit_code == 77
    assert "Traceback" not in answering.alone.screen
    approvals = [entry for entry in entries(answering.house, "approve") if entry["phase"] == "done"]
    assert [approval["facts"]["user"] for approval in approvals] == ["user:omar"]


def test_the_newest_is_asked_about_from_the_command_line(answering: Answering) -> None:
    told = Prediction.model_validate(answering.house.must("predict", MODEL, "--newest"), strict=False)
    assert (told.model, told.release) == (MODEL, answering.release)
    assert told.reasons
    assert told.signature is not None


def test_a_thousand_answers_are_given_again_to_the_last_bit(house: Served, keys: list[dict[str, str]]) -> None:
    with house.client() as client:
        given = {told.subject: told for told in (client.predict(MODEL, key, include_reasons=False) for key in keys)}
    assert len(given) == ASKED
    again = run_worker(house.project, "replay-predictions", params={"predictions": list(given)})
    assert [item for item in again if not item["equal"]] == []
    scores = {f"prediction:{item['prediction'].removeprefix('prediction:')}": item["score"] for item in again}
    assert scores == {subject: told.score.hex() for subject, told in given.items()}


def test_an_answer_is_proved_and_a_flipped_byte_is_named(house: Served, keys: list[dict[str, str]], tmp_path: Path):
    told = house.http("POST", f"/v1/models/{MODEL}/predictions", {"keys": keys[0]})
    assert told.status == 200
    answer, known, pack = tmp_path / "answer.json", tmp_path / "keys.txt", tmp_path / "pack"
    answer.write_bytes(told.body)
    ours = house.must("ledger", "key")
    known.write_text(f"{ours['log']}\n{ours['witness']}\n")
    house.must("prove", f"prediction:{json.loads(told.body)['id']}", "--out", str(pack))
    words = ("verify", str(pack), "--key", str(known), "--witness", str(known), "--answer", str(answer))
    verified = house.run(*words)
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

    forged = bytearray(told.body)
    place = told.body.index(b'"score": 0.') + len(b'"score": 0.') + 2
    forged[place] = ord("1") if forged[place] != ord("1") else ord("2")
    answer.write_bytes(forged)
    assert house.run(*words).code == 20
    answer.write_bytes(told.body)

    spoilt = sorted((pack / "entries").iterdir())[2]
    content = bytearray(spoilt.read_bytes())
    content[len(content) // 2] ^= 1
    spoilt.write_bytes(content)
    broken = house.run(*words)
    assert broken.code == 20
    assert f"entries/{spoilt.name}" in {item["file"] for item in broken.document["findings"]}


def test_a_persons_number_is_no_key_and_is_not_repeated(house: Served, keys: list[dict[str, str]]) -> None:
    told = house.http("POST", f"/v1/models/{MODEL}/predictions", {"keys": dict.fromkeys(keys[0], SSN)})
    assert (told.status, SSN.encode() in told.body) == (422, False)
    # As the name of a key it is no name that the model knows.
    told = house.http("POST", f"/v1/models/{MODEL}/predictions", {"keys": {**keys[0], SSN: "x"}})
    assert (told.status, SSN.encode() in told.body) == (404, False)
    assert house.http("GET", f"/v1/features/claim_features?key={SSN}").status == 422
    for path in sorted((house.root / ".wellspring").glob("logs/*")):
        assert SSN.encode() not in path.read_bytes()
    assert not any(SSN in json.dumps(item) for item in house.journal("api"))


def test_no_error_of_the_api_repeats_who_was_asked_about(house: Served, keys: list[dict[str, str]]) -> None:
    person = Person.of(population.planted(drops.PLANTED, drops.SEED)[0])
    told: list[Told] = []
    for field in fields(person):
        value = str(getattr(person, field.name))
        if not value:
            continue
        predictions = f"/v1/models/{MODEL}/predictions"
        told += [
            house.http("POST", predictions, {"keys": dict.fromkeys(keys[0], value)}),
            house.http("POST", predictions, {"keys": {**keys[0], value: "x"}}),
            house.http("POST", predictions, {"keys": keys[0], value: value, "reasons": value}),
            house.http("POST", predictions, [value]),
            house.http("POST", f"/v1/models/{quote(value)}/predictions", {"keys": keys[0]}),
            house.http("GET", f"/v1/models/{quote(value)}"),
            house.http("GET", f"/v1/features/{quote(value)}?key=x"),
            house.http("GET", f"/v1/features/claim_features?key={quote(value)}"),
            house.http("GET", f"/v1/keys/{quote(value)}"),
            house.http("DELETE", f"/{quote(value)}"),
        ]
    assert {item.status for item in told} <= {404, 405, 422}
    assert search_bytes("bodies", b"\n".join(item.body for item in told), [person]) == []
    state = house.project.state_dir
    assert search([state / "logs", house.project.journals_dir / "api", state / "lineage"], [person]) == []


@pytest.mark.parametrize(
    "ask",
    [
        lambda house, keys: house.http("POST", "/v1/models/denails/predictions", {"keys": keys}),
        lambda house, _: house.http("GET", "/v1/models/denails"),
        lambda house, keys: house.http("GET", f"/v1/features/claim_featurse?key={next(iter(keys.values()))}"),
        lambda house, _: house.http("GET", "/v2/anything"),
    ],
    ids=["predict", "model", "view", "address"],
)
def test_what_is_not_served_is_not_found(
    house: Served, keys: list[dict[str, str]], ask: Callable[[Served, dict[str, str]], tuple[int, bytes]]
) -> None:
    status, body = ask(house, keys[0])
    assert status == 404
    assert json.loads(body)["type"] == "urn:wellspring:not-found"


def test_without_the_online_store_nothing_is_answered_and_then_right_again(
    house: Served, keys: list[dict[str, str]]
) -> None:
    before = predictions_module.scores(house, keys[:3])
    pid = house.server("valkey")
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    told = house.http("POST", f"/v1/models/{MODEL}/predictions", {"keys": keys[0]})
    assert told.status == 503
    assert json.loads(told.body)["type"] == "urn:wellspring:unavailable"
    house.repair("valkey")
    assert predictions_module.scores(house, keys[:3]) == before


def test_a_restart_of_the_model_registry_changes_no_answer(house: Served, keys: list[dict[str, str]]) -> None:
    before = predictions_module.scores(house, keys[:3])
    house.must("restart", "mlflow")
    assert predictions_module.scores(house, keys[:3]) == before


@pytest.mark.crash
def test_no_answer_is_lost_when_a_process_is_killed_under_load(house: Served, keys: list[dict[str, str]]) -> None:
    kills = [predictions_module.kill(house, who, keys[:100]) for who in ("api", "valkey")]
    for killed in kills:
        print(killed)
        assert killed.wrong == ()
        assert len(killed.answered) > predictions_module.RATE // 2
    assert predictions_module.lost(house, [item for killed in kills for item in killed.answered]) == []


def test_history_says_who_stands_behind_what_is_live(answering: Answering) -> None:
    told = answering.house.must("history", MODEL)
    assert [(item["release"], item["action"], item["proposed_by"], item["approved_by"]) for item in told] == [
        (answering.release, "promote", "user:ines", "user:omar")
    ]
    assert answering.house.must("history", MODEL, "--at", "2020-01-01T00:00:00Z") == []


def test_a_rollback_with_nothing_before_is_refused(answering: Answering) -> None:
    said = answering.house.act("omar", "release", "rollback", MODEL)
    assert said.exit_code == 77
    assert "nothing was live" in said.screen
    listed = answering.house.must("release", "list")["releases"]
    assert [(item["id"], item["live"]) for item in listed] == [(answering.release, True)]


def entries(house: Served, action: str) -> list[dict[str, Any]]:
    tail: list[dict[str, Any]] = house.must("ledger", "tail", "-n", "1000000")
    return [item for item in tail if item["action"] == action]
