"""The client accepts only signed predictions, and raises the error that a problem document describes."""

from __future__ import annotations

import json
import os
import socketserver
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from tests.builders.recording_step import FixedClock, RecordingStep
from tests.builders.released_model import NOW, claim
from wellspring.api.problems import problem_from_error, problem_response
from wellspring.client import Client
from wellspring.errors import ERRORS_BY_SLUG, CorruptedError, Refused, Unavailable, WellspringError
from wellspring.observe.traceparent import parse_traceparent
from wellspring.records.models import FeatureAttribution, Prediction
from wellspring.records.record import format_instant
from wellspring.runtime.unix_socket import UnixHTTPConnection
from wellspring.serving.prediction import compute_request_digest
from wellspring.trust.answer_signing import AnswerSigner
from wellspring_verify import answer_signature

Change = Callable[[dict[str, Any]], object]


def prediction() -> Prediction:
    return Prediction(
        id="p1",
        model="denials",
        request_digest=compute_request_digest(claim(1)),
        role="stable",
        release="r" * 12,
        edition="e" * 12,
        score=0.1 + 0.2,
        threshold="0.40",
        decision="pays",
        reasons=(FeatureAttribution(feature="claim.amount", description="the amount", contribution=-1e-17),),
        freshness="fresh",
        as_of=NOW,
        age_seconds=0,
        vector_digest="9" * 64,
        answered_at=NOW,
    )


class Api:
    """A fake API. responses: (status, body) by path; closing: close the connection after each response."""

    def __init__(self) -> None:
        step = RecordingStep(clock=FixedClock(NOW))
        self.answer_signer = AnswerSigner(step=step, clock=step.clock)
        self.key = self.answer_signer.current_key()
        self.responses: dict[str, tuple[int, bytes]] = {}
        self.closing = False
        self.requests: list[str] = []
        self.traces: list[str | None] = []
        self.answer(lambda _: None)
        public_key = self.answer_signer.public_key(self.key.key_id)
        self.publish(
            key_id=public_key.key_id, public_key=public_key.encoded, expires_at=format_instant(public_key.expires_at)
        )

    def answer(self, change: Change) -> None:
        response = prediction().model_dump(mode="json")
        response["signature"] = self.key.sign_answer(answer_signature.signed_text(response)).model_dump()
        change(response)
        self.responses["/v1/models/denials/predictions"] = 200, json.dumps(response).encode()

    def publish(self, **fields: str) -> None:
        self.responses[f"/v1/keys/{self.key.key_id}"] = 200, json.dumps(fields).encode()

    @contextmanager
    def up(self, trace: str = "") -> Iterator[Client]:
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                api.requests.append(self.path)
                api.traces.append(parse_traceparent((self.headers.get("traceparent") or "").encode()))
                status, body = api.responses.get(self.path, (500, b"not json"))
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                self.close_connection = api.closing

            do_POST = do_GET

            def log_message(self, *_: object) -> None:
                return

            def address_string(self) -> str:
                return "socket"

        class Server(socketserver.ThreadingUnixStreamServer):
            daemon_threads = True

        with tempfile.TemporaryDirectory(prefix="wsc-") as folder:
            path = Path(folder) / "api.sock"
            with Server(str(path), Handler) as server:
                thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
                thread.start()
                try:
                    with Client(path, server_uid=os.geteuid(), timeout=60, trace=trace) as client:
                        yield client
                finally:
                    server.shutdown()
                    thread.join()


def test_every_request_continues_the_trace_of_the_caller():
    api = Api()
    with api.up("ab" * 16) as client:
        client.predict("denials", claim(1))
    assert api.traces == ["ab" * 16] * 2
    with api.up() as client:
        client.predict("denials", claim(1))
    assert api.traces[2:] == [None] * 2


def test_signed_prediction_is_read_exactly_and_key_fetched_once():
    api = Api()
    with api.up() as client:
        for _ in range(3):
            received = client.predict("denials", claim(1))
    assert received.model_copy(update={"signature": None}) == prediction()
    assert [path for path in api.requests if "keys" in path] == [f"/v1/keys/{api.key.key_id}"]


