"""Write and read rows synchronously over the Redis protocol, in bulk.

Rows have Feast's layout (`feast_codec.py`), so that stock Feast can read them. A script inside the store compares the
versions of a row: with two concurrent writers, the newer row wins regardless of their order. Rows are never deleted
here: each holds its edition, and the marker holds the live edition.
"""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from wellspring.errors import CorruptedError, Unavailable
from wellspring.records.features import FeatureRow, FeatureViews, FeatureViewSpec
from wellspring.records.instants import to_epoch_micros
from wellspring.records.lake import Edition
from wellspring.records.record import Digest
from wellspring.records.tokens import TOKEN_PATTERN
from wellspring.runtime.unix_socket import ServerSocket, connect_unix_socket
from wellspring.stores.online.feast_codec import RowCodec, seal_text
from wellspring.stores.online.port import (
    LiveMarker,
    RowCheck,
    StoreLogin,
    WriteResult,
    token_required,
)
from wellspring.stores.online.redis.connection import START_HINT, error_from_reply
from wellspring.stores.online.redis.marker import MARKER_FIELDS, marker_key, parse_live_marker
from wellspring.stores.online.redis.scripts import SET_LIVE_EDITION, WRITE_NEWEST_ROWS

if TYPE_CHECKING:
    import pyarrow as pa
    from redis import Redis

# One script with this many rows blocks the store for about a millisecond.
_ROWS_PER_SCRIPT = 100
_SCRIPTS_PER_BATCH = 20
_SCANNED_KEYS = 500


