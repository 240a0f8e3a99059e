"""Store the latest feature row of each entity, over the Redis protocol: bulk writes, reads in one round trip.

Rows have Feast's layout (`feast_codec.py`), so that stock Feast can read them. A script inside the store compares the
versions of a row: with two concurrent writers, the newer row wins regardless of their order. Rows are never deleted
here: each holds its edition, and the marker holds the live edition.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

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
from wellspring.stores.online.redis_connection import (
    START_HINT,
    RedisConnection,
    encode_redis_command,
    error_from_reply,
)
from wellspring.stores.online.redis_scripts import ADD_PENDING_VIEWS, SET_LIVE_EDITION, WRITE_NEWEST_ROWS

if TYPE_CHECKING:
    import pyarrow as pa
    from redis import Redis

# One script with this many rows blocks the store for about a millisecond.
_ROWS_PER_SCRIPT = 100
_SCRIPTS_PER_BATCH = 20
_MARKER_FIELDS = ("id", "as_of", "views", "pending_views")


class WriteResult(NamedTuple):
    """The result of a bulk write. superseded_rows: rows not written because the store already has newer ones."""

    rows: int
    superseded_rows: int


class LiveMarker(NamedTuple):
    """The edition that was last materialized completely. as_of: its knowledge cutoff; views: digest of the views.

    pending_views: digests of the views of later, incomplete writes; a row may already have one of these definitions.
    """

    edition: str
    as_of: datetime
    views: Digest
    pending_views: tuple[Digest, ...] = ()


class OnlineWriter:
    """Write and read rows synchronously. project: part of each Redis key. timeout: seconds for one round trip."""

    def __init__(self, socket: Path, project: str, *, user: str, password: str, timeout: float = 10.0) -> None:
        from redis import Redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        self._project = project
        self._socket = socket
        # One retry, for a connection that the store closed while it was idle; a repeated write changes nothing.
        self._redis: Redis = Redis(
            unix_socket_path=str(socket),
            username=user,
            password=password,
            socket_timeout=timeout,
            retry=Retry(NoBackoff(), 1),
            protocol=2,
        )

    def close(self) -> None:
        """Close the connection."""
        self._redis.close()

    def write_rows(self, view: FeatureViewSpec, rows: pa.Table, edition: Edition) -> WriteResult:
        """Write rows of a view, except those for which the store has a greater (known_since, sequence).

        rows: the view's keys, features, known_since and sequence. On a tie the later edition wins; a repeated write
        changes nothing. Raises Refused for a key that is not a token, before any write.
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
            # The store processes one batch while the next is encoded.
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
            values = [value for row in zip(*(column[chunk] for column in columns), strict=True) for value in row]
            pipeline.evalsha(script, len(keys[chunk]), *keys[chunk], *header, *values)
        return pipeline

    def _former_fields(self, codec: RowCodec) -> list[bytes]:
        """Return fields that earlier definitions of the view had; a newer row deletes them."""
        name = f"ws:fields:{self._project}:{codec.view.name}"
        self._redis.sadd(name, *codec.fields)
        stored_fields: Any = self._redis.smembers(name)
        return sorted(stored_fields - set(codec.fields))

    def read_row(self, view: FeatureViewSpec, key: tuple[str, ...]) -> FeatureRow | None:
        """Return the row of one entity, or None. Raises Refused for a key that is not a token."""
        return self.read_rows(view, [key])[0]

    def read_rows(self, view: FeatureViewSpec, keys: Sequence[tuple[str, ...]]) -> list[FeatureRow | None]:
        """Return the rows of many entities in one round trip, in the order of `keys`."""
        codec = RowCodec(self._project, view)
        with self._map_errors():
            # The type hints of redis-py do not allow bytes as a key.
            pipeline: Any = self._redis.pipeline(transaction=False)
            for key in keys:
                pipeline.hmget(codec.encode_key(key), list(codec.fields))
            return [codec.decode_row(key, reply) for key, reply in zip(keys, pipeline.execute(), strict=True)]

    def begin_write(self, views: Digest) -> None:
        """Record the view definition of the rows that follow; `set_live` ends the write."""
        with self._map_errors():
            self._redis.eval(ADD_PENDING_VIEWS, 1, marker_key(self._project), views)

    def set_live(self, edition: Edition, *, as_of: datetime, views: Digest) -> bool:
        """Set the live edition; return False and change nothing if a later edition is live."""
        published, until = to_epoch_micros(edition.known_since), to_epoch_micros(as_of)
        with self._map_errors():
            reply: Any = self._redis.eval(
                SET_LIVE_EDITION, 1, marker_key(self._project), edition.id, published, until, views
            )
        return bool(reply)

    def get_live(self) -> LiveMarker | None:
        """Return the marker of the live edition, or None before the first."""
        with self._map_errors():
            reply: Any = self._redis.hmget(marker_key(self._project), list(_MARKER_FIELDS))
        return parse_live_marker(reply)

    @contextmanager
    def _map_errors(self) -> Iterator[None]:
        from redis.exceptions import ConnectionError as RedisConnectionError
        from redis.exceptions import RedisError
        from redis.exceptions import TimeoutError as RedisTimeoutError

        try:
            yield
        except (RedisConnectionError, RedisTimeoutError, OSError) as exc:
            raise Unavailable(
                f"the online store at {self._socket} does not respond ({type(exc).__name__})", fix=START_HINT
            ) from None
        except RedisError as exc:
            raise error_from_reply(exc) from None


