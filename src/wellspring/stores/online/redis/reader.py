"""Read rows asynchronously over the Redis protocol, each call in one round trip of one shared connection."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Sequence
from typing import Any

from wellspring.errors import NotFound, Unavailable, suggest_name
from wellspring.records.features import FeatureRow, FeatureViews, FeatureViewSpec
from wellspring.runtime.unix_socket import ServerSocket, check_server
from wellspring.stores.online.feast_codec import RowCodec
from wellspring.stores.online.port import LiveMarker, StoreLogin, online_namespace
from wellspring.stores.online.redis.connection import (
    START_HINT,
    RedisConnection,
    encode_redis_command,
    error_from_reply,
)
from wellspring.stores.online.redis.marker import MARKER_FIELDS, marker_key, parse_live_marker


class RedisReader:
    """Read rows asynchronously: callers of one event loop share one connection; each call is one round trip.

    deadline: seconds for one call, including the connection. A lost connection fails all pending calls; the next call
    reconnects. No call is retried: only the caller knows its remaining time.
    """

    def __init__(
        self,
        server: ServerSocket,
        views: FeatureViews,
        *,
        login: StoreLogin,
        tenant: str = "",
        deadline: float,
        max_pending: int = 10_000,
    ) -> None:
        namespace = online_namespace(views.project, tenant)
        self._server = server
        self._login = login
        self._namespace = namespace
        self._deadline = deadline
        self._max_pending = max_pending
        self._plans = {view.name: _LookupPlan(namespace, view, login.row_key) for view in views.views}
        self._marker_key = marker_key(namespace, views.digest)
        self._marker_command = _encode_marker_command(self._marker_key)
        self._connection: RedisConnection | None = None
        self._connecting: asyncio.Task[RedisConnection] | None = None

    async def get_rows(self, keys: Sequence[tuple[str, tuple[str, ...]]]) -> list[FeatureRow | None]:
        """Return the rows of (view, key) pairs in one round trip; None for a missing row.

        Raises NotFound for an unknown view, Refused for a key that is not a token, Unavailable after the deadline.
        """
        return (await self._fetch_rows(keys, b""))[1]

    async def get_with_marker(
        self, keys: Sequence[tuple[str, tuple[str, ...]]]
    ) -> tuple[LiveMarker | None, list[FeatureRow | None]]:
        """Return the marker of the live edition of the reader's views and the rows, in one round trip."""
        replies, rows = await self._fetch_rows(keys, self._marker_command)
        return parse_live_marker(self._marker_key, replies[-1], self._login.row_key), rows

    async def get_live(self) -> LiveMarker | None:
        """Return the newest marker, whatever its views, or None before the first."""
        key = marker_key(self._namespace)
        (reply,) = await self._send_commands(_encode_marker_command(key), 1)
        return parse_live_marker(key, reply, self._login.row_key)

    async def close(self) -> None:
        """Close the connection; pending calls raise Unavailable."""
        if self._connecting is not None:
            self._connecting.cancel()
        if self._connection is not None:
            self._connection.close()
        self._connection = self._connecting = None

    async def _fetch_rows(
        self, keys: Sequence[tuple[str, tuple[str, ...]]], extra_command: bytes
    ) -> tuple[list[Any], list[FeatureRow | None]]:
        plans = [self._plan_for(view) for view, _ in keys]
        commands = [plan.encode_command(key) for plan, (_, key) in zip(plans, keys, strict=True)]
        if extra_command:
            commands.append(extra_command)
        if not commands:
            return [], []
        replies = await self._send_commands(b"".join(commands), len(commands))
        return replies, [
            plan.codec.decode_row(key, reply) for plan, (_, key), reply in zip(plans, keys, replies, strict=False)
        ]

    def _plan_for(self, view: str) -> _LookupPlan:
        if view not in self._plans:
            raise NotFound(f"no view {view!r}", fix=suggest_name(view, list(self._plans)))
        return self._plans[view]

    async def _send_commands(self, payload: bytes, count: int) -> list[Any]:
        try:
            async with asyncio.timeout(self._deadline):
                connection = (
                    self._connection
                    if self._connection is not None and self._connection.is_open
                    else await self._ensure_connected()
                )
                if connection.pending_count >= self._max_pending:
                    raise Unavailable(
                        f"{connection.pending_count} calls are already waiting for the online store", fix=START_HINT
                    )
                replies = await connection.send_commands(payload, count)
        except TimeoutError:
            message = f"the online store did not respond within {self._deadline:g} s"
            raise Unavailable(message, fix=START_HINT) from None
        for reply in replies:
            if isinstance(reply, Exception):
                raise error_from_reply(reply)
        return replies

    async def _ensure_connected(self) -> RedisConnection:
        """Connect once for all callers; the timeout of one caller does not cancel the attempt."""
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._connect())
            self._connecting.add_done_callback(self._on_connected)
        return await asyncio.shield(self._connecting)

    def _on_connected(self, task: asyncio.Task[RedisConnection]) -> None:
        self._connecting = None
        if not task.cancelled() and task.exception() is None:
            self._connection = task.result()

    async def _connect(self) -> RedisConnection:
        try:
            connection = await self._open_connection()
        except OSError as exc:
            message = f"the online store at {self._server.path} does not respond ({type(exc).__name__})"
            raise Unavailable(message, fix=START_HINT) from None
        login = encode_redis_command(b"AUTH", self._login.user.encode(), self._login.password.encode())
        try:
            (reply,) = await connection.send_commands(login, 1)
            if isinstance(reply, Exception):
                raise error_from_reply(reply)
        except (asyncio.CancelledError, Unavailable):
            connection.close()
            raise
        return connection

    async def _open_connection(self) -> RedisConnection:
        """Connect, and check who listens before anything is sent. Raises OSError, Unavailable."""
        loop = asyncio.get_running_loop()
        connected_socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connected_socket.setblocking(False)
            await loop.sock_connect(connected_socket, os.fspath(self._server.path))
            check_server(connected_socket, self._server)
            _, connection = await loop.create_unix_connection(RedisConnection, sock=connected_socket)
        except BaseException:
            connected_socket.close()
            raise
        return connection


def _encode_marker_command(key: str) -> bytes:
    return encode_redis_command(b"HMGET", *(word.encode() for word in (key, *MARKER_FIELDS)))


class _LookupPlan:
    """The HMGET command of one view, encoded once except for the key."""

    def __init__(self, namespace: str, view: FeatureViewSpec, row_key: bytes) -> None:
        self.codec = RowCodec(namespace, view, row_key)
        self._prefix = b"*%d\r\n$5\r\nHMGET\r\n" % (2 + len(self.codec.fields))
        self._suffix = b"".join(b"$%d\r\n%b\r\n" % (len(field), field) for field in self.codec.fields)

    def encode_command(self, key: tuple[str, ...]) -> bytes:
        name = self.codec.encode_key(key)
        return b"%b$%d\r\n%b\r\n%b" % (self._prefix, len(name), name, self._suffix)
