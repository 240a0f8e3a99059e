"""Which drops hold back the set of a source, from the entries of the ledger; test_ingest.py tests whole runs."""

from __future__ import annotations

from typing import Any

from tests.builders.entry_index import Index
from tests.builders.recording_step import RecordingStep
from wellspring.records.trust import Ref
from wellspring.workflows.stopped_drops import find_stopped_drops


class Entries:
    """The entries of drops of one vendor."""

    def __init__(self) -> None:
        self.step = RecordingStep()
        self.index: Any = Index(self.step)

    def admit(self, drop: str, outcome: str, *, admitted: int = 0, source: str = "vendor") -> None:
        with self.step("land", f"drop:{drop}", inputs=[Ref(name=f"source:{source}/{drop}")], facts={"contract": "a"}):
            pass
        facts: dict[str, Any] = {"replay_number": 0, "outcome": outcome, "admitted": admitted}
        with self.step("admit", f"drop:{drop}", facts=facts):
            pass

    def alert(self, drop: str) -> None:
        with self.step("alert", f"drop:{drop}"):
            pass


def test_a_rejected_drop_is_stopped_until_a_later_good_one_of_its_contract():
    entries = Entries()
    entries.admit("bad", "fail")
    entries.admit("same run", "pass", admitted=3)
    entries.alert("bad")
    assert find_stopped_drops(entries.index, "vendor") == {"bad": "a"}
    entries.admit("without rows", "pass")
    assert find_stopped_drops(entries.index, "vendor") == {"bad": "a"}
    entries.admit("good", "pass", admitted=3)
    assert find_stopped_drops(entries.index, "vendor") == {}


def test_a_drop_of_another_source_is_not_stopped_here():
    entries = Entries()
    entries.admit("bad", "fail", source="lab")
    assert find_stopped_drops(entries.index, "vendor") == {}
    assert find_stopped_drops(entries.index, "lab") == {"bad": "a"}
