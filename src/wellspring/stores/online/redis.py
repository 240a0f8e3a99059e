"""The newest row of each thing, over the Redis protocol: written in bulk by the worker, read in one round trip.

Rows lie as Feast lays them out (`layout.py`), so stock Feast reads them. Whether a row is newer is decided inside the
store, by a script, never by reading first and writing then: of two writers the newer knowledge wins, whoever is last.
No row is ever deleted here: each names its edition, and the marker names the one that is live.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from wellspring.errors import CorruptedError, NotFound, Unavailable
from wellspring.project import suggest_name
from wellspring.records.data import Edition, FeatureRow, FeatureViews, FeatureViewSpec
from wellspring.records.record import Digest
from wellspring.stores.online.feast_codec import (
    TOKEN_PATTERN,
    RowCodec,
    from_epoch_micros,
    to_epoch_micros,
    token_required,
)
from wellspring.stores.online.redis_scripts import ADD_PENDING_VIEWS, SET_LIVE_EDITION, WRITE_NEWEST_ROWS

if TYPE_CHECKING:
    import pyarrow as pa
    from redis import Redis

_START_HINT = "start it with `wellspring up`, or ask again later; `wellspring doctor` says what is wrong"
# One script of so many rows keeps the store from answering for about a millisecond.
_ROWS_PER_SCRIPT = 100
_SCRIPTS_PER_BATCH = 20
_MARKER_FIELDS = ("id", "as_of", "views", "pending_views")


class WriteResult(NamedTuple):
    """What a bulk write came to. newer_kept: rows whose newer knowledge, already there, was left in place."""

    rows: int
    superseded_rows: int


class LiveMarker(NamedTuple):
    """The edition that was last materialized whole. as_of: up to when its knowledge goes; views: their digest.

    coming: digests of the views under which rows were written since then, in part: a row may be of these already.
    """

    edition: str
    as_of: datetime
    views: Digest
    pending_views: tuple[Digest, ...] = ()


class OnlineWriter:
    """The worker's end, synchronous. project: part of each row's name. timeout: seconds for one round trip."""

    def __init__(self, socket: Path, project: str, *, user: str, password: str, timeout: float = 10.0) -> None:
        from redis import Redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        self._project = project
        self._socket = socket
        # One more try, for a connection that the store closed while it was idle; a write again changes nothing.
        self._redis: Redis = Redis(
            unix_socket_path=str(socket),
            username=user,
            password=password,
            socket_timeout=timeout,
            retry=Retry(NoBackoff(), 1),
            protocol=2,
        )

    def close(self) -> None:
        """Let go of the connection."""
        self._redis.close()

    def write_rows(self, view: FeatureViewSpec, rows: pa.Table, edition: Edition) -> WriteResult:
        """Write rows of a view; a row whose newer knowledge (known_since, sequence) is already there is left alone.

        rows: the view's keys, features, known_since and sequence. Of equal knowledge the later edition wins; writing
        the same again changes nothing. Raises Refused for a key that is no token, before anything is written.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        for name in view.keys:
            tokens = pc.match_substring_regex(rows[name], rf"\A{TOKEN_PATTERN.pattern}\z")
            if rows.num_rows and not pc.all(pc.fill_null(tokens, False)).as_py():
                raise token_required(view)
        codec = RowCodec(self._project, view)
        with self._map_errors(), ThreadPoolExecutor(1) as sender:
            script: Any = self._redis.script_load(WRITE_NEWEST_ROWS)
            former_fields = self._former_fields(codec)
            # The store works on one batch while the next is encoded.
            pending_batch: Future[list[int]] | None = None
            written = 0
            for batch in rows.to_batches(max_chunksize=_ROWS_PER_SCRIPT * _SCRIPTS_PER_BATCH):
                pipeline = self._build_pipeline(codec, script, former_fields, pa.Table.from_batches([batch]), edition)
                written += sum(pending_batch.result()) if pending_batch else 0
                pending_batch = sender.submit(pipeline.execute)
            written += sum(pending_batch.result()) if pending_batch else 0
        return WriteResult(written, rows.num_rows - written)

    def _build_pipeline(
        self, codec: RowCodec, script: str, former_fields: list[bytes], rows: pa.Table, edition: Edition
    ) -> Any:
        keys = [
            codec.encode_checked_key(key)
            for key in zip(*(rows[name].to_pylist() for name in codec.view.keys), strict=True)
        ]
        columns = codec.encode_rows(rows, published=edition.known_since, edition=edition.id)
        header = [str(len(codec.fields)), str(len(former_fields)), *codec.fields, *former_fields]
        pipeline = self._redis.pipeline(transaction=False)
        for start in range(0, len(keys), _ROWS_PER_SCRIPT):
            chunk = slice(start, start + _ROWS_PER_SCRIPT)
            values = [item for row in zip(*(column[chunk] for column in columns), strict=True) for item in row]
            pipeline.evalsha(script, len(keys[chunk]), *keys[chunk], *header, *values)
        return pipeline

    def _former_fields(self, codec: RowCodec) -> list[bytes]:
        """Say which fields the view had once and has no more: beside newer ones, nobody may read them as of now."""
        name = f"ws:fields:{self._project}:{codec.view.name}"
        self._redis.sadd(name, *codec.fields)
        stored_fields: Any = self._redis.smembers(name)
        return sorted(stored_fields - set(codec.fields))

    def read_row(self, view: FeatureViewSpec, key: tuple[str, ...]) -> FeatureRow | None:
        """Return the row of one thing, None when there is none. Raises Refused for a key that is no token."""
        return self.read_rows(view, [key])[0]

    def read_rows(self, view: FeatureViewSpec, keys: Sequence[tuple[str, ...]]) -> list[FeatureRow | None]:
        """Return the rows of many things in one round trip, in the order asked."""
        codec = RowCodec(self._project, view)
        with self._map_errors():
            # redis-py's hints know no bytes as a name.
            pipeline: Any = self._redis.pipeline(transaction=False)
            for key in keys:
                pipeline.hmget(codec.encode_key(key), list(codec.fields))
            return [codec.decode_row(key, reply) for key, reply in zip(keys, pipeline.execute(), strict=True)]

    def begin_write(self, views: Digest) -> None:
        """Say, before the first of them, under which definition the next rows are written; `point` ends it."""
        with self._map_errors():
            self._redis.eval(ADD_PENDING_VIEWS, 1, marker_key(self._project), views)

    def set_live(self, edition: Edition, *, as_of: datetime, views: Digest) -> bool:
        """Mark an edition as live; False, and nothing changes, when a later one is live already."""
        published, until = to_epoch_micros(edition.known_since), to_epoch_micros(as_of)
        with self._map_errors():
            reply: Any = self._redis.eval(
                SET_LIVE_EDITION, 1, marker_key(self._project), edition.id, published, until, views
            )
        return bool(reply)

    def get_live(self) -> LiveMarker | None:
        """Return what is live, None before the first."""
        with self._map_errors():
            reply: Any = self._redis.hmget(marker_key(self._project), list(_MARKER_FIELDS))
        return parse_live_marker(reply)

    @contextmanager
    def _map_errors(self) -> Iterator[None]:
        from redis.exceptions import ConnectionError as Lost
        from redis.exceptions import RedisError
        from redis.exceptions import TimeoutError as Late

        try:
            yield
        except (Lost, Late, OSError) as problem:
            raise Unavailable(
                f"the online store at {self._socket} does not answer ({type(problem).__name__})", fix=_START_HINT
            ) from None
        except RedisError as problem:
            raise _error_reply(problem) from None


