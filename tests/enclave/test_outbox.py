"""Each fact is told once, and says nothing of a person."""

from __future__ import annotations

import hashlib
import json

import pytest

from tests.builders.enclave import House
from tests.data.intake.test_originals import contract
from tests.trust.vault.test_postgres import kept, part
from wellspring.enclave import outbox
from wellspring.enclave.intake import ProcessedDrop, QuarantineReason
from wellspring.errors import Unavailable
from wellspring.records.data import ContractColumn
from wellspring.records.verdict import Reason, Verdict
from wellspring.trust.vault.records import OutboxEntry


def judged(*notes: Reason) -> ProcessedDrop:
    held = QuarantineReason((Reason(code="pattern", message="it is wrong", column="x"),), None, {"x": "***"})
    verdict = Verdict(subject="drop:clearinghouse-0", outcome="pass")
    return ProcessedDrop(verdict, 4, 0, (), notes, None, "", {7: held, 2: held})


def test_an_admission_names_only_columns_that_the_contract_names() -> None:
    promised = contract(columns=(ContractColumn(name="x", type="string", egress="never", classification="identifier"),))
    note = Reason(code="undeclared_column", message="of Fausto Testperson", column="Fausto Testperson", count=3)
    fact = outbox.admission_entry(kept(), part(rows=2), promised, judged(note))
    assert "Fausto" not in json.dumps(fact.facts)
    assert fact.facts["reasons"] == [{"code": "pattern", "column": "x", "count": 2}]
    assert fact.facts["findings"] == [{"code": "undeclared_column", "column": None, "count": 3}]
    assert fact.facts["quarantined_rows"] == hashlib.sha256(b"[2,7]").hexdigest()


def test_a_thousand_reasons_still_fit_one_entry() -> None:
    reasons = tuple(Reason(code="undeclared_column", message="x", column=f"c{n}", count=n) for n in range(1000))
    fact = outbox.admission_entry(kept(), part(), contract(), judged(*reasons))
    assert len(json.dumps(fact.facts)) < 32_000


@pytest.mark.live
class TestOnAHouse:
    fact = OutboxEntry("finding/x", "finding", "file:clearinghouse/0", (), (), {"code": "x", "message": "y"})

    def test_what_was_never_told_is_told(self, house: House) -> None:
        with house.opened():
            house.store.record_finding(self.fact)
        with house.opened():
            assert house.store.list_pending_entries() == ()
        assert [entry.facts["code"] for entry in house.list_entries("finding")] == ["x"]

    def test_what_stands_in_the_journal_is_not_told_again(self, house: House) -> None:
        with house.opened():
            house.store.record_finding(self.fact)
            step = house.step
            with step("finding", self.fact.subject, facts=self.fact.facts):
                pass
        with house.opened():
            assert house.store.list_pending_entries() == ()
        assert len(house.list_entries("finding")) == 1

    def test_an_entry_that_only_resembles_it_does_not_count(self, house: House) -> None:
        with house.opened():
            house.store.record_finding(self.fact)
            for subject, code in ((self.fact.subject, "z"), ("file:other/0", "x")):
                with house.step("finding", subject, facts={"code": code, "message": "y"}):
                    pass
        with house.opened():
            pass
        assert len(house.list_entries("finding")) == 3

    def test_without_a_journal_nothing_is_marked_as_told(self, house: House) -> None:
        with house.opened():
            house.store.record_finding(self.fact)
            house.journal.close()
            with pytest.raises(Unavailable):
                outbox.flush_outbox(house.store, step=house.step, journals=house.folder / ".wellspring/journals")
            assert house.store.list_pending_entries() == (self.fact,)

    def test_without_a_journal_nothing_leaves(self, house: House) -> None:
        house.put("claim_1.csv", "C-1,a,1")
        with house.opened() as enclave:
            house.journal.close()
            with pytest.raises(Unavailable):
                enclave.ingest_file("clearinghouse", "claim_1.csv", house.contract().digest)
        with house.opened() as enclave:
            assert enclave.ingest_file("clearinghouse", "claim_1.csv", house.contract().digest).admitted == 1
        assert [entry.action for entry in house.list_entries()] == ["accept", "land", "admit"]
