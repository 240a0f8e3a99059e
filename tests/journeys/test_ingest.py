"""A month of drops on real servers: good, bad and broken ones, and the repair of each.

The tests share one project and depend on their order.
"""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path
from typing import Any

import pytest

from examples.health_plan import drops, population
from tests.builders.journeys import HOSTILE_NAMES, ProjectFixture, check_hostile_output
from wellspring.cli.worker_client import run_worker
from wellspring.errors import escape_text

pytestmark = pytest.mark.live

LINES, MEMBERS = 60, 200
PEOPLE = drops.people(MEMBERS)


class Shared:
    """Values that later tests need."""

    bad: drops.Bad
    bad_drop = ""
    good_edition = ""
    expected: dict[int, Any]


def claims(month: str, *, lines: int = LINES) -> str:
    """Return the text of a good claims file."""
    table = population.claims(lines, 7, people=PEOPLE, month=month)
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=table.column_names, lineterminator="\n")
    writer.writeheader()
    for row in table.to_pylist():
        writer.writerow({name: str(value).lower() if isinstance(value, bool) else value for name, value in row.items()})
    return text.getvalue()


def send(project: ProjectFixture, name: str, content: str | bytes) -> str:
    """Put a file into the outbox as a vendor does: written under another name, then renamed."""
    part = project.outbox / f"{name}.part"
    part.write_bytes(content.encode() if isinstance(content, str) else content)
    part.rename(project.outbox / name)
    return name


def eligibility(project: ProjectFixture, month: str) -> str:
    return population.write_csv(population.spans(PEOPLE, 3), project.outbox / f"eligibility_{month}.csv").name


def test_ingest_before_the_first_drop_finds_nothing(project: ProjectFixture):
    received = project.ingest(code=3)
    assert (received["edition"], received["files"]) == (None, {})
    assert project.accounts() == {}


def test_a_good_drop_is_published_as_one_edition(project: ProjectFixture):
    good = drops.good(project.outbox, lines=300, members=MEMBERS)
    # Unfinished and hidden files are not ingested.
    for name in ("medical_claim_2026-99.csv.part", ".medical_claim_2026-98.csv"):
        (project.outbox / name).write_text("half")
    received = project.ingest()
    assert {name: item["status"] for name, item in received["files"].items()} == dict.fromkeys(good.rows, "published")
    assert received["newly_published"]
    assert sorted(item["table"] for item in received["edition"]["tables"]) == ["eligibility", "medical_claim"]
    for name, rows in good.rows.items():
        account = received["files"][name]["account"]
        assert (account["received"], account["published"]) == (rows, rows)
        assert account["waiting"] == 0
    assert len(project.rows("medical_claim", "claim_id")) == 300
    assert len(project.list_entries("publish")) == 2


def test_no_identifier_is_in_what_readers_see(project: ProjectFixture):
    members = {row["member_id"] for row in project.rows("medical_claim", "member_id")}
    assert all(member.startswith("member_k1_") for member in members)
    # Tokens of one domain join across files.
    assert members <= {row["member_id"] for row in project.rows("eligibility", "member_id")}


def test_each_person_has_a_sealed_row_in_the_vault(project: ProjectFixture):
    persons = {row["person_id"] for row in project.rows("eligibility", "person_id")}
    assert project.run("vault", "status", "--json").document == {"rows": {"person": len(persons)}, "unread_drops": []}
    assert project.run("vault", "backfill", "--json").document["drops"] == {}


def test_a_second_ingest_changes_nothing(project: ProjectFixture):
    before = project.list_entries("publish")
    received = project.ingest(code=3)
    assert not received["newly_published"]
    assert received["edition"]["id"] == before[-1]["subject"].removeprefix("edition:")
    assert received["age_seconds"] is not None
    assert project.list_entries("publish") == before
    Shared.good_edition = received["edition"]["id"]


def test_bad_rows_are_quarantined_with_reasons_and_the_rest_is_published(project: ProjectFixture):
    Shared.bad = drops.bad(project.outbox, members=MEMBERS)
    received = project.ingest()
    outcome = received["files"][Shared.bad.path.name]
    Shared.bad_drop = outcome["drop"]
    broken = {flaw.row for flaw in Shared.bad.flaws}
    account = outcome["account"]
    assert account["received"] == Shared.bad.rows
    assert account["quarantined"] == len(broken)
    assert account["published"] == Shared.bad.rows - len(broken)
    notes = [reason["message"] for reason in outcome["reasons"] if reason["code"] == "undeclared_column"]
    assert all("values stay in the enclave, with " in note for note in notes)
    assert notes
    published = project.rows("medical_claim", "drop_id", "row_number", "known_since", "replay_number")
    published_rows = [row for row in published if row["drop_id"] == Shared.bad_drop]
    assert {row["row_number"] for row in published_rows} == set(range(1, Shared.bad.rows + 1)) - broken
    assert len({row["known_since"] for row in published_rows}) == 1
    Shared.expected = {row["row_number"]: row["known_since"] for row in published_rows}


