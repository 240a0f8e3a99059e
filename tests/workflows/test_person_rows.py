"""The backfill of person rows asks the enclave for one drop after the other."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from wellspring.errors import Unavailable
from wellspring.records.ingestion import PersonCounts
from wellspring.workflows.person_rows import backfill_person_rows


class Enclave:
    """An enclave with drops to read. fails_at: the drop at which it is lost, once."""

    def __init__(self, *drops: str, fails_at: str = "") -> None:
        self.unread = list(drops)
        self.rows: dict[str, int] = {}
        self.fails_at = fails_at

    def count_persons(self) -> PersonCounts:
        return PersonCounts(rows=self.rows, unread_drops=tuple(self.unread))

    def backfill_drop(self, drop: str) -> int:
        if drop == self.fails_at:
            self.fails_at = ""
            raise Unavailable("the enclave is gone", fix="try again")
        self.unread.remove(drop)
        self.rows["person"] = self.rows.get("person", 0) + 2
        return 2


def test_each_unread_drop_is_read_and_an_interrupted_run_goes_on():
    enclave = Enclave("d1", "d2", fails_at="d2")
    platform = cast(Any, SimpleNamespace(vault=enclave))
    with pytest.raises(Unavailable):
        backfill_person_rows(platform)
    reported: list[tuple[str, int, int]] = []
    result = backfill_person_rows(platform, progress=lambda *step: reported.append(step))
    assert (result.drops, result.rows) == ({"d2": 2}, {"person": 4})
    assert reported == [("backfill", 0, 1)]
    assert backfill_person_rows(platform).drops == {}
