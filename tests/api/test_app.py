"""The API on a real socket: peer authentication, problem documents without request text, one entry a prediction."""

from __future__ import annotations

import http.client
import json
import logging
import os
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.builders.api_server import RunningApi
from tests.builders.released_model import claim
from tests.builders.synthetic_world import token
from wellspring.api import server
from wellspring.client import Client
from wellspring.errors import Unavailable
from wellspring.models.releases.promotion import promote_release
from wellspring.runtime.process import RedactingLogHandler

RAW = "900-12-3456"


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.body)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApi]:
    with RunningApi(tmp_path_factory.mktemp("answering")).up() as up:
        yield up


def raw_call(path: Path, request: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.settimeout(60)
        line.connect(str(path))
        line.sendall(request)
        output = b""
        while piece := line.recv(65536):
            output += piece
        return output


def call(project: RunningApi, method: str, address: str, body: Any = None) -> Reply:
    line = http.client.HTTPConnection("api", timeout=60)
    line.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    line.sock.settimeout(60)
    line.sock.connect(str(project.project.socket_path("api")))
    try:
        content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        # An unknown peer gets its response before its body is read, so sending may fail.
        with suppress(BrokenPipeError):
            line.request(method, address, content, {"Content-Type": "application/json"} if content is not None else {})
        answer = line.getresponse()
        return Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
    finally:
        line.close()


def ask(project: RunningApi, keys: dict[str, Any] | None = None, model: str = "denials", **more: Any) -> Reply:
    return call(project, "POST", f"/v1/models/{model}/predictions", {"keys": keys or claim(3), **more})


def test_prediction_is_journaled_before_response_and_names_its_entry(project: RunningApi):
    reply = ask(project)
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    (line,) = [item for item in project.entries("predict") if item["subject"] == f"prediction:{reply.json['id']}"]
    assert reply.headers["wellspring-entry"] == f"api:{line['sequence']}"
    assert line["facts"]["principal"] == "service:portal"
    assert reply.json["release"] == project.release.id
    key = project.entries("create_key")[0]
    assert key["sequence"] < line["sequence"]
    assert key["subject"] == f"key:{reply.json['signature']['key_id']}"
    assert ask(project, include_reasons=False).json["reasons"] == []


def test_client_reads_prediction_and_verifies_signature(project: RunningApi):
    with Client(project.project) as client:
        prediction = client.predict("denials", claim(4))
        assert prediction.release == project.release.id
        assert client.predict("denials", claim(4)).score == prediction.score
        described = client.describe_model("denials")
        assert (described.keys, described.freshness) == (("claim_id", "billing_npi"), "fresh")
        features = client.get_features("provider_history", token("provider", 1))
        assert features.values == {"denial_rate_30d": None, "claims_30d": 2}
        assert client.health()["status"] == "ok"


@pytest.mark.parametrize(
    ("method", "address", "body", "status", "slug"),
    [
        ("POST", "/v1/models/denials/predictions", {"keys": {**claim(1), "claim_id": RAW}}, 422, "refused"),
        ("POST", "/v1/models/denials/predictions", {"keys": {**claim(1), RAW: RAW}}, 404, "not-found"),
        ("POST", "/v1/models/denials/predictions", {"keys": RAW}, 422, "refused"),
        ("POST", "/v1/models/denials/predictions", {"keys": claim(1), RAW: RAW}, 422, "refused"),
        ("POST", "/v1/models/denials/predictions", {"keys": {"claim_id": {"ssn": RAW}}}, 422, "refused"),
        ("POST", "/v1/models/denials/predictions", f'{{"keys": {RAW}'.encode(), 422, "refused"),
        ("POST", "/v1/models/denials/predictions", b"\xff\xfe" + RAW.encode(), 400, "refused"),
        ("POST", "/v1/models/denials/predictions", b"[" * 9000 + RAW.encode(), 400, "refused"),
        ("POST", f"/v1/models/{RAW}/predictions", {"keys": claim(1)}, 404, "not-found"),
        ("GET", f"/v1/models/{RAW}", None, 404, "not-found"),
        ("GET", f"/v1/features/{RAW}?key={RAW}", None, 404, "not-found"),
        ("GET", f"/v1/features/claim?key={RAW}", None, 422, "refused"),
        ("GET", f"/v1/features/claim?{RAW}={RAW}", None, 422, "refused"),
        ("GET", f"/v1/keys/{RAW}", None, 404, "not-found"),
        ("GET", f"/{RAW}", None, 404, "not-found"),
        ("PUT", f"/v1/models/denials/predictions?{RAW}", None, 405, "not-found"),
    ],
)
def test_error_is_problem_document_without_request_text(
    project: RunningApi,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    method: str,
    address: str,
    body: Any,
    status: int,
    slug: str,
):
    caplog.set_level(logging.DEBUG)
    reply = call(project, method, address, body)
    assert (reply.status, reply.headers["content-type"]) == (status, "application/problem+json")
    assert reply.json["type"] == f"urn:wellspring:{slug}"
    assert set(reply.json) == {"type", "title", "status", "detail", "fix"}
    assert reply.json["status"] == status
    result = capfd.readouterr()
    everywhere = [reply.body.decode(), caplog.text, result.out, result.err, json.dumps(project.lines())]
    assert [item for item in everywhere if RAW in item] == []
    stored = [path for path in project.folder.rglob("*") if path.is_file() and RAW.encode() in path.read_bytes()]
    assert stored == []


def test_unknown_name_error_suggests_nearest_name(project: RunningApi):
    assert ask(project, model="denial").json["fix"] == "did you mean 'denials'?"
    assert call(project, "GET", "/v1/features/claims?key=x").json["fix"] == "did you mean 'claim'?"
    assert ask(project, {"claim": token("claim", 1)}).json["fix"] == "did you mean 'claim_id'?"


def test_entity_without_features_is_not_found(project: RunningApi):
    reply = ask(project, {**claim(3), "claim_id": token("claim", 999)})
    assert reply.status == 404
    assert "no features for these keys in claim" in reply.json["detail"]


def test_too_large_body_is_not_read(project: RunningApi):
    reply = call(project, "POST", "/v1/models/denials/predictions", b'{"keys": "' + b"x" * 20_000 + b'"}')
    assert (reply.status, reply.json["title"]) == (413, "Malformed request")
    assert ask(project).status == 200


def test_invalid_http_is_refused_without_request_text(project: RunningApi):
    output = raw_call(project.project.socket_path("api"), f"{RAW}\r\n\r\n".encode())
    assert output.startswith(b"HTTP/1.1 400")
    assert RAW.encode() not in output


def test_online_store_outage_is_unavailable_and_predictions_resume(project: RunningApi):
    project.released.online.broken = Unavailable("the online store does not answer", fix="start it")
    reply = ask(project)
    project.released.online.broken = None
    assert (reply.status, reply.headers["retry-after"]) == (503, "1")
    assert ask(project).status == 200


def test_unforeseen_error_is_reported_by_class_only(project: RunningApi, capfd: pytest.CaptureFixture[str]):
    def error(*_: object, **__: object) -> None:
        raise KeyError(RAW)

    logged = threading.Event()

    class SignalingHandler(RedactingLogHandler):
        def emit(self, record: logging.LogRecord) -> None:
            super().emit(record)
            logged.set()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(project.service, "predict", error)
        patch.setattr(logging.getLogger(), "handlers", [SignalingHandler(logging.ERROR)])
        reply = ask(project)
        # uvicorn logs the error after the response.
        assert logged.wait(60)
    assert (reply.status, reply.json["detail"]) == (500, "unforeseen: KeyError")
    result = capfd.readouterr()
    assert RAW not in result.out + result.err
    assert "unforeseen: KeyError" in result.err


def test_concurrent_requests_are_all_answered_and_journaled(project: RunningApi):
    before = len(project.entries("predict"))
    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(lambda n: ask(project, claim(n % 40), include_reasons=False), range(120)))
    assert [response.status for response in responses] == [200] * 120
    entries = {item["subject"] for item in project.entries("predict")[before:]}
    assert {f"prediction:{response.json['id']}" for response in responses} == entries