def test_quarantine_names_every_planted_flaw_and_shows_no_value(project: ProjectFixture):
    shown = project.run("quarantine", "show", Shared.bad_drop, "--json")
    rows = shown.document["rows"]
    assert shown.document["total"] == len(rows)
    named_flaws = {(row["row_number"], reason["code"]) for row in rows for reason in row["reasons"]}
    assert {(flaw.row, flaw.code) for flaw in Shared.bad.flaws} <= named_flaws
    for value in ("twelve dollars", "WSP12AB", "2026-02-30", PEOPLE["social_security_number"][0].as_py()):
        assert value not in shown.out
    listed = project.run("quarantine", "list", "--json").document
    assert [(item["drop"], item["rows"]) for item in listed] == [(Shared.bad_drop, len(rows))]


def test_a_broken_schema_stops_its_set_and_readers_keep_the_last_good_edition(project: ProjectFixture):
    before = project.list_entries("publish")[-1]["subject"]
    broken = drops.broken_schema(project.outbox, lines=LINES, members=MEMBERS)
    good = eligibility(project, "2026-11")
    output = project.run("ingest")
    assert output.code == 75
    assert "readers keep the last good edition" in output.out
    assert "set_incomplete" in output.out
    assert "missing_column" in output.out
    # A second ingest finds nothing new, still exits 75 because a set waits, and sends no second alert.
    received = project.ingest(code=75)
    assert received["files"] == {}
    assert f"edition:{received['edition']['id']}" == before
    alerts = project.list_entries("alert")
    assert [alert["facts"]["contact"] for alert in alerts] == ["claims-data@clearinghouse.example.com"]
    assert "missing_column" in alerts[0]["facts"]["codes"]
    accounts = project.accounts()
    names = {entry["facts"]["name"]: entry["subject"].removeprefix("drop:") for entry in project.list_entries("land")}
    stopped, waiting = accounts[names[broken.name]], accounts[names[good]]
    assert (stopped["received"], stopped["rejected"]) == (LINES, LINES)
    assert waiting["waiting"] == waiting["received"] > 0
    assert waiting["published"] == 0


def test_the_corrected_file_completes_the_set_and_publishes_its_waiting_drops(project: ProjectFixture):
    corrected = drops.corrected(project.outbox, lines=LINES, members=MEMBERS)
    received = project.ingest()
    assert {name: item["status"] for name, item in received["files"].items()} == {
        corrected.name: "published",
        "eligibility_2026-11.csv": "published",
    }
    assert received["verdict"]["outcome"] == "pass"
    assert {account["waiting"] for account in project.accounts().values()} == {0}


FAULTS = {
    "medical_claim_semicolons.csv": "wrong_delimiter",
    "medical_claim_cut.csv": "truncated",
    "medical_claim_empty.csv": "empty_file",
    "medical_claim_header.csv": "header_only",
    "medical_claim_utf16.csv": "not_utf8",
    "medical_claim_twice.csv": "duplicate_header",
    "medical_claim_quote.csv": "unbalanced_quote",
}