class RedisWriter:
    """Write and read rows synchronously. namespace: part of each Redis key. timeout: seconds for one round trip."""

    def __init__(self, server: ServerSocket, namespace: str, *, login: StoreLogin, timeout: float = 10.0) -> None:
        from redis import ConnectionPool, Redis
        from redis.backoff import NoBackoff
        from redis.connection import UnixDomainSocketConnection
        from redis.retry import Retry

        class CheckedConnection(UnixDomainSocketConnection):
            def _connect(self) -> socket.socket:
                return connect_unix_socket(server, timeout)

        self._namespace = namespace
        self._row_key = login.row_key
        self._socket = server.path
        # One retry, for a connection that the store closed while it was idle; a repeated write changes nothing.
        # The type stub of redis knows connections over TCP only.
        checked_connection: Any = CheckedConnection
        pool = ConnectionPool(
            connection_class=checked_connection,
            path=str(server.path),
            username=login.user,
            password=login.password,
            socket_timeout=timeout,
            retry=Retry(NoBackoff(), 1),
            protocol=2,
        )
        self._redis: Redis = Redis.from_pool(pool)

    def close(self) -> None:
        """Close the connection."""
        self._redis.close()

    def write_rows(
        self, view: FeatureViewSpec, rows: pa.Table, edition: Edition, *, warm: Sequence[FeatureViewSpec] = ()
    ) -> WriteResult:
        """Write rows of a view, except those for which the store has a greater (known_since, sequence).

        On a tie the later edition wins. See `OnlineWriter`.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        for name in view.keys:
            tokens = pc.match_substring_regex(rows[name], rf"\A{TOKEN_PATTERN.pattern}\z")
            if rows.num_rows and not pc.all(pc.fill_null(tokens, False)).as_py():
                raise token_required(view)
        codec = RowCodec(self._namespace, view, self._row_key)
        with self._map_errors(), ThreadPoolExecutor(1) as sender:
            script: Any = self._redis.script_load(WRITE_NEWEST_ROWS)
            former_fields = self._former_fields(codec, warm)
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
        columns = codec.encode_rows(rows, keys, published=edition.known_since, edition=edition.id)
        header = [str(len(codec.fields)), str(len(former_fields)), *codec.fields, *former_fields]
        pipeline = self._redis.pipeline(transaction=False)
        for start in range(0, len(keys), _ROWS_PER_SCRIPT):
            chunk = slice(start, start + _ROWS_PER_SCRIPT)
            values = [value for row in zip(*(column[chunk] for column in columns), strict=True) for value in row]
            pipeline.evalsha(script, len(keys[chunk]), *keys[chunk], *header, *values)
        return pipeline

    def _former_fields(self, codec: RowCodec, warm: Sequence[FeatureViewSpec]) -> list[bytes]:
        """Return the fields of versions of the view that are neither written nor warm; a newer row deletes them."""
        name = f"ws:fields:{self._namespace}:{codec.view.name}"
        self._redis.sadd(name, *codec.fields)
        stored_fields: Any = self._redis.smembers(name)
        warm_fields = {field for view in warm for field in RowCodec(self._namespace, view).fields}
        return sorted(stored_fields - warm_fields - set(codec.fields))

    def read_row(self, view: FeatureViewSpec, key: tuple[str, ...]) -> FeatureRow | None:
        """Return the row of one entity, or None. Raises Refused for a key that is not a token."""
        return self.read_rows(view, [key])[0]

    def read_rows(self, view: FeatureViewSpec, keys: Sequence[tuple[str, ...]]) -> list[FeatureRow | None]:
        """Return the rows of many entities in one round trip, in the order of `keys`."""
        codec = RowCodec(self._namespace, view, self._row_key)
        with self._map_errors():
            # The type hints of redis-py do not allow bytes as a key.
            pipeline: Any = self._redis.pipeline(transaction=False)
            for key in keys:
                pipeline.hmget(codec.encode_key(key), list(codec.fields))
            return [codec.decode_row(key, reply) for key, reply in zip(keys, pipeline.execute(), strict=True)]

    def set_live(self, edition: Edition, *, as_of: datetime, views: Digest, newest: bool = True) -> bool:
        """Set the live edition of a set of views; return False and change nothing if a later edition is live."""
        values = (edition.id, to_epoch_micros(edition.known_since), to_epoch_micros(as_of), views)
        words = [str(value).encode() for value in values]
        is_live = False
        with self._map_errors():
            # The newest marker moves last: whoever reads it finds the marker of its views.
            for key in (marker_key(self._namespace, views), *((marker_key(self._namespace),) if newest else ())):
                seal = seal_text(self._row_key, key.encode(), *words)
                reply: Any = self._redis.eval(SET_LIVE_EDITION, 1, key, *words, seal)
                is_live = bool(reply)
        return is_live

    def get_live(self, views: Digest | None = None) -> LiveMarker | None:
        """Return the marker of the live edition of a set of views, or without one the newest; None before the first."""
        key = marker_key(self._namespace, views)
        with self._map_errors():
            reply: Any = self._redis.hmget(key, list(MARKER_FIELDS))
        return parse_live_marker(key, reply, self._row_key)

    def check_rows(self, views: Sequence[FeatureViews]) -> RowCheck:
        """Check each row of this namespace with the definition that it names."""
        definitions = [view for item in views for view in item.views]
        codecs = [RowCodec(self._namespace, view, self._row_key) for view in definitions]
        by_field: dict[bytes, list[RowCodec]] = {}
        for codec in codecs:
            by_field.setdefault(codec.version_field, []).append(codec)
        rows = refused = 0
        suffix = self._namespace.encode()
        with self._map_errors():
            scan: Any = self._redis.scan_iter(count=_SCANNED_KEYS, _type="hash")
            while keys := list(itertools.islice(scan, _SCANNED_KEYS)):
                # Keys of rows are binary and end with the namespace; those of wellspring's own hashes begin with text.
                row_keys = [key for key in keys if key.endswith(suffix) and not key.startswith(b"ws:")]
                pipeline: Any = self._redis.pipeline(transaction=False)
                for key in row_keys:
                    pipeline.hgetall(key)
                for key, fields in zip(row_keys, pipeline.execute(), strict=True):
                    for name in fields.keys() & by_field.keys():
                        rows += 1
                        refused += not any(
                            codec.has_definition(fields[name])
                            and codec.is_sealed(key, [fields.get(field) for field in codec.fields])
                            for codec in by_field[name]
                        )
        try:
            for digest in (None, *(item.digest for item in views)):
                self.get_live(digest)
        except CorruptedError:
            return RowCheck(rows, refused, is_marker_refused=True)
        return RowCheck(rows, refused, is_marker_refused=False)

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
