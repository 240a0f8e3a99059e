"""Each outbox entry is written to the ledger once and contains no personal data."""

from __future__ import annotations

import json
from typing import Any, NamedTuple, cast

import numpy as np
import pytest

from tests.builders.drops import admission_counts
from tests.builders.enclave import ProjectFixture
from tests.builders.originals import contract
from tests.builders.vault_records import part, stored
from wellspring.enclave import outbox
from wellspring.enclave.intake import ProcessedDrop
from wellspring.errors import Unavailable
from wellspring.records.contracts import ContractColumn
from wellspring.records.trust import Entry, IndexedEntry
from wellspring.records.verdict import Reason, Verdict
from wellspring.trust.ledger import journal
from wellspring.trust.vault.postgres_outbox import compute_mac, encode_entry
from wellspring.trust.vault.records import OutboxEntry


def validated(*notes: Reason) -> ProcessedDrop:
    verdict = Verdict(subject="drop:clearinghouse-0", outcome="pass")
    return ProcessedDrop(admission_counts(verdict, received=4), notes, None, None, "d" * 64, np.empty(0, np.int64))


def test_an_admission_names_only_columns_that_the_contract_names() -> None:
    signed = contract(columns=(ContractColumn(name="x", type="string", egress="never", classification="identifier"),))
    note = Reason(code="undeclared_column", message="of Fausto Testperson", column="Fausto Testperson", count=3)
    bom = Reason(code="bom", message="it begins with a byte order mark", count=1)
    ssn = Reason(code="undeclared_column", message="3 values stay, with ssn in 2 rows", column="ssn", count=3)
    fact = outbox.admission_entry(stored(), part(rows=2), signed, validated(note, bom, ssn))
    assert "Fausto" not in json.dumps(fact.facts)
    assert fact.facts["reasons"] == [{"code": "pattern", "column": "x", "count": 2}]
    assert fact.facts["findings"] == [
        {"code": "undeclared_column", "column": None, "count": 3},
        {"code": "bom", "column": None, "count": 1, "message": "it begins with a byte order mark"},
        {"code": "undeclared_column", "column": None, "count": 3, "message": "3 values stay, with ssn in 2 rows"},
    ]
    assert fact.facts["quarantined_rows"] == "d" * 64


def test_a_thousand_reasons_still_fit_one_entry() -> None:
    reasons = tuple(Reason(code="undeclared_column", message="y" * 500, column=f"c{n}", count=n) for n in range(1000))
    fact = outbox.admission_entry(stored(), part(), contract(), validated(*reasons))
    assert len(json.dumps(fact.facts)) < 40_000
    findings = fact.facts["findings"]
    assert isinstance(findings, list)
    assert (len(findings), findings[-1]) == (201, {"code": "others", "column": None, "count": 800})


def test_reasons_and_findings_about_long_names_still_fit_one_entry() -> None:
    names = [f"{number:03d}{'é' * 107}" for number in range(200)]
    columns = tuple(
        ContractColumn(name=name, type="string", egress="never", classification="identifier") for name in names
    )
    reasons = tuple(Reason(code="near_equal", message="of " + name * 2, column=name, count=1) for name in names)
    processed = validated(*reasons)
    admitted = part()
    counts = admitted.counts.model_copy(update={"reasons": reasons})
    fact = outbox.admission_entry(stored(), admitted._replace(counts=counts), contract(columns=columns), processed)
    assert len(json.dumps(fact.facts)) < 60_000
    for listed in (fact.facts["reasons"], fact.facts["findings"]):
        assert isinstance(listed, list)
        assert listed[-1] == {"code": "others", "column": None, "count": 200 - len(listed) + 1}


def insert_row(project: ProjectFixture, entry: OutboxEntry, mac: bytes) -> None:
    """Insert a row as the owner of the database can."""
    with project.store._transaction() as run:
        run.execute("INSERT INTO outbox (key, record, mac) VALUES (%s, %s, %s)", (entry.key, encode_entry(entry), mac))


class Log(NamedTuple):
    """The index of a log with these entries."""

    entries: list[Entry]

    def list_entries(self, *, subject: str, phase: str) -> list[IndexedEntry]:
        numbered = [IndexedEntry(index=number, entry=entry) for number, entry in enumerate(self.entries)]
        return [item for item in numbered if (item.entry.subject, item.entry.phase) == (subject, phase)]


