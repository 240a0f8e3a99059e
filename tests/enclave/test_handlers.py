"""Requests become calls and results become frames; break-glass operations are refused and recorded."""

from __future__ import annotations

import io
import json
from typing import Any

import pyarrow as pa
import pytest

from tests.builders.drops import admission_counts
from tests.builders.recording_step import RecordingStep
from tests.builders.vault_messages import DROP, NOON
from wellspring.enclave.handlers import BREAK_GLASS_OPERATIONS, admission_handlers, intake_handlers, vault_handlers
from wellspring.errors import Refused
from wellspring.records.contracts import ContractReview
from wellspring.records.ingestion import AdmissionResult, PersonCounts, QuarantineCount, QuarantinedRow, SourceFile
from wellspring.records.user_notes import UserNote
from wellspring.records.verdict import Verdict
from wellspring.trust.vault import protocol
from wellspring.trust.vault.port import ProgressCallback

KEYS = pa.table({"claim_id": ["token-1", "token-2"]})


class Canned:
    """An intake service with constant results that records its calls."""

    def __init__(self) -> None:
        self.requests: list[tuple[object, ...]] = []
        self.known_rows: pa.Table | None = None
        self.stopped = AdmissionResult(
            DROP, admission_counts(Verdict(subject=DROP.subject, outcome="fail"), received=3), None
        )

    def list_files(self, source: str) -> tuple[SourceFile, ...]:
        self.requests.append(("list_files", source))
        return (SourceFile(source=source, name="a.csv", size=4, modified=NOON, state="new"),)

    def read_file_keys(
        self, source: str, name: str, contract_digest: str, *, progress: ProgressCallback | None = None
    ) -> pa.RecordBatchReader | None:
        self.requests.append(("read_file_keys", source, name, contract_digest))
        return KEYS.to_reader()

    def ingest_file(
        self,
        source: str,
        name: str,
        contract_digest: str,
        *,
        known_rows: pa.Table | None = None,
        progress: ProgressCallback | None = None,
    ) -> AdmissionResult:
        self.requests.append(("ingest_file", source, name, contract_digest))
        self.known_rows = known_rows
        return self.stopped

    def withdraw_drop(self, drop: str, note: UserNote, reason: str) -> None:
        self.requests.append(("withdraw_drop", drop, note, reason))

    def check_rejudge(self, drop: str, contract_digest: str) -> None:
        self.requests.append(("check_rejudge", drop, contract_digest))

    def rejudge_drop(self, drop: str, contract_digest: str, note: UserNote | None, reason: str) -> None:
        self.requests.append(("rejudge_drop", drop, contract_digest, note, reason))

    def discard_quarantined(self, drop: str, note: UserNote, reason: str) -> int:
        self.requests.append(("discard_quarantined", drop, note, reason))
        return 3

    def read_quarantined_keys(
        self, drop: str, contract_digest: str, *, progress: ProgressCallback | None = None
    ) -> pa.RecordBatchReader | None:
        self.requests.append(("read_quarantined_keys", drop, contract_digest))
        return None

    def replay_quarantined(
        self,
        drop: str,
        contract_digest: str,
        *,
        known_rows: pa.Table | None = None,
        progress: ProgressCallback | None = None,
    ) -> AdmissionResult:
        self.requests.append(("replay_quarantined", drop, contract_digest))
        self.known_rows = known_rows
        return self.stopped

    def confirm_published(self, drop: str, replay_number: int) -> None:
        self.requests.append(("confirm_published", drop, replay_number))

    def count_quarantined(self, drop: str | None = None) -> tuple[QuarantineCount, ...]:
        self.requests.append(("count_quarantined", drop))
        return (QuarantineCount(drop="d", rows=3, reasons={"enum": 3}, expires_at=NOON),)

    def list_quarantined(self, drop: str | None = None) -> tuple[QuarantinedRow, ...]:
        self.requests.append(("list_quarantined", drop))
        return (QuarantinedRow(drop="d", row_number=3, reasons=(), values={"x": "***"}, expires_at=NOON),)

    def review_contract(self, digest: str) -> ContractReview:
        self.requests.append(("review_contract", digest))
        return ContractReview(
            name="claim",
            version="1.1.0",
            digest="1" * 64,
            replaced_version="1.0.0",
            effect="compatible",
            changes=("compatible: there is a new rule",),
            exceptions=(),
        )

    def accept_contract(self, release: str) -> None:
        self.requests.append(("accept_contract", release))

    def count_persons(self) -> PersonCounts:
        self.requests.append(("count_persons",))
        return PersonCounts(rows={"person": 3}, unread_drops=("d",))

    def backfill_drop(self, drop: str, *, progress: ProgressCallback | None = None) -> int:
        self.requests.append(("backfill_drop", drop))
        return 3