class OnlineReader:
    """Read rows asynchronously: callers of one event loop share one connection; each call is one round trip.

    deadline: seconds for one call, including the connection. A lost connection fails all pending calls; the next call
    reconnects. No call is retried: only the caller knows its remaining time.
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
        self._marker_command = encode_redis_command(
            b"HMGET", *(word.encode() for word in (marker_key(views.project), *_MARKER_FIELDS))
        )
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
        """Return the marker of the live edition and the rows, in one round trip."""
        replies, rows = await self._fetch_rows(keys, self._marker_command)
        return parse_live_marker(replies[-1]), rows

    async def get_live(self) -> LiveMarker | None:
        """Return the marker of the live edition, or None before the first."""
        return (await self.get_with_marker([]))[0]

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
        user, password = self._credentials
        try:
            _, connection = await asyncio.get_running_loop().create_unix_connection(RedisConnection, str(self._socket))
        except OSError as exc:
            message = f"the online store at {self._socket} does not respond ({type(exc).__name__})"
            raise Unavailable(message, fix=START_HINT) from None
        (reply,) = await connection.send_commands(encode_redis_command(b"AUTH", user.encode(), password.encode()), 1)
        if isinstance(reply, Exception):
            connection.close()
            raise error_from_reply(reply)
        return connection


class _LookupPlan:
    """The HMGET command of one view, encoded once except for the key."""

    def __init__(self, project: str, view: FeatureViewSpec) -> None:
        self.codec = RowCodec(project, view)
        self._prefix = b"*%d\r\n$5\r\nHMGET\r\n" % (2 + len(self.codec.fields))
        self._suffix = b"".join(b"$%d\r\n%b\r\n" % (len(field), field) for field in self.codec.fields)

    def encode_command(self, key: tuple[str, ...]) -> bytes:
        name = self.codec.encode_key(key)
        return b"%b$%d\r\n%b\r\n%b" % (self._prefix, len(name), name, self._suffix)


def marker_key(project: str) -> str:
    """Return the Redis key of the live-edition marker of a project."""
    return f"ws:edition:{project}"


def parse_live_marker(fields: Sequence[bytes | None]) -> LiveMarker | None:
    """Parse the marker of the live edition. Raises CorruptedError if it is incomplete."""
    match list(fields):
        case [None, None, None, _]:
            return None
        case [bytes() as edition, bytes() as as_of, bytes() as views, pending] if as_of.isdigit():
            pending_views = tuple(pending.decode().split()) if pending is not None else ()
            return LiveMarker(edition.decode(), from_epoch_micros(int(as_of)), views.decode(), pending_views)
    raise CorruptedError(
        "the online store's marker of the live edition is incomplete", fix="run `wellspring transform` again"
    )
