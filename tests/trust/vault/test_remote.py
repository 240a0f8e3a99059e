"""The client of the enclave's intake socket: requests, responses, and errors when nothing answers."""

from __future__ import annotations

import io
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pytest

from tests.builders import drops
from tests.builders.drops import admission_counts
from tests.builders.sockets import own_server
from tests.builders.vault_messages import DROP, NOON
from wellspring.errors import CorruptedError, NotFound, Refused, Unavailable, WellspringError
from wellspring.records.ingestion import AdmissionResult, PersonCounts, QuarantinedRow, SourceFile
from wellspring.records.verdict import Verdict
from wellspring.trust.vault import protocol
from wellspring.trust.vault.remote import EnclaveClient

Serve = Callable[[Callable[[socket.socket, protocol.FrameMessage], None]], EnclaveClient]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Answer one connection with the response of the test."""
    with tempfile.TemporaryDirectory(prefix="ws-") as folder, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{folder}/intake.sock")
        listener.listen()
        threads: list[threading.Thread] = []

        def start(answer: Callable[[socket.socket, protocol.FrameMessage], None]) -> EnclaveClient:
            def run() -> None:
                connection, _ = listener.accept()
                with connection:
                    request = protocol.receive_frame(connection, limit=protocol.REQUEST_LIMIT)
                    assert request is not None
                    answer(connection, request)

            threads.append(threading.Thread(target=run))
            threads[-1].start()
            return EnclaveClient(own_server(Path(folder) / "intake.sock"), idle_timeout=5)

        yield start
        for thread in threads:
            thread.join(5)


def done(connection: socket.socket, value: object, payload: BinaryIO | None = None) -> None:
    protocol.send_frame(connection, {"kind": "done", "value": value}, payload)  # type: ignore[dict-item]


def test_each_call_sends_its_op_and_reads_its_response(serve: Serve) -> None:
    requests: list[protocol.FrameMessage] = []
    listed = SourceFile(source="clearinghouse", name="a.csv", size=4, modified=NOON, state="new")
    row = QuarantinedRow(drop="clearinghouse-0", row_number=3, reasons=(), values={"x": "***"}, expires_at=NOON)
    intake = AdmissionResult(DROP, admission_counts(Verdict(subject=DROP.subject, outcome="fail"), received=3), None)

    def answering(value: object) -> Callable[[socket.socket, protocol.FrameMessage], None]:
        def answer(connection: socket.socket, request: protocol.FrameMessage) -> None:
            requests.append(request)
            done(connection, value)

        return answer

    assert serve(answering([listed.model_dump(mode="json")])).list_files("clearinghouse") == (listed,)
    assert (
        serve(answering(protocol.encode_admission(intake)[0])).ingest_file("clearinghouse", "a.csv", "1" * 64) == intake
    )
    assert (
        serve(answering(protocol.encode_admission(intake)[0])).replay_quarantined("clearinghouse-0", "1" * 64) == intake
    )
    serve(answering(None)).confirm_published("clearinghouse-0", 2)
    assert serve(answering([row.model_dump(mode="json")])).list_quarantined() == (row,)
    counts = PersonCounts(rows={"person": 3}, unread_drops=("clearinghouse-0",))
    assert serve(answering(counts.model_dump(mode="json"))).count_persons() == counts
    assert serve(answering(3)).backfill_drop("clearinghouse-0") == 3
    assert serve(answering(["t1", "t2"])).tokenize_values("claim", ("A", "B"), purpose="claim_review") == ("t1", "t2")
    assert requests == [
        {"op": "list_files", "source": "clearinghouse"},
        {"op": "ingest_file", "source": "clearinghouse", "name": "a.csv", "contract_digest": "1" * 64},
        {"op": "replay_quarantined", "drop": "clearinghouse-0", "contract_digest": "1" * 64},
        {"op": "confirm_published", "drop": "clearinghouse-0", "replay_number": 2},
        {"op": "list_quarantined", "drop": None},
        {"op": "count_persons"},
        {"op": "backfill_drop", "drop": "clearinghouse-0"},
        {"op": "tokenize", "domain": "claim", "values": ["A", "B"], "purpose": "claim_review", "conversation_id": None},
    ]


def test_rows_are_received_while_they_are_read(serve: Serve) -> None:
    table = drops.rows(5000)

    def answer(connection: socket.socket, _request: protocol.FrameMessage) -> None:
        done(connection, *protocol.encode_admission(drops.intake("a.csv", drops.contract(), table)))

    admission = serve(answer).ingest_file("clearinghouse", "a.csv", "1" * 64)
    assert admission.rows is not None
    assert [batch.num_rows for batch in admission.rows] == [1000] * 5


def test_a_request_can_carry_rows(serve: Serve) -> None:
    received: list[pa.Table] = []

    def answer(connection: socket.socket, request: protocol.FrameMessage) -> None:
        payload = protocol.PayloadStream(connection, protocol.payload_length(request))
        received.append(protocol.receive_rows(payload).read_all())
        done(connection, "ok")

    payload = protocol.spool_rows(drops.rows(3).to_reader(), io.BytesIO())
    assert serve(answer)._call({"op": "find"}, payload=payload) == ("ok", None)
    assert received == [drops.rows(3)]


def test_progress_is_reported(serve: Serve) -> None:
    def answer(connection: socket.socket, request: protocol.FrameMessage) -> None:
        protocol.send_frame(connection, {"kind": "progress", "stage": "fetch", "done": 1, "total": 2})
        protocol.send_frame(connection, {"kind": "progress", "stage": "validate", "done": 2, "total": 2})
        done(connection, [])

    vault = serve(answer)
    observed: list[tuple[str, int, int]] = []
    vault._call({"op": "list_files"}, lambda *result: observed.append(result))
    assert observed == [("fetch", 1, 2), ("validate", 2, 2)]


@pytest.mark.parametrize("error", [Refused("w", fix="f"), NotFound("w", fix="f"), CorruptedError("w", fix="f")])
def test_an_error_comes_back_as_itself(serve: Serve, error: WellspringError) -> None:
    vault = serve(lambda connection, _: protocol.send_frame(connection, protocol.encode_error(error)))
    with pytest.raises(type(error), match="w"):
        vault.confirm_published("clearinghouse-0", 1)


def test_an_enclave_that_dies_is_unavailable(serve: Serve) -> None:
    with pytest.raises(Unavailable, match="without a response"):
        serve(lambda connection, _: None).list_files("clearinghouse")
    with pytest.raises(Unavailable):
        serve(lambda connection, _: connection.sendall(b"\0\0")).list_files("clearinghouse")


def test_no_enclave_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="does not respond"):
        EnclaveClient(own_server(tmp_path / "intake.sock")).list_files("clearinghouse")