class OnlineReader:
    """The API's end: many callers of one event loop share one connection, and each call is one round trip.

    deadline: seconds for one call, connecting included. A connection that is lost fails every call that waits for it;
    the next call connects again. Nothing is tried twice: the caller knows whether its own time is up.
    """

    def __init__(
        self,
        socket: Path,
        views: FeatureViews,
        *,
        user: str,
        password: str,
        deadline: float = 0.25,
        max_pending: int = 10_000,
    ) -> None:
        self._socket = socket
        self._credentials = (user, password)
        self._deadline = deadline
        self._max_pending = max_pending
        self._plans = {view.name: _LookupPlan(views.project, view) for view in views.views}
        self._marker_command = _encode_command(
            b"HMGET", *(word.encode() for word in (marker_key(views.project), *_MARKER_FIELDS))
        )
        self._connection: _RedisConnection | None = None
        self._connecting: asyncio.Task[_RedisConnection] | None = None

    async def get_rows(self, keys: Sequence[tuple[str, tuple[str, ...]]]) -> list[FeatureRow | None]:
        """Return the rows of (view, key), None for one that is not there, in one round trip.

        Raises NotFound for an unknown view, Refused for a key that is no token, Unavailable without an answer in time.
        """
        return (await self._fetch_rows(keys, b""))[1]

    async def get_with_marker(
        self, keys: Sequence[tuple[str, tuple[str, ...]]]
    ) -> tuple[LiveMarker | None, list[FeatureRow | None]]:
        """Return what is live together with the rows, in one round trip."""
        replies, rows = await self._fetch_rows(keys, self._marker_command)
        return parse_live_marker(replies[-1]), rows

    async def get_live(self) -> LiveMarker | None:
        """Return what is live, None before the first."""
        return (await self.get_with_marker([]))[0]

    async def close(self) -> None:
        """Let go of the connection; whoever waits for an answer is told."""
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
                        f"{connection.pending_count} calls wait for the online store already", fix=_START_HINT
                    )
                replies = await connection.send_commands(payload, count)
        except TimeoutError:
            message = f"the online store did not answer within {self._deadline:g} s"
            raise Unavailable(message, fix=_START_HINT) from None
        for reply in replies:
            if isinstance(reply, Exception):
                raise _error_reply(reply)
        return replies

    async def _ensure_connected(self) -> _RedisConnection:
        """Connect once for all who ask; a caller whose time is up leaves the attempt to the others."""
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._connect())
            self._connecting.add_done_callback(self._on_connected)
        return await asyncio.shield(self._connecting)

    def _on_connected(self, task: asyncio.Task[_RedisConnection]) -> None:
        self._connecting = None
        if not task.cancelled() and task.exception() is None:
            self._connection = task.result()

    async def _connect(self) -> _RedisConnection:
        user, password = self._credentials
        try:
            _, connection = await asyncio.get_running_loop().create_unix_connection(_RedisConnection, str(self._socket))
        except OSError as problem:
            message = f"the online store at {self._socket} does not answer ({type(problem).__name__})"
            raise Unavailable(message, fix=_START_HINT) from None
        (reply,) = await connection.send_commands(_encode_command(b"AUTH", user.encode(), password.encode()), 1)
        if isinstance(reply, Exception):
            connection.close()
            raise _error_reply(reply)
        return connection