def test_new_release_serves_next_request(tmp_path: Path):
    with RunningApi(tmp_path).up() as project, Client(project.project) as client:
        assert client.predict("denials", claim(1)).release == project.release.id
        second = project.released.train(2)
        project.released.approve(second)
        promote_release(second, "user:bo", project.released.project, step=project.released.step)
        assert client.predict("denials", claim(1)).release == second.id
        result = [(item["subject"], item["phase"]) for item in project.entries("serve")]
        assert result == [(project.release.subject, "done"), (second.subject, "done")]


def test_unknown_peer_is_refused_and_recorded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # The test runs as the project's owner; here the API has no known caller.
    monkeypatch.setattr(server, "principals_by_uid", lambda _: lambda uid: None)
    with RunningApi(tmp_path).up() as project:
        for _ in range(3):
            assert ask(project).status == 403
        assert call(project, "GET", "/v1/models/denials").status == 403
        assert call(project, "GET", "/healthz").json == {"status": "ok"}
        result = [(item["phase"], item["facts"]["uid"]) for item in project.entries("connect")]
        assert result == [("refused", os.getuid())]
        assert project.entries("predict") == []


def test_prediction_fails_without_journal(tmp_path: Path):
    with RunningApi(tmp_path).up() as project:
        project.journal.close()
        reply = ask(project)
        assert (reply.status, reply.json["type"]) == (503, "urn:wellspring:unavailable")
        assert project.entries("predict") == []
