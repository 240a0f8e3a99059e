"""Authenticate the peers of an HTTP server on a Unix socket, and limit the size and number of their requests."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from wellspring.api.problems import ProblemDetails, malformed_request, problem_from_error, problem_response
from wellspring.errors import Refused, Unavailable
from wellspring.observe.traceparent import TRACEPARENT_HEADER, format_traceparent, parse_traceparent
from wellspring.project import Project
from wellspring.records.clock import Clock
from wellspring.records.observe import Recorder
from wellspring.trust.authorization import DenialThrottle
from wellspring.trust.identity.port import Principal

UID_SCOPE_KEY = "wellspring.uid"
"""Key of the ASGI scope under which the server stores the peer's uid."""
MAX_BODY_BYTES = 16 * 2**10
"""Maximum size of a request body; a request holds a few tokens of about 40 bytes."""
BODY_TIMEOUT = 5.0
MAX_CONCURRENCY = 256

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Message, Receive, Send], Awaitable[None]]


def principals_by_uid(project: Project) -> Callable[[int], Principal | None]:
    """Map peer uids to principals: the callers of wellspring.toml, the project's owner and root."""
    caller_principals = {caller.uid: Principal(f"service:{name}") for name, caller in project.callers.items()}
    owner = Principal("service:owner")
    principals = {0: owner, project.state_dir.stat().st_uid: owner, **caller_principals}
    return principals.get


class PeerAuthMiddleware:
    """ASGI middleware: authenticate the peer by uid, limit body size and concurrency, reject incomplete requests."""

    def __init__(
        self, app: ASGIApp, principal_for_uid: Callable[[int], Principal | None], *, step: Recorder, clock: Clock
    ) -> None:
        self.principal_for_uid = principal_for_uid
        self._app = app
        self._step = step
        self._throttle = DenialThrottle(clock)
        self._active_requests = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        principal = self.principal_for_uid(scope[UID_SCOPE_KEY])
        if principal is None and scope["path"] != "/healthz":
            await _send_problem(
                send, problem_from_error(await asyncio.to_thread(self._deny_unknown_peer, scope[UID_SCOPE_KEY]))
            )
            return
        scope.setdefault("state", {})["principal"] = principal
        if principal is None:
            # An unknown peer does not count towards the concurrency limit, and its body is not read.
            await self._app(scope, _replay_body(b"", receive), _closing_send(send))
            return
        if self._active_requests >= MAX_CONCURRENCY:
            await _send_problem(
                send, problem_from_error(Unavailable("too many concurrent requests", fix="retry in a moment"))
            )
            return
        self._active_requests += 1
        try:
            body = await _read_body(receive)
            if isinstance(body, ProblemDetails):
                await _send_problem(send, body)
                return
            with self._step.continue_trace(_requested_trace(scope)) as trace:
                await self._app(scope, _replay_body(body, receive), _tracing_send(send, trace))
        finally:
            self._active_requests -= 1

    def _deny_unknown_peer(self, uid: int) -> Refused:
        error = Refused(
            f"user {uid} is not a caller of this project",
            fix="ask the project's owner to add this user under [callers] in wellspring.toml",
        )
        suppressed = self._throttle.suppressed_count(f"uid:{uid}", "connect")
        if suppressed is not None:
            try:
                with self._step("connect", "server:api", facts={"uid": uid, "suppressed_count": suppressed}):
                    raise error
            except Refused:
                pass
        return error


async def _read_body(receive: Receive) -> bytes | ProblemDetails:
    """Read the complete body, or return the problem."""
    body = b""
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return body
                body += message.get("body", b"")
                if len(body) > MAX_BODY_BYTES:
                    return malformed_request(f"the body exceeds {MAX_BODY_BYTES} bytes", 413)
                if not message.get("more_body"):
                    return body
    except TimeoutError:
        return malformed_request("the body did not arrive in time", 408)


def _replay_body(body: bytes, receive: Receive) -> Receive:
    messages = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def next_message() -> Message:
        return next(messages, None) or await receive()

    return next_message


def _closing_send(send: Send) -> Send:
    """Close the connection after the response, because an unread body must not be parsed as the next request."""

    async def send_and_close(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
        await send(message)

    return send_and_close


def _requested_trace(scope: Message) -> str | None:
    values = [value for name, value in scope["headers"] if name == TRACEPARENT_HEADER]
    return parse_traceparent(values[0]) if len(values) == 1 else None


def _tracing_send(send: Send, trace: str) -> Send:
    """Add the traceparent header to the response."""

    async def send_with_trace(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], (TRACEPARENT_HEADER, format_traceparent(trace))]}
        await send(message)

    return send_with_trace


async def _send_problem(send: Send, problem: ProblemDetails) -> None:
    status, headers, body = problem_response(problem)
    send = _closing_send(send)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
