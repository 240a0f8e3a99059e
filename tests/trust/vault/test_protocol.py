"""Frames come out as they went in, and bytes that are none are refused."""

from __future__ import annotations

import io
import json
import os
import socket
import threading
import tracemalloc
from collections.abc import Iterator

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders.drops import admission_counts
from tests.builders.vault_messages import DROP
from wellspring.errors import ERRORS_BY_SLUG, CorruptedError, Refused, Unavailable, WellspringError, decode_error
from wellspring.records.ingestion import AdmissionResult
from wellspring.records.verdict import Reason, Verdict
from wellspring.trust.vault import protocol


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    own_value, their_value = socket.socketpair()
    for item in (own_value, their_value):
        item.settimeout(5)
    with own_value, their_value:
        yield own_value, their_value


def test_a_frame_and_its_table_come_out_as_they_went_in(pair: tuple[socket.socket, socket.socket]) -> None:
    content = os.urandom(3 << 20)
    message: protocol.FrameMessage = {"kind": "done", "value": {"ä": [1, None, "x"]}, "arrow_bytes": len(content)}
    sending = threading.Thread(target=protocol.send_frame, args=(pair[0], message, io.BytesIO(content)))
    sending.start()
    assert protocol.receive_frame(pair[1], limit=1000) == message
    payload = protocol.PayloadStream(pair[1], protocol.payload_length(message))
    assert payload.read(10) + payload.read() == content
    assert (payload.read(1), payload.remaining) == (b"", 0)
    sending.join()
    pair[0].close()
    assert protocol.receive_frame(pair[1], limit=1000) is None


@settings(max_examples=200)
@given(st.binary(max_size=300))
def test_malformed_frame_is_refused_or_unavailable(content: bytes) -> None:
    own_value, their_value = socket.socketpair()
    with own_value, their_value:
        own_value.sendall(content)
        own_value.shutdown(socket.SHUT_WR)
        their_value.settimeout(5)
        try:
            message = protocol.receive_frame(their_value, limit=200)
        except (Refused, Unavailable):
            return
        assert message is None or isinstance(message, dict)


@pytest.mark.parametrize(
    "content",
    [b"[1]", b"7", b"null", b"", b"{", b'{"a":1}x', b"\xff\xfe", b"[" * 60000],
    ids=["list", "number", "null", "empty", "open", "tail", "bytes", "deep"],
)
def test_what_is_no_object_is_refused(pair: tuple[socket.socket, socket.socket], content: bytes) -> None:
    pair[0].sendall(len(content).to_bytes(4, "big") + content)
    with pytest.raises(Refused):
        protocol.receive_frame(pair[1], limit=protocol.REQUEST_LIMIT)


def test_a_frame_beyond_the_limit_is_refused_unread(pair: tuple[socket.socket, socket.socket]) -> None:
    pair[0].sendall(b"\xff\xff\xff\xff")
    with pytest.raises(Refused, match="more than"):
        protocol.receive_frame(pair[1], limit=protocol.REQUEST_LIMIT)
    for length in (-1, protocol.TABLE_LIMIT + 1, True, "7"):
        with pytest.raises(Refused):
            protocol.payload_length({"kind": "done", "arrow_bytes": length})


def test_a_frame_that_breaks_off_is_unavailable(pair: tuple[socket.socket, socket.socket]) -> None:
    pair[0].sendall((100).to_bytes(4, "big") + b'{"a"')
    pair[0].close()
    with pytest.raises(Unavailable):
        protocol.receive_frame(pair[1], limit=1000)


@pytest.mark.parametrize("kind", ERRORS_BY_SLUG.values())
def test_an_error_keeps_its_kind_and_words(kind: type[WellspringError]) -> None:
    target = decode_error(json.loads(json.dumps(protocol.encode_error(kind("what", fix="fix")))))
    assert (type(target), target.what, target.fix) == (kind, "what", "fix")


def test_a_refusal_keeps_its_verdict() -> None:
    reason = Reason(code="still_writing", message="it changed", column="x", count=2)
    verdict = Verdict(subject="source:x", outcome="inconclusive", reasons=(reason,))
    target = decode_error(json.loads(json.dumps(protocol.encode_error(Refused("what", fix="fix", verdict=verdict)))))
    assert isinstance(target, Refused)
    assert target.verdict == verdict