def call_handler(vault: Canned, request: protocol.FrameMessage, known_rows: pa.Table | None = None) -> Any:
    """Call the handler of a request, with the rows that it carries."""
    name, plain = str(request["op"]), intake_handlers(vault, io.BytesIO)
    if name in plain:
        return plain[name](request, quiet)
    rows = None if known_rows is None else known_rows.to_reader()
    return admission_handlers(vault, io.BytesIO)[name](request, quiet, rows)


def quiet(stage: str, done: int, total: int) -> None:
    return None


REQUESTS: list[tuple[protocol.FrameMessage, tuple[object, ...]]] = [
    ({"op": "list_files", "source": "s"}, ("list_files", "s")),
    ({"op": "read_file_keys", "source": "s", "name": "n", "contract_digest": "c"}, ("read_file_keys", "s", "n", "c")),
    ({"op": "read_quarantined_keys", "drop": "d", "contract_digest": "c"}, ("read_quarantined_keys", "d", "c")),
    ({"op": "ingest_file", "source": "s", "name": "n", "contract_digest": "c"}, ("ingest_file", "s", "n", "c")),
    ({"op": "replay_quarantined", "drop": "d", "contract_digest": "c"}, ("replay_quarantined", "d", "c")),
    ({"op": "confirm_published", "drop": "d", "replay_number": 2}, ("confirm_published", "d", 2)),
    ({"op": "count_quarantined", "drop": None}, ("count_quarantined", None)),
    ({"op": "count_quarantined", "drop": "d"}, ("count_quarantined", "d")),
    ({"op": "list_quarantined", "drop": None}, ("list_quarantined", None)),
    ({"op": "list_quarantined", "drop": "d"}, ("list_quarantined", "d")),
    ({"op": "review_contract", "digest": "c"}, ("review_contract", "c")),
    ({"op": "accept_contract", "release": "r"}, ("accept_contract", "r")),
    ({"op": "count_persons"}, ("count_persons",)),
    ({"op": "backfill_drop", "drop": "d"}, ("backfill_drop", "d")),
]


@pytest.mark.parametrize(("request_", "call"), REQUESTS)
def test_a_request_becomes_its_call(request_: protocol.FrameMessage, call: tuple[object, ...]) -> None:
    vault = Canned()
    value, _ = call_handler(vault, request_)
    assert vault.requests == [call]
    json.dumps(value)


@pytest.mark.parametrize(
    "request_",
    [
        {"op": "confirm_published", "drop": "d", "replay_number": "2"},
        {"op": "confirm_published", "drop": "d", "replay_number": True},
        {"op": "confirm_published", "drop": "d", "replay_number": -1},
        {"op": "confirm_published", "drop": "d", "replay_number": 1 << 40},
        {"op": "ingest_file", "source": "s", "name": 7, "contract_digest": "c"},
        {"op": "list_quarantined", "drop": ["d"]},
    ],
)
def test_a_field_of_another_kind_is_refused(request_: protocol.FrameMessage) -> None:
    vault = Canned()
    with pytest.raises(Refused):
        call_handler(vault, request_)
    assert vault.requests == []


def test_intake_socket_answers_ping() -> None:
    assert call_handler(Canned(), {"op": "ping"}) == ("pong", None)


def test_keys_leave_and_known_rows_arrive_as_arrow() -> None:
    vault = Canned()
    _, payload = call_handler(vault, {"op": "read_file_keys", "source": "s", "name": "n", "contract_digest": "c"})
    assert pa.ipc.open_stream(payload).read_all().equals(KEYS)
    call_handler(vault, {"op": "replay_quarantined", "drop": "d", "contract_digest": "c"}, KEYS)
    assert vault.known_rows is not None
    assert vault.known_rows.equals(KEYS)


@pytest.mark.parametrize("grant", BREAK_GLASS_OPERATIONS)
def test_break_glass_operation_is_refused_and_recorded(grant: str) -> None:
    step = RecordingStep()
    with pytest.raises(Refused, match="break-glass access is not implemented"):
        vault_handlers(step)[grant]({"op": grant, "domain": "ssn", "value": "900-12-3456"}, quiet)
    (entry,) = step.entries
    assert (entry.action, entry.phase, entry.subject) == (grant, "refused", "server:vault")
    assert "900-12-3456" not in entry.model_dump_json()


def test_sockets_share_no_operation() -> None:
    intake = {*intake_handlers(Canned(), io.BytesIO), *admission_handlers(Canned(), io.BytesIO)}
    assert not intake & set(vault_handlers(RecordingStep()))
