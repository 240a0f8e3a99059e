"""Rows of a request are integers and short names, uncompressed: few bytes never become gigabytes in the enclave."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Iterator

import pyarrow as pa
import pytest

from tests.builders.contracts import column, contract
from wellspring.data.intake.known_rows import summarize_known_rows
from wellspring.errors import Refused, Unavailable
from wellspring.trust.vault import request_rows
from wellspring.trust.vault.protocol import PayloadStream
from wellspring.trust.vault.request_rows import receive_request_rows

CONTRACT = contract(column("id", egress="token", domain="claim", required=True), column("amount", "int64"), key=("id",))


def summarize(rows: int, drop: str = "clearinghouse-0123456789ab") -> pa.Table:
    batches = [
        pa.record_batch({"id": [f"tok{number}"], "amount": [number], "drop_id": [f"{drop}{number % 3}"]})
        for number in range(rows)
    ]
    return summarize_known_rows(CONTRACT, batches)


def encode(table: pa.Table, compression: str | None = None) -> bytes:
    file = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression=compression, emit_dictionary_deltas=True)
    with pa.ipc.new_stream(file, table.schema, options=options) as writer:
        writer.write_table(table)
    return file.getvalue()


@pytest.fixture
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = socket.socketpair()
    with near, far:
        yield near, far


def receive(sockets: tuple[socket.socket, socket.socket], content: bytes, *, length: int | None = None) -> pa.Table:
    near, far = sockets

    def send() -> None:
        try:
            near.sendall(content)
        except OSError:
            return
        near.shutdown(socket.SHUT_WR)

    sending = threading.Thread(target=send)
    sending.start()
    try:
        return receive_request_rows(PayloadStream(far, len(content) if length is None else length)).read_all()
    finally:
        far.close()
        sending.join()


@pytest.mark.parametrize("rows", [0, 1, 50])
def test_summary_of_known_rows_is_received(sockets: tuple[socket.socket, socket.socket], rows: int):
    table = summarize(rows)
    received = receive(sockets, encode(table))
    assert received.equals(table)
    assert received.schema.metadata == table.schema.metadata


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_compressed_rows_are_refused(sockets: tuple[socket.socket, socket.socket], compression: str):
    with pytest.raises(Refused, match="compressed"):
        receive(sockets, encode(summarize(1), compression))


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        (pa.table({"key": pa.array([1]), "drop_id": pa.array(["x" * 300]).dictionary_encode()}), "more than 256 bytes"),
        (pa.table({"key": pa.nulls(1 << 20)}), "other columns"),
        (pa.table({"key": pa.array(["a"])}), "other columns"),
        (pa.table({"key": pa.array([[1]])}), "other columns"),
        (pa.table({"key": pa.array([1.5])}), "other columns"),
        (pa.table({f"c{number}": pa.array([1]) for number in range(9)}), "other columns"),
    ],
)
def test_other_rows_than_hashes_and_short_names_are_refused(
    sockets: tuple[socket.socket, socket.socket], table: pa.Table, reason: str
):
    with pytest.raises(Refused, match=reason):
        receive(sockets, encode(table))


def test_more_bytes_than_the_limit_are_refused_unread(
    sockets: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
):
    content = encode(summarize(3))
    monkeypatch.setattr(request_rows, "MAX_REQUEST_BYTES", len(content) - 1)
    with pytest.raises(Refused, match="more than"):
        receive(sockets, content)


def test_bytes_that_are_not_arrow_are_refused(sockets: tuple[socket.socket, socket.socket]):
    with pytest.raises(Refused, match="not an Arrow stream"):
        receive(sockets, b"\xff" * 200)


@pytest.mark.parametrize("cut", [4, 100, 400])
def test_stream_that_breaks_off_is_unavailable(sockets: tuple[socket.socket, socket.socket], cut: int):
    content = encode(summarize(3))
    with pytest.raises(Unavailable):
        receive(sockets, content[:cut], length=len(content))


def test_changed_metadata_never_raises_another_error():
    content = encode(summarize(3))
    for place in range(8, 600, 3):
        changed = bytearray(content)
        changed[place] ^= 0xFF
        pair = socket.socketpair()
        with pair[0], pair[1]:
            try:
                receive(pair, bytes(changed))
            except (Refused, Unavailable):
                continue