def test_unknown_error_slug_decodes_as_wellspring_error() -> None:
    assert type(decode_error({"kind": "error", "slug": "new"})) is WellspringError
    assert type(decode_error(protocol.encode_error(CorruptedError("x", fix="y")))) is CorruptedError


TABLE = pa.table({"token": ["a", None], "amount": pa.array([1, 2], pa.int64()), "row_number": [1, 3]})


def sent_rows(content: bytes, *, claimed: int | None = None) -> pa.RecordBatchReader:
    """Return the reader of rows whose bytes a peer sends before it closes its connection."""
    own_value, their_value = socket.socketpair()
    own_value.settimeout(5)
    sending = threading.Thread(target=lambda: (their_value.sendall(content), their_value.close()))
    sending.start()
    length = len(content) if claimed is None else claimed
    return protocol.receive_rows(protocol.PayloadStream(own_value, length, owns_connection=True))


def encoded(table: pa.Table) -> bytes:
    return protocol.spool_rows(table.to_reader(), io.BytesIO()).read()


def test_rows_are_received_batch_by_batch(pair: tuple[socket.socket, socket.socket]) -> None:
    batches = [pa.record_batch({"row_number": [number] * 1000}) for number in range(50)]
    content = encoded(pa.Table.from_batches(batches))
    payload = protocol.PayloadStream(pair[1], len(content))
    sending = threading.Thread(target=pair[0].sendall, args=(content,))
    sending.start()
    rows = protocol.receive_rows(payload)
    assert rows.read_next_batch().equals(batches[0])
    assert payload.remaining > len(content) * 0.9
    assert list(rows) == batches[1:]
    assert payload.remaining == 0
    sending.join()


@pytest.mark.parametrize("stopped", [False, True])
def test_an_admission_result_is_decoded_as_it_was_encoded(stopped: bool) -> None:
    reasons = (Reason(code="pattern", message="wrong", column="x", count=1),)
    verdict = Verdict(subject="drop:clearinghouse-0", outcome="fail" if stopped else "pass", reasons=reasons)
    counts = admission_counts(verdict, admitted=2, quarantined=1, reasons=reasons, rows_digest="2" * 64)
    intake = AdmissionResult(DROP, counts, None if stopped else TABLE.to_reader())
    value, payload = protocol.encode_admission(intake)
    rows = None if payload is None else pa.ipc.open_stream(payload)
    target = protocol.decode_admission(json.loads(json.dumps(value)), rows)
    assert (target.drop, target.counts) == (DROP, counts)
    assert (target.rows is None) == stopped
    assert target.rows is None or target.rows.read_all().equals(TABLE)


def test_a_table_without_rows_is_still_a_table() -> None:
    rows = sent_rows(encoded(TABLE.slice(0, 0)))
    assert (rows.schema, rows.read_all().num_rows) == (TABLE.schema, 0)


def test_rows_that_break_off_are_unavailable_and_other_bytes_are_refused() -> None:
    content = encoded(TABLE)
    with pytest.raises(Unavailable, match="closed within a table"):
        sent_rows(content[:-20], claimed=len(content)).read_all()
    with pytest.raises(Refused, match="not an Arrow stream"):
        sent_rows(os.urandom(100)).read_all()
    with pytest.raises(Refused, match="shorter"):
        sent_rows(content + b"more").read_all()


def test_text_that_is_not_unicode_is_refused() -> None:
    text = pa.StringArray.from_buffers(1, pa.py_buffer(bytes([0, 0, 0, 0, 1, 0, 0, 0])), pa.py_buffer(b"\xff"))
    with pytest.raises(Refused, match="not an Arrow stream"):
        sent_rows(encoded(pa.table({"a": text}))).read_all()


def test_memory_does_not_grow_with_the_length_in_a_frame() -> None:
    tracemalloc.start()
    with pytest.raises(Unavailable):
        sent_rows(encoded(TABLE)[:-30], claimed=protocol.TABLE_LIMIT).read_all()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20


def test_a_reader_that_is_dropped_closes_its_connection() -> None:
    own_value, their_value = socket.socketpair()
    their_value.settimeout(5)
    content = encoded(TABLE)
    with their_value:
        their_value.sendall(content)
        rows = protocol.receive_rows(protocol.PayloadStream(own_value, len(content), owns_connection=True))
        del rows
        assert own_value.fileno() == -1