class _LookupPlan:
    """How one view is asked for: all of the command but the key, made once."""

    def __init__(self, project: str, view: FeatureViewSpec) -> None:
        self.codec = RowCodec(project, view)
        self._prefix = b"*%d\r\n$5\r\nHMGET\r\n" % (2 + len(self.codec.fields))
        self._suffix = b"".join(b"$%d\r\n%b\r\n" % (len(field), field) for field in self.codec.fields)

    def encode_command(self, key: tuple[str, ...]) -> bytes:
        name = self.codec.encode_key(key)
        return b"%b$%d\r\n%b\r\n%b" % (self._prefix, len(name), name, self._suffix)


class _RedisConnection(asyncio.Protocol):
    """One connection: replies come in the order of the questions, and questions of one turn leave in one write."""

    def __init__(self) -> None:
        import hiredis

        self.is_open = False
        self._reader = hiredis.Reader()
        self._pending: deque[tuple[int, list[Any], asyncio.Future[list[Any]]]] = deque()
        self._outgoing: list[bytes] = []
        self._transport: asyncio.Transport | None = None

    @property
    def pending_count(self) -> int:
        return len(self._pending)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transport is no subclass of asyncio's.
        self._transport, self.is_open = cast("asyncio.Transport", transport), True
        self._loop = asyncio.get_running_loop()

    def send_commands(self, payload: bytes, count: int) -> asyncio.Future[list[Any]]:
        """Ask `count` commands at once. A caller that stops waiting leaves its replies to be read and dropped."""
        future: asyncio.Future[list[Any]] = self._loop.create_future()
        if not self.is_open:
            future.set_exception(_lost_connection_error())
            return future
        self._pending.append((count, [], future))
        if not self._outgoing:
            self._loop.call_soon(self._flush)
        self._outgoing.append(payload)
        return future

    def _flush(self) -> None:
        outgoing, self._outgoing = self._outgoing, []
        if self._transport is not None and self.is_open:
            self._transport.write(b"".join(outgoing))

    def data_received(self, data: bytes) -> None:
        import hiredis

        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not False:
                count, replies, future = self._pending[0]
                replies.append(reply)
                if len(replies) == count:
                    self._pending.popleft()
                    if not future.done():
                        future.set_result(replies)
        except (hiredis.ProtocolError, IndexError):
            # What the store says can no longer be told apart: nobody may get another's reply.
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's words
        self.is_open = False
        while self._pending:
            _, _, future = self._pending.popleft()
            if not future.done():
                future.set_exception(_lost_connection_error())

    def close(self) -> None:
        self.is_open = False
        if self._transport is not None:
            self._transport.abort()


def marker_key(project: str) -> str:
    """Name the hash that says which edition of a project is live."""
    return f"ws:edition:{project}"


def parse_live_marker(fields: Sequence[bytes | None]) -> LiveMarker | None:
    """Read the marker. Raises Broken when only a part of it is there."""
    match list(fields):
        case [None, None, None, _]:
            return None
        case [bytes() as edition, bytes() as as_of, bytes() as views, pending] if as_of.isdigit():
            pending_views = tuple(pending.decode().split()) if pending is not None else ()
            return LiveMarker(edition.decode(), from_epoch_micros(int(as_of)), views.decode(), pending_views)
    raise CorruptedError(
        "the online store's marker of the live edition is torn", fix="run `wellspring transform` again"
    )


def _encode_command(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def _lost_connection_error() -> Unavailable:
    return Unavailable("the online store closed the connection before it answered", fix=_START_HINT)


def _error_reply(problem: Exception) -> Unavailable:
    """Tell of an error reply by its first word alone: the rest may quote what was asked."""
    word = str(problem).partition(" ")[0]
    code = word if word.isupper() else type(problem).__name__
    return Unavailable(f"the online store refused to answer ({code})", fix=_START_HINT)
