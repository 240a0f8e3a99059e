"""The intake door from outside: what is asked, what is answered, and what is said when nobody answers."""

from __future__ import annotations

import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.trust.vault.test_frames import DROP, NOON
from wellspring.errors import Broken, NotFound, Refused, Unavailable, WellspringError
from wellspring.records.data import Intake, Listed, QuarantinedRow
from wellspring.records.verdict import Verdict
from wellspring.trust.vault import frames
from wellspring.trust.vault.remote import RemoteVault

Serve = Callable[[Callable[[socket.socket, frames.Message], None]], RemoteVault]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Answer one connection with the test's own words."""
    with tempfile.TemporaryDirectory(prefix="ws-") as folder, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{folder}/intake.sock")
        listener.listen()
        threads: list[threading.Thread] = []

        def start(answer: Callable[[socket.socket, frames.Message], None]) -> RemoteVault:
            def run() -> None:
                connection, _ = listener.accept()
                with connection:
                    request = frames.receive(connection, limit=frames.REQUEST_LIMIT)
                    assert request is not None
                    answer(connection, request)

            threads.append(threading.Thread(target=run))
            threads[-1].start()
            return RemoteVault(Path(folder) / "intake.sock", silence=5)

        yield start
        for thread in threads:
            thread.join(5)


def done(connection: socket.socket, value: object, arrow: bytes | memoryview = b"") -> None:
    frames.send(connection, {"kind": "done", "value": value, "arrow": len(arrow)}, arrow)  # type: ignore[dict-item]


def test_each_call_asks_by_its_name_and_reads_its_answer(serve: Serve) -> None:
    asked: list[frames.Message] = []
    listed = Listed(source="clearinghouse", name="a.csv", size=4, modified=NOON, state="new")
    row = QuarantinedRow(drop="clearinghouse-0", row_number=3, reasons=(), values={"x": "***"}, waiting_until=NOON)
    intake = Intake(DROP, Verdict(subject=DROP.subject, outcome="fail"), 3, 0, 0, 0, (), "2" * 64, None)

    def answering(value: object) -> Callable[[socket.socket, frames.Message], None]:
        def answer(connection: socket.socket, request: frames.Message) -> None:
            asked.append(request)
            done(connection, value)

        return answer

    assert serve(answering([listed.model_dump(mode="json")])).listing("clearinghouse") == (listed,)
    assert serve(answering(frames.intake_out(intake)[0])).intake("clearinghouse", "a.csv", "1" * 64) == intake
    assert serve(answering(frames.intake_out(intake)[0])).replay("clearinghouse-0", "1" * 64) == intake
    serve(answering(None)).settled("clearinghouse-0", 2)
    assert serve(answering([row.model_dump(mode="json")])).quarantined() == (row,)
    assert serve(answering(["t1", "t2"])).tokenize("claim", ("A", "B"), purpose="claim_review") == ("t1", "t2")
    assert asked == [
        {"op": "listing", "source": "clearinghouse"},
        {"op": "intake", "source": "clearinghouse", "name": "a.csv", "contract_digest": "1" * 64},
        {"op": "replay", "drop": "clearinghouse-0", "contract_digest": "1" * 64},
        {"op": "settled", "drop": "clearinghouse-0", "part": 2},
        {"op": "quarantined", "drop": None},
        {"op": "tokenize", "domain": "claim", "values": ["A", "B"], "purpose": "claim_review", "grant": None},
    ]


def test_progress_is_told_on_the_way(serve: Serve) -> None:
    def answer(connection: socket.socket, request: frames.Message) -> None:
        frames.send(connection, {"kind": "progress", "stage": "fetch", "done": 1, "total": 2})
        frames.send(connection, {"kind": "progress", "stage": "judge", "done": 2, "total": 2})
        done(connection, [])

    vault = serve(answer)
    seen: list[tuple[str, int, int]] = []
    vault._ask({"op": "listing"}, lambda *told: seen.append(told))
    assert seen == [("fetch", 1, 2), ("judge", 2, 2)]


@pytest.mark.parametrize("wrong", [Refused("w", fix="f"), NotFound("w", fix="f"), Broken("w", fix="f")])
def test_an_error_comes_back_as_itself(serve: Serve, wrong: WellspringError) -> None:
    vault = serve(lambda connection, _: frames.send(connection, frames.error_out(wrong)))
    with pytest.raises(type(wrong), match="w"):
        vault.settled("clearinghouse-0", 1)


def test_an_enclave_that_dies_is_unavailable(serve: Serve) -> None:
    with pytest.raises(Unavailable, match="without an answer"):
        serve(lambda connection, _: None).listing("clearinghouse")
    with pytest.raises(Unavailable):
        serve(lambda connection, _: connection.sendall(b"\0\0")).listing("clearinghouse")


def test_no_enclave_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="does not answer"):
        RemoteVault(tmp_path / "intake.sock").listing("clearinghouse")