def test_malformed_files_are_stopped_with_reasons(project: ProjectFixture):
    text = claims("2026-12")
    header, *rows = text.splitlines()
    contents: dict[str, str | bytes] = {
        "medical_claim_semicolons.csv": text.replace(",", ";"),
        "medical_claim_cut.csv": text[: -len(rows[-1]) // 2],
        "medical_claim_empty.csv": "",
        "medical_claim_header.csv": f"{header}\n",
        "medical_claim_utf16.csv": text.encode("utf-16"),
        "medical_claim_twice.csv": text.replace("claim_line_number", "claim_id", 1),
        "medical_claim_quote.csv": f'{header}\n"{rows[0]}\n',
    }
    for name, content in contents.items():
        send(project, name, content)
    received = project.ingest(code=75)
    output = {name: {reason["code"] for reason in item["reasons"]} for name, item in received["files"].items()}
    assert {name: item["status"] for name, item in received["files"].items()} == dict.fromkeys(FAULTS, "stopped")
    assert {name: code in output[name] for name, code in FAULTS.items()} == dict.fromkeys(FAULTS, True), output
    assert all(reason["message"] for item in received["files"].values() for reason in item["reasons"])
    assert not received["newly_published"]


def test_a_byte_order_mark_and_quoted_line_ends_are_read(project: ProjectFixture):
    text = claims("2027-01")
    header, first, *rest = text.splitlines()
    place = header.split(",").index("note")
    fields = next(csv.reader([first]))
    fields[place] = "first line\nsecond line"
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(fields)
    send(project, "medical_claim_bom.csv", "\ufeff" + "\n".join([header, line.getvalue().rstrip("\n"), *rest]) + "\n")
    received = project.ingest()
    account = received["files"]["medical_claim_bom.csv"]["account"]
    assert (account["received"], account["published"]) == (LINES, LINES)
    assert {item["waiting"] for item in project.accounts().values()} == {0}


def test_a_replay_without_a_repaired_row_is_refused_with_reasons(project: ProjectFixture):
    output = project.run("quarantine", "replay", Shared.bad_drop)
    assert output.code == 77
    rows = f"all {len(Shared.bad.flaws)} quarantined rows of drop:{Shared.bad_drop}"
    assert f"{rows} are still invalid under medical_claim 1.0.0" in output.err
    assert "enum in place_of_service_code" in output.err
    # It does not affect the next ingest.
    project.ingest(code=3)


def test_a_contract_on_disk_judges_nothing_before_it_is_released(project: ProjectFixture):
    drops.repaired_contract(project.project.contracts_dir)
    output = project.run("quarantine", "replay", Shared.bad_drop)
    assert (output.code, "medical_claim 1.1.0 on disk is not in force" in output.err) == (77, True)
    received = project.ingest(code=3)
    assert [contract["version_in_force"] for contract in received["unreleased_contracts"]] == ["1.0.0"]
    assert "release propose --kind contract medical_claim" in project.run("status").out


def test_an_unknown_drop_gets_the_nearest_as_a_suggestion(project: ProjectFixture):
    output = project.run("quarantine", "replay", f"{Shared.bad_drop[:-1]}x")
    assert output.code == 66
    assert f"did you mean {Shared.bad_drop!r}?" in output.err


def test_a_changed_file_and_a_file_without_contract_are_recorded_as_findings_once(project: ProjectFixture):
    changed = project.outbox / "medical_claim_bom.csv"
    send(project, changed.name, changed.read_text() + changed.read_text().splitlines()[-1] + "\n")
    send(project, "pharmacy_2026-12.csv", "a,b\n1,2\n")
    before = project.list_entries("land")
    received = project.ingest(code=75)
    assert {name: item["status"] for name, item in received["files"].items()} == {
        "medical_claim_bom.csv": "finding",
        "pharmacy_2026-12.csv": "finding",
    }
    assert received["files"]["medical_claim_bom.csv"]["reasons"][0]["code"] == "changed"
    again = project.ingest(code=3)
    assert (again["files"], again["open_findings"]) == ({}, 2)
    listed = project.run("finding", "list", "--json").document
    assert {finding["name"] for finding in listed} == {"medical_claim_bom.csv", "pharmacy_2026-12.csv"}
    assert len(project.list_entries("finding", code="changed")) == 1
    assert len(project.list_entries("finding", name="pharmacy_2026-12.csv")) == 1
    assert project.list_entries("land") == before
    for name in ("pharmacy_2026-12.csv", changed.name):
        (project.outbox / name).unlink()
    assert project.ingest(code=3)["open_findings"] == 0
    assert project.run("finding", "list", "--json").document == []
    closed = project.run("finding", "list", "--all", "--json").document
    assert {finding["id"] for finding in listed} <= {item["id"] for item in closed if item["state"] == "closed"}


def test_hostile_names_are_findings_and_shown_escaped(project: ProjectFixture):
    for name in HOSTILE_NAMES:
        send(project, name, "x")
    output = project.run("ingest")
    assert output.code == 75
    check_hostile_output(output.out)
    for name in HOSTILE_NAMES:
        assert escape_text(name) in output.out
        (project.outbox / name).unlink()
    for words in (["quarantine", "list"], ["status"], ["finding", "list"], ["ledger", "tail"]):
        check_hostile_output(project.run(*words).out)
    assert project.run("finding", "list", HOSTILE_NAMES[1]).code == 66
    check_hostile_output(project.run("finding", "list", HOSTILE_NAMES[0]).err)
    assert project.ingest(code=3)["open_findings"] == 0


def test_a_file_deleted_during_an_ingest_is_a_finding_and_the_other_file_is_published(
    project: ProjectFixture,
):
    first = send(project, "medical_claim_2027-02.csv", claims("2027-02"))
    doomed = Path(project.outbox / send(project, "medical_claim_2027-03.csv", claims("2027-03")))
    os.utime(project.outbox / first, (1_700_000_000, 1_700_000_000))

    def delete(stage: str, done: int, total: int) -> None:
        doomed.unlink(missing_ok=True)

    received = run_worker(project.project, "ingest", "clearinghouse", on_progress=delete)
    outcomes = {
        item["name"]: (item["status"], [reason["code"] for reason in item["reasons"]]) for item in received["files"]
    }
    assert outcomes == {first: ("published", []), doomed.name: ("finding", ["file_missing"])}
    assert received["files"][0]["account"]["published"] == LINES


def test_at_the_end_every_account_balances_and_the_ledger_verifies(project: ProjectFixture):
    accounts = project.accounts()
    assert {account["waiting"] for account in accounts.values()} == {0}
    assert sum(account["published"] for account in accounts.values()) == len(
        project.rows("medical_claim", "replay_number")
    ) + len(project.rows("eligibility", "replay_number"))
    assert project.run("ledger", "verify").code == 0
