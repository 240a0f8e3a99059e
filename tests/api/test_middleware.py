"""The door asks who is there before it hears a word, and takes no more than fits."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.builders.recording_step import RecordingStep
from wellspring import project
from wellspring.api import middleware
from wellspring.api.middleware import Message, PeerAuthMiddleware
from wellspring.errors import CorruptedError, NotFound, ProjectError, Refused, Unavailable, WellspringError
from wellspring.records.verdict import Verdict, VerdictOutcome
from wellspring.trust.identity.port import Principal

PORTAL = Principal("service:portal")


def refused(outcome: VerdictOutcome) -> Refused:
    return Refused("no", fix="ask", verdict=Verdict(subject="request", outcome=outcome))


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (refused("fail"), 403),
        (Refused("no", fix="ask"), 403),
        (refused("invalid"), 422),
        (refused("inconclusive"), 404),
        (NotFound("no", fix="look"), 404),
        (Unavailable("no", fix="wait"), 503),
        (CorruptedError("no", fix="stop"), 500),
        (ProjectError("no", fix="edit"), 500),
        (WellspringError("no", fix="look"), 500),
    ],
)
def test_an_error_is_said_by_what_a_caller_can_do_about_it(error: WellspringError, status: int):
    result = middleware.problem_from_error(error)
    assert (result.status, result.type, result.detail, result.fix) == (
        status,
        f"urn:wellspring:{error.slug}",
        "no",
        error.fix,
    )
    number, headers, body = middleware.problem_response(result)
    assert number == status
    assert json.loads(body) == result.model_dump()
    assert ((b"retry-after", b"1") in headers) == (status == 503)


def test_callers_are_named_by_their_uid_and_the_owner_and_root_are_one(tmp_path: Path):
    (tmp_path / project.PROJECT_FILE).write_text(
        '[project]\nname = "tiny"\ntenant = "acme"\n[sources.a]\nkind = "sftp"\n[callers.portal]\nuid = 4242\n'
    )
    (tmp_path / ".wellspring").mkdir()
    user_name = middleware.principals_by_uid(project.load_project(tmp_path, environ={}))
    assert user_name(4242) == PORTAL
    assert user_name(os.getuid()) == user_name(0) == Principal("service:owner")
    assert user_name(4243) is None


def test_the_kernel_says_who_is_on_the_other_side():
    item, two = socket.socketpair(socket.AF_UNIX)
    with item, two:
        assert middleware.peer_uid(item) == os.getuid()


class Inner:
    """Takes a request and says its body back. hold: it waits for this first."""

    def __init__(self) -> None:
        self.heard: list[tuple[Principal | None, bytes]] = []
        self.hold: asyncio.Event | None = None

    async def __call__(self, scope: Message, receive: middleware.Receive, send: middleware.Send) -> None:
        if self.hold is not None:
            await self.hold.wait()
        body = (await receive())["body"]
        self.heard.append((scope["state"]["principal"], body))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})


def gate(inner: Inner, step: RecordingStep) -> PeerAuthMiddleware:
    return PeerAuthMiddleware(inner, {1: PORTAL}.get, step=step, clock=step.clock)


async def call(
    instant: PeerAuthMiddleware, *pieces: bytes, uid: int = 1, path: str = "/v1/models/x", endless: bool = False
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

    await instant({"type": "http", "path": path, middleware.UID_SCOPE_KEY: uid}, receive, send)
    return int(sent[0]["status"])


def test_a_body_in_pieces_is_read_whole():
    inner = Inner()
    assert asyncio.run(call(gate(inner, RecordingStep()), b"ab", b"cd")) == 200
    assert inner.heard == [(PORTAL, b"abcd")]


def test_a_stranger_is_refused_before_a_word_is_heard_and_recorded_once_a_second():
    inner, step = Inner(), RecordingStep()
    instant = gate(inner, step)
    for _ in range(3):
        assert asyncio.run(call(instant, b"x", uid=7)) == 403
    assert inner.heard == []
    assert [(entry.action, entry.phase, entry.facts["uid"]) for entry in step.entries] == [("connect", "refused", 7)]


def test_a_body_that_is_too_large_or_too_slow_reaches_nobody(monkeypatch: pytest.MonkeyPatch):
    inner = Inner()
    instant = gate(inner, RecordingStep())
    assert asyncio.run(call(instant, b"x" * middleware.MAX_BODY_BYTES)) == 200
    assert asyncio.run(call(instant, b"x" * middleware.MAX_BODY_BYTES, b"y")) == 413
    monkeypatch.setattr(middleware, "BODY_TIMEOUT", 0.05)
    assert asyncio.run(call(instant, b"half", endless=True)) == 408
    assert len(inner.heard) == 1


def test_too_many_at_once_are_told_to_come_back(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(middleware, "MAX_CONCURRENCY", 2)

    async def connections() -> list[int]:
        inner = Inner()
        inner.hold = asyncio.Event()
        instant = gate(inner, RecordingStep())
        waiting = [asyncio.create_task(call(instant, b"x")) for _ in range(2)]
        await asyncio.wait(waiting, timeout=0.05)
        third = await call(instant, b"x")
        inner.hold.set()
        return [third, *await asyncio.gather(*waiting), await call(instant, b"x")]

    assert asyncio.run(connections()) == [503, 200, 200, 200]


def test_a_strangers_question_for_health_takes_no_place_and_is_not_waited_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(middleware, "MAX_CONCURRENCY", 1)

    async def connections() -> list[int]:
        inner = Inner()
        inner.hold = asyncio.Event()
        instant = gate(inner, RecordingStep())
        unknown_users = [
            asyncio.create_task(call(instant, b"half", uid=7, path="/healthz", endless=True)) for _ in range(3)
        ]
        await asyncio.wait(unknown_users, timeout=0.05)
        expected = asyncio.create_task(call(instant, b"x"))
        await asyncio.wait([expected], timeout=0.05)
        inner.hold.set()
        result = await asyncio.wait_for(asyncio.gather(expected, *unknown_users), middleware.BODY_TIMEOUT / 2)
        assert sorted(inner.heard, key=str) == sorted([(None, b"")] * 3 + [(PORTAL, b"x")], key=str)
        return result

    assert asyncio.run(connections()) == [200] * 4