@pytest.mark.live
class TestWithDatabase:
    fact = OutboxEntry("finding/x", "finding", "file:clearinghouse/0", (), (), {"code": "x", "message": "y"})

    def test_pending_outbox_entries_are_written(self, project: ProjectFixture) -> None:
        with project.open_enclave():
            project.store.record_finding(self.fact)
        with project.open_enclave():
            assert project.store.outbox.read_pending_rows().entries == ()
        assert [entry.facts["code"] for entry in project.list_entries("finding")] == ["x"]

    def test_entries_in_the_journal_are_not_written_again(self, project: ProjectFixture) -> None:
        with project.open_enclave():
            project.store.record_finding(self.fact)
            step = project.step
            with step("finding", self.fact.subject, facts=self.fact.facts):
                pass
        with project.open_enclave():
            assert project.store.outbox.read_pending_rows().entries == ()
        assert len(project.list_entries("finding")) == 1

    def test_an_entry_that_only_resembles_it_does_not_count(self, project: ProjectFixture) -> None:
        with project.open_enclave():
            project.store.record_finding(self.fact)
            for subject, code in ((self.fact.subject, "z"), ("file:other/0", "x")):
                with project.step("finding", subject, facts={"code": code, "message": "y"}):
                    pass
        with project.open_enclave():
            pass
        assert len(project.list_entries("finding")) == 3

    def test_without_a_journal_nothing_is_marked_published(self, project: ProjectFixture) -> None:
        with project.open_enclave():
            project.store.record_finding(self.fact)
            project.journal.close()
            with pytest.raises(Unavailable):
                outbox.flush_outbox(
                    project.store,
                    step=project.step,
                    journals=project.folder / ".wellspring/journals",
                    index=project.dependencies.index,
                )
            assert project.store.outbox.read_pending_rows().entries == (self.fact,)

    def test_forged_row_is_never_recorded_and_named_once(self, project: ProjectFixture) -> None:
        forged = OutboxEntry("admit/Fausto", "admit", "drop:clearinghouse-9", (), (), {"admitted": 1_000})
        with project.open_enclave():
            insert_row(project, forged, compute_mac(bytes(32), encode_entry(forged)))
            project.store.record_finding(self.fact)
        for _ in range(2):
            with project.open_enclave() as enclave:
                assert not project.store.outbox.has_pending_rows()
                assert enclave.list_files("clearinghouse") == ()
        assert project.list_entries("admit") == []
        behind, finding = project.list_entries("finding")
        assert behind.subject == self.fact.subject
        assert (finding.subject, finding.facts["code"], finding.facts["count"]) == ("outbox:enclave", "forged_row", 1)
        assert '"code":"mac_wrong"' in finding.model_dump_json()
        assert "Fausto" not in finding.model_dump_json()

    def test_rows_of_a_flood_are_named_in_entries_of_100(self, project: ProjectFixture) -> None:
        with project.open_enclave():
            for number in range(150):
                insert_row(project, self.fact._replace(key=f"finding/{number}"), b"")
        with project.open_enclave():
            assert not project.store.outbox.has_pending_rows()
        assert [entry.facts["count"] for entry in project.list_entries("finding")] == [100, 50]

    def test_row_that_was_sent_back_to_pending_is_not_recorded_again(
        self, project: ProjectFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        project.put("claim_1.csv", "C-1,a,1")
        with project.open_enclave() as enclave:
            enclave.ingest_file("clearinghouse", "claim_1.csv", project.contract().digest)
            self.send_back(project)
        with project.open_enclave():
            assert not project.store.outbox.has_pending_rows()
            recorded = project.list_entries()
            self.send_back(project)
            # As if the journal had only its newest lines: the log has the others.
            monkeypatch.setattr(journal, "first_sequence", lambda *_: len(recorded))
            monkeypatch.setattr(journal, "read_lines", lambda *_: iter(()))
            log = Log(recorded)
            outbox.flush_outbox(project.store, step=project.step, journals=project.folder, index=cast(Any, log))
            assert not project.store.outbox.has_pending_rows()
        monkeypatch.undo()
        assert [entry.action for entry in project.list_entries()] == ["accept", "land", "admit"]

    def send_back(self, project: ProjectFixture) -> None:
        with project.store._transaction() as run:
            run.execute("UPDATE outbox SET published = false")

    def test_without_a_journal_nothing_leaves(self, project: ProjectFixture) -> None:
        project.put("claim_1.csv", "C-1,a,1")
        with project.open_enclave() as enclave:
            project.journal.close()
            with pytest.raises(Unavailable):
                enclave.ingest_file("clearinghouse", "claim_1.csv", project.contract().digest)
        with project.open_enclave() as enclave:
            assert enclave.ingest_file("clearinghouse", "claim_1.csv", project.contract().digest).counts.admitted == 1
        assert [entry.action for entry in project.list_entries()] == ["accept", "land", "admit"]
