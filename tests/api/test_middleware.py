"""The middleware authenticates the peer before it reads the body, and limits body size and concurrency."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from tests.builders.recording_step import RecordingStep
from wellspring import project
from wellspring.api import middleware
from wellspring.api.middleware import Message, PeerAuthMiddleware
from wellspring.trust.identity.port import Principal

PORTAL = Principal("service:portal")


def test_callers_are_mapped_by_uid_and_owner_equals_root(tmp_path: Path):
    (tmp_path / project.PROJECT_FILE).write_text(
        '[project]\nname = "tiny"\ntenant = "acme"\n[sources.a]\nkind = "sftp"\n[callers.portal]\nuid = 4242\n'
    )
    (tmp_path / ".wellspring").mkdir()
    lookup = middleware.principals_by_uid(project.load_project(tmp_path, environ={}))
    assert lookup(4242) == PORTAL
    assert lookup(os.getuid()) == lookup(0) == Principal("service:owner")
    assert lookup(4243) is None


class EchoApp:
    """Return the request body as the response. hold: an event to wait for first."""

    def __init__(self) -> None:
        self.received: list[tuple[Principal | None, bytes]] = []
        self.traces: list[str] = []
        self.step = RecordingStep()
        self.hold: asyncio.Event | None = None

    async def __call__(self, scope: Message, receive: middleware.Receive, send: middleware.Send) -> None:
        if self.hold is not None:
            await self.hold.wait()
        body = (await receive())["body"]
        self.received.append((scope["state"]["principal"], body))
        self.traces.append(self.step.current_trace())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})


def protect(inner: EchoApp, step: RecordingStep) -> PeerAuthMiddleware:
    inner.step = step
    return PeerAuthMiddleware(inner, {1: PORTAL}.get, step=step, clock=step.clock)


async def call(
    app: PeerAuthMiddleware,
    *pieces: bytes,
    uid: int = 1,
    path: str = "/v1/models/x",
    endless: bool = False,
    headers: tuple[tuple[bytes, bytes], ...] = (),
    replies: list[Message] | None = None,
) -> int:
    messages = [
        {"type": "http.request", "body": piece, "more_body": endless or number + 1 < len(pieces)}
        for number, piece in enumerate(pieces or (b"",))
    ]
    sent: list[Message] = []

    async def receive() -> Any:
        if messages:
            return messages.pop(0)
        await asyncio.Event().wait()

    async def send(message: Message) -> None:
        sent.append(message)

    await app({"type": "http", "path": path, "headers": headers, middleware.UID_SCOPE_KEY: uid}, receive, send)
    if replies is not None:
        replies += sent
    return int(sent[0]["status"])


def test_body_in_pieces_is_read_completely():
    inner = EchoApp()
    assert asyncio.run(call(protect(inner, RecordingStep()), b"ab", b"cd")) == 200
    assert inner.received == [(PORTAL, b"abcd")]


def test_unknown_peer_is_refused_before_body_and_recorded_once_a_second():
    inner, step = EchoApp(), RecordingStep()
    app = protect(inner, step)
    for _ in range(3):
        assert asyncio.run(call(app, b"x", uid=7)) == 403
    assert inner.received == []
    assert [(entry.action, entry.phase, entry.facts["uid"]) for entry in step.entries] == [("connect", "refused", 7)]


def test_too_large_or_too_slow_body_does_not_reach_routes(monkeypatch: pytest.MonkeyPatch):
    inner = EchoApp()
    app = protect(inner, RecordingStep())
    assert asyncio.run(call(app, b"x" * middleware.MAX_BODY_BYTES)) == 200
    assert asyncio.run(call(app, b"x" * middleware.MAX_BODY_BYTES, b"y")) == 413
    monkeypatch.setattr(middleware, "BODY_TIMEOUT", 0.05)
    assert asyncio.run(call(app, b"half", endless=True)) == 408
    assert len(inner.received) == 1


def test_concurrency_limit_returns_unavailable(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(middleware, "MAX_CONCURRENCY", 2)

    async def scenario() -> list[int]:
        inner = EchoApp()
        inner.hold = asyncio.Event()
        app = protect(inner, RecordingStep())
        waiting = [asyncio.create_task(call(app, b"x")) for _ in range(2)]
        await asyncio.wait(waiting, timeout=0.05)
        third = await call(app, b"x")
        inner.hold.set()
        return [third, *await asyncio.gather(*waiting), await call(app, b"x")]

    assert asyncio.run(scenario()) == [503, 200, 200, 200]


def test_health_request_of_unknown_peer_uses_no_slot_and_body_is_not_read(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(middleware, "MAX_CONCURRENCY", 1)

    async def scenario() -> list[int]:
        inner = EchoApp()
        inner.hold = asyncio.Event()
        app = protect(inner, RecordingStep())
        unknown_users = [
            asyncio.create_task(call(app, b"half", uid=7, path="/healthz", endless=True)) for _ in range(3)
        ]
        await asyncio.wait(unknown_users, timeout=0.05)
        expected = asyncio.create_task(call(app, b"x"))
        await asyncio.wait([expected], timeout=0.05)
        inner.hold.set()
        result = await asyncio.wait_for(asyncio.gather(expected, *unknown_users), middleware.BODY_TIMEOUT / 2)
        assert sorted(inner.received, key=str) == sorted([(None, b"")] * 3 + [(PORTAL, b"x")], key=str)
        return result

    assert asyncio.run(scenario()) == [200] * 4


TRACE = b"4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = (b"traceparent", b"00-" + TRACE + b"-00f067aa0ba902b7-01")


def test_a_request_continues_the_trace_of_its_caller():
    inner, replies = EchoApp(), list[Message]()
    assert asyncio.run(call(protect(inner, RecordingStep()), b"x", headers=(TRACEPARENT,), replies=replies)) == 200
    assert inner.traces == [TRACE.decode()]
    ((name, value),) = replies[0]["headers"]
    assert (name, value[:36]) == (b"traceparent", b"00-" + TRACE + b"-")
    assert value != TRACEPARENT[1]


@pytest.mark.parametrize("headers", [(), ((b"traceparent", b"x"),), (TRACEPARENT, TRACEPARENT)])
def test_a_request_without_a_valid_trace_starts_one(headers: tuple[tuple[bytes, bytes], ...]):
    inner, replies = EchoApp(), list[Message]()
    assert asyncio.run(call(protect(inner, RecordingStep()), b"x", headers=headers, replies=replies)) == 200
    assert inner.traces != [TRACE.decode()]
    assert replies[0]["headers"][0][1].split(b"-")[1] == inner.traces[0].encode()
