"""The door of an HTTP server on a Unix socket: who is there, as the kernel says it, and how a refusal is told.

What cannot be answered is said as a problem document (RFC 9457) that repeats nothing of what was sent.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from wellspring.errors import NotFound, Refused, Unavailable, WellspringError
from wellspring.project import Project
from wellspring.records.clock import Clock
from wellspring.records.observe import Step
from wellspring.records.record import Frozen
from wellspring.trust.decide import Refusals
from wellspring.trust.identity.port import Principal

UID = "wellspring.uid"
"""Where the server puts the uid of who asks, in ASGI's scope."""
LARGEST = 16 * 2**10
"""Bytes of the largest body: a handful of tokens fits many times over."""
PATIENCE = 5.0
AT_ONCE = 256

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]


class Problem(Frozen):
    """RFC 9457, with `fix`: what to do about it."""

    type: str
    title: str
    status: int
    detail: str
    fix: str


TITLES = {
    "error": "It went wrong",
    "project": "The project is set up wrongly",
    "refused": "It is refused",
    "not-found": "There is no such thing",
    "unavailable": "Something does not answer",
    "broken": "Something is not what it was",
}


def problem(wrong: WellspringError) -> Problem:
    """Say an error as a problem document."""
    return Problem(
        type=f"urn:wellspring:{wrong.slug}",
        title=TITLES[wrong.slug],
        status=status(wrong),
        detail=wrong.what,
        fix=wrong.fix,
    )


def status(wrong: WellspringError) -> int:
    """Map an error to HTTP: by what a caller can do about it."""
    match wrong:
        case Refused(verdict=verdict) if verdict is not None and verdict.outcome == "invalid":
            return 422
        case Refused(verdict=verdict) if verdict is not None and verdict.outcome == "inconclusive":
            return 404
        case Refused():
            return 403
        case NotFound():
            return 404
        case Unavailable():
            return 503
        case _:
            return 500


def reply(wrong: Problem) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Write a problem document: status, headers, body."""
    body = json.dumps(wrong.model_dump()).encode()
    headers = [(b"content-type", b"application/problem+json"), (b"content-length", str(len(body)).encode())]
    return wrong.status, headers + ([(b"retry-after", b"1")] if wrong.status == 503 else []), body


def ill_formed(detail: str, status: int = 422) -> Problem:
    """Make the problem of a request that is none."""
    return Problem(
        type="urn:wellspring:refused",
        title="The request is not well-formed",
        status=status,
        detail=detail,
        fix='send {"keys": {COLUMN: TOKEN}, "reasons": true} as application/json, as docs/api.md says',
    )


def callers(project: Project) -> Callable[[int], Principal | None]:
    """Name who asks by the uid that the kernel told: a caller of wellspring.toml, or the project's owner and root."""
    named = {caller.uid: Principal(f"service:{name}") for name, caller in project.callers.items()}
    owner = Principal("service:owner")
    known = {0: owner, project.state.stat().st_uid: owner, **named}
    return known.get


class Gate:
    """Stands before the routes: asks who is there, takes no more than fits, and lets no half request through."""

    def __init__(self, inner: Application, who: Callable[[int], Principal | None], *, step: Step, clock: Clock) -> None:
        self.who = who
        self._inner = inner
        self._step = step
        self._refusals = Refusals(clock)
        self._inside = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        principal = self.who(scope[UID])
        if principal is None and scope["path"] != "/healthz":
            await _send(send, problem(await asyncio.to_thread(self._stranger, scope[UID])))
            return
        scope.setdefault("state", {})["principal"] = principal
        if principal is None:
            # A stranger's question takes no place, and nobody waits for what else the stranger has to say.
            await self._inner(scope, _replayed(b"", receive), _lastly(send))
            return
        if self._inside >= AT_ONCE:
            await _send(send, problem(Unavailable("too many questions at once", fix="ask again in a moment")))
            return
        self._inside += 1
        try:
            body = await _whole(receive)
            if isinstance(body, Problem):
                await _send(send, body)
                return
            await self._inner(scope, _replayed(body, receive), send)
        finally:
            self._inside -= 1

    def _stranger(self, uid: int) -> Refused:
        refused = Refused(
            f"user {uid} may not ask here", fix="ask the project's owner to name this caller in wellspring.toml"
        )
        before = self._refusals.before(f"uid:{uid}", "connect")
        if before is not None:
            try:
                with self._step("connect", "server:api", facts={"uid": uid, "before": before}):
                    raise refused
            except Refused:
                pass
        return refused


async def _whole(receive: Receive) -> bytes | Problem:
    """Read a body whole, or say why not."""
    body = b""
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return body
                body += message.get("body", b"")
                if len(body) > LARGEST:
                    return ill_formed(f"a body has at most {LARGEST} bytes", 413)
                if not message.get("more_body"):
                    return body
    except TimeoutError:
        return ill_formed("the body did not come in time", 408)


def _replayed(body: bytes, receive: Receive) -> Receive:
    given = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def next_message() -> Message:
        return next(given, None) or await receive()

    return next_message


def _lastly(send: Send) -> Send:
    """Send, and end the connection with it: what was not read of the request must not be taken for the next one."""

    async def closing(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
        await send(message)

    return closing


async def _send(send: Send, wrong: Problem) -> None:
    number, headers, body = reply(wrong)
    send = _lastly(send)
    await send({"type": "http.response.start", "status": number, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def peer(connection: Any) -> int:
    """Return the uid of the process that connected, as the kernel noted it at that moment."""
    size = struct.calcsize("3i")
    _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return int(uid)
