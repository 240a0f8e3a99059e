"""The reason of an act is short, can be shown, and names no person."""

from __future__ import annotations

from typing import Any, cast

import pytest

from tests.builders.pii import SCANNER
from wellspring.errors import Refused
from wellspring.workflows import reasons
from wellspring.workflows.reasons import check_reason, require_reason


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("x" * 201, "more than 200 characters"),
        ("\x1b[2J", "cannot be shown"),
        ("ask ada.lovelace@mail.example", "personal data"),
        (" ", "no reason"),
    ],
)
def test_a_reason_that_the_ledger_should_not_keep_is_refused(
    reason: str, message: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(reasons, "load_scanner", lambda project: SCANNER)
    with pytest.raises(Refused, match=message):
        require_reason(cast(Any, None), reason)


def test_a_plain_reason_is_accepted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reasons, "load_scanner", lambda project: SCANNER)
    require_reason(cast(Any, None), "the vendor sent a test file")
    check_reason(cast(Any, None), "")
