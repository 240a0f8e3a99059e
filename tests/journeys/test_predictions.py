"""A released model on real servers: predictions, replays, proofs, refusals and killed processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest

from examples.health_plan import colleague, drops, population
from tests.crash import backups, challengers
from tests.crash import predictions as predictions_module
from tests.crash.project import ProjectFixture
from tests.crash.serving_project import MODEL, APIResponse, ServingProject
from tests.phi.search import Person, search, search_bytes
from wellspring.bootstrap import open_recorded_tables
from wellspring.cli.pseudo_terminal import TerminalResult
from wellspring.cli.worker_client import run_worker
from wellspring.records.models import Prediction
from wellspring.stores.locks.port import ReadOnlyFence

pytestmark = [pytest.mark.live, pytest.mark.slow]

REQUESTS = 1_000
SSN = "912-34-5678"


class ReleasedProject(NamedTuple):
    """A project with a live release. self_approval: the refused approval by the proposer."""

    project: ServingProject
    candidate: str
    release: str
    self_approval: TerminalResult


@pytest.fixture(scope="module")
def released() -> Iterator[ReleasedProject]:
    # Services under other users read the project through these folders.
    folder = Path(tempfile.mkdtemp(prefix="ws-predictions-"))
    folder.chmod(0o755)
    project = ServingProject(folder / "project")
    try:
        candidate = project.train_candidate()
        project.enroll_users("ines", "omar")
        proposed = project.act("ines", "release", "propose", candidate)
        assert proposed.exit_code == 0, proposed.screen
        release = str(json.loads(proposed.out)["release"]["id"])
        self_approval = project.act("ines", "release", "approve", release)
        assert project.http("GET", f"/v1/models/{MODEL}").status == 404, (
            "no model is served before the second user approves"
        )
        approved = project.act("omar", "release", "approve", release)
        assert approved.exit_code == 0, approved.screen
        yield ReleasedProject(project, candidate, release, self_approval)
    finally:
        ProjectFixture.down(project.root)
        shutil.rmtree(folder)


@pytest.fixture
def project(released: ReleasedProject) -> ServingProject:
    return released.project


@pytest.fixture(scope="module")
def keys(released: ReleasedProject) -> list[dict[str, str]]:
    """A thousand random keys of the built edition."""
    return released.project.sample_keys(REQUESTS)


def test_a_proposer_cannot_approve(released: ReleasedProject) -> None:
    assert released.self_approval.exit_code == 77
    assert "Traceback" not in released.self_approval.screen
    approvals = [entry for entry in entries(released.project, "approve") if entry["phase"] == "done"]
    assert [approval["facts"]["user"] for approval in approvals] == ["user:omar"]


def test_predict_newest_from_the_command_line(released: ReleasedProject) -> None:
    result = Prediction.model_validate(released.project.must("predict", MODEL, "--newest"), strict=False)
    assert (result.model, result.release) == (MODEL, released.release)
    assert result.reasons
    assert result.signature is not None


def test_a_thousand_predictions_replay_to_the_last_bit(project: ServingProject, keys: list[dict[str, str]]) -> None:
    with project.client() as client:
        arguments = {
            result.subject: result for result in (client.predict(MODEL, key, include_reasons=False) for key in keys)
        }
    assert len(arguments) == REQUESTS
    again = run_worker(project.project, "replay-predictions", params={"predictions": list(arguments)})
    assert [item for item in again if not item["equal"]] == []
    scores = {f"prediction:{item['prediction'].removeprefix('prediction:')}": item["score"] for item in again}
    assert scores == {subject: result.score.hex() for subject, result in arguments.items()}


def test_predictions_become_a_table_of_the_lake(released: ReleasedProject) -> None:
    project = released.project
    prediction = project.must("predict", MODEL, "--newest")
    recorded = project.must("outcome", "record")
    assert recorded["predictions"] >= 1
    ((model, count),) = [(row["model"], row["predictions"]) for row in recorded["models"]]
    assert (model, count) == (MODEL, len(entries(project, "predict")))
    again = project.must("outcome", "record")
    assert (again["predictions"], again["outcomes"]) == (0, 0)
    tables = open_recorded_tables(project.project, ReadOnlyFence())
    rows = tables.read_rows("prediction", ["prediction_id", "release", "score"])
    tables.close()
    assert rows is not None
    (row,) = [row for row in rows.to_pylist() if row["prediction_id"] == prediction["id"]]
    assert (row["release"], row["score"]) == (released.release, prediction["score"])


def test_a_prediction_is_proved_and_a_flipped_byte_is_named(
    project: ServingProject, keys: list[dict[str, str]], tmp_path: Path
):
    result = project.http("POST", f"/v1/models/{MODEL}/predictions", {"keys": keys[0]})
    assert result.status == 200
    answer, expected, pack = tmp_path / "answer.json", tmp_path / "keys.txt", tmp_path / "pack"
    answer.write_bytes(result.body)
    keys_document = project.must("ledger", "key")
    expected.write_text("\n".join([keys_document["log"], keys_document["witness"], *keys_document["services"]]))
    project.must("prove", f"prediction:{json.loads(result.body)['id']}", "--out", str(pack))
    words = ("verify", str(pack), "--key", str(expected), "--witness", str(expected), "--answer", str(answer))
    verified = project.run(*words)
    assert (verified.code, verified.document["findings"]) == (0, [])
    # The complete story: from the drops, through the approvals, to the prediction.
    stored = [*(pack / "entries").iterdir(), *(pack / "documents" / "line").rglob("*")]
    actions = {json.loads(path.read_bytes()).get("action") for path in stored if path.is_file()}
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

    changed = sorted((pack / "entries").iterdir())[2]
    content = bytearray(changed.read_bytes())
    content[len(content) // 2] ^= 1
    changed.write_bytes(content)
    corrupted = project.run(*words)
    assert corrupted.code == 20
    assert f"entries/{changed.name}" in {item["file"] for item in corrupted.document["findings"]}


def test_an_identifier_as_a_key_is_refused_and_not_repeated(
    project: ServingProject, keys: list[dict[str, str]]
) -> None:
    result = project.http("POST", f"/v1/models/{MODEL}/predictions", {"keys": dict.fromkeys(keys[0], SSN)})
    assert (result.status, SSN.encode() in result.body) == (422, False)
    # As the name of a key it is an unknown name.
    result = project.http("POST", f"/v1/models/{MODEL}/predictions", {"keys": {**keys[0], SSN: "x"}})
    assert (result.status, SSN.encode() in result.body) == (404, False)
    assert project.http("GET", f"/v1/features/claim_features?key={SSN}").status == 422
    for path in sorted((project.root / ".wellspring").glob("logs/*")):
        assert SSN.encode() not in path.read_bytes()
    assert not any(SSN in json.dumps(item) for item in project.journal("api"))


def test_no_error_of_the_api_repeats_an_identifier(project: ServingProject, keys: list[dict[str, str]]) -> None:
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


def test_no_planted_person_is_in_what_training_and_serving_wrote(project: ServingProject) -> None:
    people = [Person.of(person) for person in population.planted(drops.PLANTED, drops.SEED)]
    outbox = b"".join(path.read_bytes() for path in (project.project.vendor_dir / "outbox").iterdir())
    assert all(person.ssn.encode() in outbox for person in people), "without planted people the search proves nothing"
    state = project.project.state_dir
    assert (state / "mlflow" / "mlflow.db").exists()
    # The lake and the online store are searched by the long test of the demo: they take two minutes.
    left_out = [state / name for name in ("enclave", "postgres", "lake", "valkey")]
    assert search([state], people, exclude=left_out) == []


@pytest.mark.parametrize(
    "send",
    [
        lambda project, keys: project.http("POST", "/v1/models/denails/predictions", {"keys": keys}),
        lambda project, _: project.http("GET", "/v1/models/denails"),
        lambda project, keys: project.http("GET", f"/v1/features/claim_featurse?key={next(iter(keys.values()))}"),
        lambda project, _: project.http("GET", "/v2/anything"),
    ],
    ids=["predict", "model", "view", "address"],
)
def test_an_unknown_address_is_not_found(
    project: ServingProject,
    keys: list[dict[str, str]],
    send: Callable[[ServingProject, dict[str, str]], tuple[int, bytes]],
) -> None:
    status, body = send(project, keys[0])
    assert status == 404
    assert json.loads(body)["type"] == "urn:wellspring:not-found"


def test_without_the_online_store_predictions_are_unavailable_until_it_restarts(
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


def test_a_restart_of_the_model_registry_changes_no_prediction(
    project: ServingProject, keys: list[dict[str, str]]
) -> None:
    before = predictions_module.predict_scores(project, keys[:3])
    project.must("restart", "mlflow")
    assert predictions_module.predict_scores(project, keys[:3]) == before


@pytest.mark.crash
def test_no_prediction_is_lost_when_a_process_is_killed_under_load(
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


def test_history_names_proposer_and_approver(released: ReleasedProject) -> None:
    result = released.project.must("history", MODEL)
    assert [(item["release"], item["action"], item["proposed_by"], item["approved_by"]) for item in result] == [
        (released.release, "promote", "user:ines", "user:omar")
    ]
    assert released.project.must("history", MODEL, "--at", "2020-01-01T00:00:00Z") == []


def test_a_rollback_without_an_earlier_release_is_refused(released: ReleasedProject) -> None:
    output = released.project.act("omar", "release", "rollback", MODEL)
    assert output.exit_code == 77
    assert "no release of denials was live before" in output.screen
    listed = released.project.must("release", "list")["releases"]
    assert [(item["id"], item["live"]) for item in listed] == [(released.release, True)]


@pytest.fixture(scope="module")
def challenger(released: ReleasedProject) -> str:
    """A release of the same model on other SQL, which answers half of the requests."""
    return challengers.deploy_changed_sql(released.project, author="ines", approver="omar", share="50%")


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.long)])
def test_two_versions_of_a_view_answer_at_once(project: ServingProject, challenger: str, count: int) -> None:
    answers, seconds = challengers.request_both(project, project.sample_keys(count, seed=7))
    report = challengers.check_answers(project, answers, seconds)
    print(report)
    assert (report.answers, report.versions) == (count, 2)
    assert min(report.by_role.values()) > count * 0.4
    assert (report.misplaced, report.differing) == (0, 0)


def test_answers_of_both_roles_are_proved(project: ServingProject, challenger: str, tmp_path: Path) -> None:
    answers, _ = challengers.request_both(project, project.sample_keys(12, seed=8))
    keys_document = project.must("ledger", "key")
    expected = tmp_path / "keys.txt"
    expected.write_text("\n".join([keys_document["log"], keys_document["witness"], *keys_document["services"]]))
    for prediction in {prediction.role: prediction for prediction in answers}.values():
        answer, pack = tmp_path / f"{prediction.role}.json", tmp_path / prediction.role
        answer.write_text(prediction.model_dump_json())
        project.must("prove", prediction.subject, "--out", str(pack))
        verified = project.run(
            "verify", str(pack), "--key", str(expected), "--witness", str(expected), "--answer", str(answer)
        )
        assert (verified.code, verified.document["findings"]) == (0, [])
    described = json.loads(project.http("GET", f"/v1/models/{MODEL}").body)
    assert (described["challenger"], described["challenger_share"]) == (challenger, "0.5")
    listed = {item["id"]: item for item in project.must("release", "list")["releases"]}
    assert (listed[challenger]["live"], listed[challenger]["challenger_share"]) == (False, "0.5")


def test_policies_and_dbt_code_change_by_two_users(released: ReleasedProject, tmp_path: Path) -> None:
    """A contract joins here: its edit, its author, and what shows that it acts."""
    project = released.project
    users_file = project.root / "policies" / "users.cedar"
    narrow = users_file.read_text()
    project.enroll_users("ana")
    permit = 'permit (principal in Role::"approver", action == Action::"acknowledge", resource);'
    wider = f'{narrow}\n@id("an approver acknowledges findings") {permit}\n'

    def edit_policies() -> None:
        users_file.write_text(wider)

    def edit_code() -> None:
        # The challenger may have been trained on this edit already, as a draft.
        with suppress(ValueError):
            colleague.smooth(project.root)

    releases: dict[str, str] = {}
    for kind, author, edit in (("policy", "ines", edit_policies), ("transform", "ana", edit_code)):
        (first,) = list_change_ids(project, kind, "live")
        edit()
        # The proposal finds the build: the code that is typed may not wait for it.
        project.must("run", "draft-change", f"{kind}:project")
        proposed = project.act(author, "release", "propose", "--kind", kind)
        assert proposed.exit_code == 0, proposed.screen
        release = json.loads(proposed.out)["release"]
        refused = project.act(author, "release", "approve", release["id"])
        assert (refused.exit_code, "another user must approve it" in refused.screen) == (77, True)
        assert list_change_ids(project, kind, "live") == [first]
        approved = project.act("omar", "release", "approve", release["id"])
        assert approved.exit_code == 0, approved.screen
        assert list_change_ids(project, kind, "live") == [release["id"]]
        assert list_change_ids(project, kind, "replaced") == [first]
        assert release["needs_second_person"]
        releases[kind] = release["id"]
        if kind == "policy":
            wait_for_policies(project, release["content"])
    built = project.must("transform")
    assert (built["release"], built["is_on_disk"]) == (releases["transform"], True)
    # The permit is taken away again: one user is enough.
    users_file.write_text(narrow)
    assert "act once they are released" in project.must("status")["policies"]
    narrowed = project.act("ana", "release", "propose", "--kind", "policy")
    assert (narrowed.exit_code, json.loads(narrowed.out)["state"]) == (0, "live"), narrowed.screen
    assert project.must("status")["policies"] == ""
    keys_document, expected = project.must("ledger", "key"), tmp_path / "keys.txt"
    expected.write_text("\n".join([keys_document["log"], keys_document["witness"], *keys_document["services"]]))
    for release_id in (*releases.values(), json.loads(narrowed.out)["release"]["id"]):
        pack = tmp_path / release_id
        project.must("prove", f"release:{release_id}", "--out", str(pack))
        verified = project.run("verify", str(pack), "--key", str(expected), "--witness", str(expected))
        assert (verified.code, verified.document["findings"]) == (0, [])


def list_change_ids(project: ServingProject, kind: str, state: str) -> list[str]:
    """List the releases of one kind of change in a state."""
    changes = project.must("release", "list")["changes"]
    return [item["release"]["id"] for item in changes if (item["release"]["kind"], item["state"]) == (kind, state)]


def wait_for_policies(project: ServingProject, digest: str) -> None:
    """Wait until the API asks the policies with a digest; it looks for others once a second."""
    deadline = time.monotonic() + 10
    while json.loads(project.http("GET", "/healthz").body)["policies"]["digest"] != digest:
        assert time.monotonic() < deadline, "the API asks other policies"


@pytest.mark.long
def test_a_retention_leaves_what_releases_and_answers_need(released: ReleasedProject) -> None:
    project = released.project
    before = project.must("predict", MODEL, "--newest")["id"]
    toml = project.root / "wellspring.toml"
    toml.write_text(f'{toml.read_text()}\n[retention]\neditions = "1s"\n')
    intake = ProjectFixture.attach(project.root)
    built = []
    for number in range(2):
        intake.send(700 + number)
        project.must("ingest")
        built.append(project.must("transform")["edition"]["id"])
    retained = project.must("retain")
    assert built[0] in retained["retired"]
    assert set(retained["named"].values()) >= {"a release"}
    after = project.must("predict", MODEL, "--newest")["id"]
    replayed = run_worker(project.project, "replay-predictions", params={"predictions": [before, after]})
    assert [item["equal"] for item in replayed] == [True, True]
    assert project.must("ledger", "verify")["findings"] == []
    assert project.must("retain", codes=(3,))["retired"] == []


def test_a_restored_backup_answers_as_before(
    released: ReleasedProject, keys: list[dict[str, str]], tmp_path: Path
) -> None:
    """The last test of this file: it moves the project away, and restores it at its place."""
    drill = backups.run_drill(released.project, keys[:200], tmp_path)
    print(drill)
    assert drill.rows_after == drill.rows_before
    assert drill.late_answers > 0
    assert drill.lost_answers == 0, "the backup has the answers of before the pause, and the journals the others"
    assert drill.differing_replays == 0
    assert drill.ledger_findings == []
    assert drill.paused_seconds < backups.MAX_PAUSED_SECONDS
    assert drill.restore_seconds < backups.MAX_RESTORE_SECONDS
    assert [item["facts"]["lost_entries"] for item in entries(released.project, "restore")] == [0]


def entries(project: ServingProject, action: str) -> list[dict[str, Any]]:
    tail: list[dict[str, Any]] = project.must("ledger", "tail", "-n", "1000000")
    return [item for item in tail if item["action"] == action]
