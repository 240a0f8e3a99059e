"""Frames come out as they went in, and bytes that are none are refused."""

from __future__ import annotations

import json
import os
import socket
import threading
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
    sending = threading.Thread(target=protocol.send_frame, args=(pair[0], message, content))
    sending.start()
    assert protocol.receive_frame(pair[1], limit=1000) == message
    assert protocol.receive_payload(pair[1], len(content)) == content
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
    for length in (-1, protocol.TABLE_LIMIT + 1):
        with pytest.raises(Refused):
            protocol.receive_payload(pair[1], length)


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


@pytest.mark.parametrize("stopped", [False, True])
def test_an_admission_result_is_decoded_as_it_was_encoded(stopped: bool) -> None:
    table = pa.table({"token": ["a", None], "amount": pa.array([1, 2], pa.int64()), "row_number": [1, 3]})
    reasons = (Reason(code="pattern", message="wrong", column="x", count=1),)
    verdict = Verdict(subject="drop:clearinghouse-0", outcome="fail" if stopped else "pass", reasons=reasons)
    counts = admission_counts(verdict, admitted=2, quarantined=1, reasons=reasons, rows_digest="2" * 64)
    intake = AdmissionResult(DROP, counts, None if stopped else table)
    value, arrow = protocol.encode_admission(intake)
    target = protocol.decode_admission(json.loads(json.dumps(value)), bytes(arrow))
    assert target == intake


def test_a_table_without_rows_is_still_a_table() -> None:
    table = pa.table({"row_number": pa.array([], pa.int64())})
    verdict = Verdict(subject="drop:clearinghouse-0", outcome="pass")
    value, arrow = protocol.encode_admission(AdmissionResult(DROP, admission_counts(verdict), table))
    target = protocol.decode_admission(value, bytes(arrow)).table
    assert target is not None
    assert target.schema == table.schema