def test_response_to_partly_sent_request_is_read(monkeypatch: pytest.MonkeyPatch):
    api, send, sent = Api(), UnixHTTPConnection.send, list[bytes]()
    api.responses["/v1/models/denials/predictions"] = (
        403,
        json.dumps(
            {
                "type": "urn:wellspring:refused",
                "title": "Request refused",
                "status": 403,
                "detail": "who are you",
                "fix": "ask",
            }
        ).encode(),
    )

    def fail_after_headers(line: UnixHTTPConnection, data: bytes) -> None:
        sent.append(data)
        if len(sent) == 1:
            # The body is never sent, so the request must not announce its length.
            send(line, data.replace(b"Content-Length: ", b"X-Length: "))
            return
        raise BrokenPipeError

    monkeypatch.setattr(UnixHTTPConnection, "send", fail_after_headers)
    with api.up() as client, pytest.raises(Refused, match="who are you"):
        client.predict("denials", claim(1))
    assert len(sent) == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda answer: answer.update(score=0.31),
        lambda answer: answer.update(decision="denies"),
        lambda answer: answer.update(freshness="stale"),
        lambda answer: answer["reasons"][0].update(contribution=1.0),
        lambda answer: answer.update(signature=None),
        lambda answer: answer["signature"].update(value="AAAA"),
        lambda answer: answer.pop("signature"),
    ],
)
def test_changed_or_unsigned_prediction_is_refused(change: Change):
    api = Api()
    api.answer(change)
    with api.up() as client, pytest.raises(CorruptedError):
        client.predict("denials", claim(1))


@pytest.mark.parametrize(
    "change", [{"model": "other"}, {"request_digest": compute_request_digest(claim(2))}, {"request_digest": ""}]
)
def test_prediction_for_another_request_is_refused_despite_valid_signature(change: dict[str, str]):
    api = Api()
    response = {**prediction().model_dump(mode="json"), **change}
    response["signature"] = api.key.sign_answer(answer_signature.signed_text(response)).model_dump()
    api.responses["/v1/models/denials/predictions"] = 200, json.dumps(response).encode()
    with api.up() as client, pytest.raises(CorruptedError, match="another request"):
        client.predict("denials", claim(1))


def test_signature_with_other_or_expired_key_is_refused():
    api = Api()
    own = api.answer_signer.public_key(api.key.key_id)
    second_key = AnswerSigner(step=RecordingStep(), clock=FixedClock()).current_key().public_key
    for public, expires in (
        (second_key.encoded, format_instant(own.expires_at)),
        (own.encoded, format_instant(NOW)),
        ("no base64", ""),
    ):
        api.publish(key_id=own.key_id, public_key=public, expires_at=expires)
        with api.up() as client, pytest.raises(CorruptedError):
            client.predict("denials", claim(1))


@pytest.mark.parametrize("kind", list(ERRORS_BY_SLUG.values()))
def test_problem_document_is_raised_as_original_error(kind: type[WellspringError]):
    api = Api()
    status, _, body = problem_response(problem_from_error(kind("what it was", fix="how to mend it")))
    api.responses["/v1/models/denials"] = status, body
    with api.up() as client, pytest.raises(kind) as error:
        client.describe_model("denials")
    assert (type(error.value), error.value.what, error.value.fix) == (kind, "what it was", "how to mend it")


def test_invalid_response_raises_error():
    api = Api()
    api.responses["/v1/models/denials"] = 502, b"<html>"
    api.responses["/v1/models/other"] = 418, b"[]"
    api.responses["/healthz"] = 200, b"[]"
    api.responses["/v1/features/claim?key=x"] = 200, b'{"view": "claim"}'
    with api.up() as client:
        with pytest.raises(Unavailable):
            client.describe_model("denials")
        with pytest.raises(Refused):
            client.describe_model("other")
        with pytest.raises(CorruptedError):
            client.health()
        with pytest.raises(CorruptedError):
            client.get_features("claim", "x")


def test_idle_connection_closed_by_server_is_reopened():
    api = Api()
    api.closing = True
    with api.up() as client:
        assert client.predict("denials", claim(1)).score == client.predict("denials", claim(1)).score


def test_missing_api_socket_is_unavailable(tmp_path: Path):
    with (
        Client(tmp_path / "api.sock", server_uid=os.geteuid()) as client,
        pytest.raises(Unavailable, match="does not respond"),
    ):
        client.health()
