"""A bucket as the source, through the command line: credentials, an ingest, and input that must not stop the rest."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.health_plan import population
from tests.builders.journeys import HOSTILE_NAMES, ProjectFixture, check_hostile_output
from tests.builders.projects import create_project
from tests.builders.s3_process import S3Process, running_s3_process, use_s3_source
from wellspring.errors import escape_text
from wellspring.project import PROJECT_FILE, load_project
from wellspring.supervisor import client

pytestmark = pytest.mark.live
LIMIT = 200_000


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Process]:
    with running_s3_process() as server:
        yield server


@pytest.fixture(scope="module")
def project(s3: S3Process) -> Iterator[ProjectFixture]:
    with create_project() as created:
        path = created.root / PROJECT_FILE
        limited = use_s3_source(path.read_text(), s3).replace("settle_seconds", f"max_bytes = {LIMIT}\nsettle_seconds")
        path.write_text(limited)
        loaded = load_project(created.root)
        client.start_servers(loaded)
        yield ProjectFixture(loaded)


def claims(folder: Path, rows: int, seed: int) -> bytes:
    people = population.members(200, seed)
    return population.write_csv(population.claims(rows, seed, people=people), folder / "claims.csv").read_bytes()


def log_in(project: ProjectFixture, monkeypatch: pytest.MonkeyPatch, credentials: dict[str, str]) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(credentials)))
    output = project.run("source", "login", "clearinghouse", "--json")
    assert output.code == 0, output.err
    assert not [value for value in credentials.values() if value in output.out + output.err]


def test_a_bucket_is_ingested_once_its_credentials_are_right(
    project: ProjectFixture, s3: S3Process, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    s3.put("medical_claim_1.csv", claims(tmp_path, 300, 1))
    output = project.run("ingest")
    assert (output.code, "has no credentials" in output.err) == (77, True)
    assert "wellspring source login clearinghouse" in output.err
    log_in(project, monkeypatch, {**s3.credentials, "secret_access_key": "wrong"})
    output = project.run("ingest")
    assert (output.code, "rejected the credentials" in output.err) == (77, True)
    log_in(project, monkeypatch, s3.credentials)
    (outcome,) = project.ingest()["files"].values()
    assert (outcome["status"], outcome["account"]["published"]) == ("published", 300)
    assert project.ingest(code=3)["files"] == {}
    logins = project.list_entries("login_source")
    assert [entry["facts"]["keys"] for entry in logins] == [["access_key_id", "secret_access_key"]] * 2
    state = b"".join(path.read_bytes() for path in (project.root / ".wellspring/journals").rglob("*") if path.is_file())
    assert s3.credentials["secret_access_key"].encode() not in state


def test_bad_objects_stop_alone(project: ProjectFixture, s3: S3Process, tmp_path: Path):
    s3.put("medical_claim_2.csv", claims(tmp_path, 50, 2))
    s3.put("medical_claim_3.csv", b"")
    s3.put("medical_claim_4.csv", b"x" * (LIMIT + 1))
    s3.put("medical_claim_5\t.csv", b"x")
    s3.put("medical_claim_1.csv", b"other")
    result = project.ingest(code=75)
    files = {name: (outcome["status"], [reason["code"] for reason in outcome["reasons"]]) for name, outcome in
             result["files"].items()}  # fmt: skip
    assert files["medical_claim_2.csv"][0] == "waiting", "the empty drop holds back its set"
    assert files["medical_claim_3.csv"] == ("stopped", ["empty_file"])
    assert files["medical_claim_4.csv"] == ("finding", ["too_large"])
    assert files["medical_claim_5\\t.csv"] == ("finding", ["unsafe_name"])
    assert files["medical_claim_1.csv"] == ("finding", ["changed"])
    codes = {entry["facts"]["code"] for entry in project.list_entries("finding")}
    assert {"too_large", "unsafe_name", "changed"} <= codes


def test_a_good_object_replaces_the_stopped_one(project: ProjectFixture, s3: S3Process, tmp_path: Path):
    s3.put("medical_claim_6.csv", claims(tmp_path, 40, 6))
    files = project.ingest()["files"]
    assert {files[name]["status"] for name in ("medical_claim_2.csv", "medical_claim_6.csv")} == {"published"}
    assert sum(account["published"] for account in project.accounts().values()) == 390


def test_status_and_doctor_name_the_bucket(project: ProjectFixture):
    assert "source clearinghouse: s3, s3://drops/outbox/" in project.run("doctor").out
    assert "sftp" not in project.run("status").out
    assert "s3://drops/outbox/" in project.run("source", "list").out


def test_hostile_keys_are_findings_and_shown_escaped(project: ProjectFixture, s3: S3Process):
    # The server of the test accepts no key with a newline.
    names = [name for name in HOSTILE_NAMES if "\n" not in name]
    for name in names:
        s3.put(name, b"x")
    output = project.run("ingest")
    assert output.code == 75
    check_hostile_output(output.out)
    for name in names:
        assert escape_text(name) in output.out
    check_hostile_output(project.run("status").out)
    findings = project.run("finding", "list", "--json").document
    assert {escape_text(name) for name in names} <= {finding["name"] for finding in findings}
    output = project.run("ingest")
    assert (output.code, f"{len(findings)} open findings: wellspring " in output.out) == (3, True)
