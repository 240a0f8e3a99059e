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

from wellspring.errors import Broken, NotFound, Unavailable
from wellspring.project import nearest
from wellspring.records.data import Edition, FeatureRow, View, Views
from wellspring.records.record import Digest
from wellspring.stores.layout import TOKEN, Layout, instant, microseconds, not_a_token
from wellspring.stores.scripts import COMING, LIVE, NEWEST

if TYPE_CHECKING:
    import pyarrow as pa
    from redis import Redis

_UP = "start it with `wellspring up`, or ask again later; `wellspring doctor` says what is wrong"
# One script of so many rows keeps the store from answering for about a millisecond.
_ROWS = 100
_SCRIPTS = 20
_LIVE = ("id", "as_of", "views", "coming")


class Written(NamedTuple):
    """What a bulk write came to. newer_kept: rows whose newer knowledge, already there, was left in place."""

    rows: int
    newer_kept: int


class Live(NamedTuple):
    """The edition that was last materialized whole. as_of: up to when its knowledge goes; views: their digest.

    coming: digests of the views under which rows were written since then, in part: a row may be of these already.
    """

    edition: str
    as_of: datetime
    views: Digest
    coming: tuple[Digest, ...] = ()


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

    def write(self, view: View, rows: pa.Table, edition: Edition) -> Written:
        """Write rows of a view; a row whose newer knowledge (known_since, sequence) is already there is left alone.

        rows: the view's keys, features, known_since and sequence. Of equal knowledge the later edition wins; writing
        the same again changes nothing. Raises Refused for a key that is no token, before anything is written.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        for name in view.keys:
            tokens = pc.match_substring_regex(rows[name], rf"\A{TOKEN.pattern}\z")
            if rows.num_rows and not pc.all(pc.fill_null(tokens, False)).as_py():
                raise not_a_token(view)
        layout = Layout(self._project, view)
        with self._asked(), ThreadPoolExecutor(1) as sender:
            script: Any = self._redis.script_load(NEWEST)
            former = self._former(layout)
            # The store works on one batch while the next is encoded.
            sent: Future[list[int]] | None = None
            written = 0
            for batch in rows.to_batches(max_chunksize=_ROWS * _SCRIPTS):
                pipeline = self._piped(layout, script, former, pa.Table.from_batches([batch]), edition)
                written += sum(sent.result()) if sent else 0
                sent = sender.submit(pipeline.execute)
            written += sum(sent.result()) if sent else 0
        return Written(written, rows.num_rows - written)

    def _piped(self, layout: Layout, script: str, former: list[bytes], rows: pa.Table, edition: Edition) -> Any:
        keys = [layout.name(key) for key in zip(*(rows[name].to_pylist() for name in layout.view.keys), strict=True)]
        columns = layout.encode(rows, published=edition.known_since, edition=edition.id)
        head = [str(len(layout.fields)), str(len(former)), *layout.fields, *former]
        pipeline = self._redis.pipeline(transaction=False)
        for start in range(0, len(keys), _ROWS):
            chunk = slice(start, start + _ROWS)
            values = [each for row in zip(*(column[chunk] for column in columns), strict=True) for each in row]
            pipeline.evalsha(script, len(keys[chunk]), *keys[chunk], *head, *values)
        return pipeline

    def _former(self, layout: Layout) -> list[bytes]:
        """Say which fields the view had once and has no more: beside newer ones, nobody may read them as of now."""
        name = f"ws:fields:{self._project}:{layout.view.name}"
        self._redis.sadd(name, *layout.fields)
        known: Any = self._redis.smembers(name)
        return sorted(known - set(layout.fields))

    def read(self, view: View, key: tuple[str, ...]) -> FeatureRow | None:
        """Return the row of one thing, None when there is none. Raises Refused for a key that is no token."""
        return self.read_many(view, [key])[0]

    def read_many(self, view: View, keys: Sequence[tuple[str, ...]]) -> list[FeatureRow | None]:
        """Return the rows of many things in one round trip, in the order asked."""
        layout = Layout(self._project, view)
        with self._asked():
            # redis-py's hints know no bytes as a name.
            pipeline: Any = self._redis.pipeline(transaction=False)
            for key in keys:
                pipeline.hmget(layout.key(key), list(layout.fields))
            return [layout.decode(key, reply) for key, reply in zip(keys, pipeline.execute(), strict=True)]

    def announce(self, views: Digest) -> None:
        """Say, before the first of them, under which definition the next rows are written; `point` ends it."""
        with self._asked():
            self._redis.eval(COMING, 1, marker(self._project), views)

    def point(self, edition: Edition, *, as_of: datetime, views: Digest) -> bool:
        """Mark an edition as live; False, and nothing changes, when a later one is live already."""
        published, until = microseconds(edition.known_since), microseconds(as_of)
        with self._asked():
            told: Any = self._redis.eval(LIVE, 1, marker(self._project), edition.id, published, until, views)
        return bool(told)

    def live(self) -> Live | None:
        """Return what is live, None before the first."""
        with self._asked():
            told: Any = self._redis.hmget(marker(self._project), list(_LIVE))
        return read_live(told)

    @contextmanager
    def _asked(self) -> Iterator[None]:
        from redis.exceptions import ConnectionError as Lost
        from redis.exceptions import RedisError
        from redis.exceptions import TimeoutError as Late

        try:
            yield
        except (Lost, Late, OSError) as problem:
            raise Unavailable(
                f"the online store at {self._socket} does not answer ({type(problem).__name__})", fix=_UP
            ) from None
        except RedisError as problem:
            raise _refusal(problem) from None


class OnlineReader:
    """The API's end: many callers of one event loop share one connection, and each call is one round trip.

    deadline: seconds for one call, connecting included. A connection that is lost fails every call that waits for it;
    the next call connects again. Nothing is tried twice: the caller knows whether its own time is up.
    """

    def __init__(
        self, socket: Path, views: Views, *, user: str, password: str, deadline: float = 0.25, most: int = 10_000
    ) -> None:
        self._socket = socket
        self._login = (user, password)
        self._deadline = deadline
        self._most = most
        self._plans = {view.name: _Plan(views.project, view) for view in views.views}
        self._marker = _command(b"HMGET", *(word.encode() for word in (marker(views.project), *_LIVE)))
        self._wire: _Wire | None = None
        self._opening: asyncio.Task[_Wire] | None = None

    async def get(self, wanted: Sequence[tuple[str, tuple[str, ...]]]) -> list[FeatureRow | None]:
        """Return the rows of (view, key), None for one that is not there, in one round trip.

        Raises NotFound for an unknown view, Refused for a key that is no token, Unavailable without an answer in time.
        """
        return (await self._look(wanted, b""))[1]

    async def look(self, wanted: Sequence[tuple[str, tuple[str, ...]]]) -> tuple[Live | None, list[FeatureRow | None]]:
        """Return what is live together with the rows, in one round trip."""
        replies, rows = await self._look(wanted, self._marker)
        return read_live(replies[-1]), rows

    async def live(self) -> Live | None:
        """Return what is live, None before the first."""
        return (await self.look([]))[0]

    async def close(self) -> None:
        """Let go of the connection; whoever waits for an answer is told."""
        if self._opening is not None:
            self._opening.cancel()
        if self._wire is not None:
            self._wire.close()
        self._wire = self._opening = None

    async def _look(
        self, wanted: Sequence[tuple[str, tuple[str, ...]]], more: bytes
    ) -> tuple[list[Any], list[FeatureRow | None]]:
        plans = [self._plan(view) for view, _ in wanted]
        sent = [plan.ask(key) for plan, (_, key) in zip(plans, wanted, strict=True)]
        if more:
            sent.append(more)
        if not sent:
            return [], []
        replies = await self._ask(b"".join(sent), len(sent))
        return replies, [
            plan.layout.decode(key, reply) for plan, (_, key), reply in zip(plans, wanted, replies, strict=False)
        ]

    def _plan(self, view: str) -> _Plan:
        if view not in self._plans:
            raise NotFound(f"no view {view!r}", fix=nearest(view, list(self._plans)))
        return self._plans[view]

    async def _ask(self, payload: bytes, count: int) -> list[Any]:
        try:
            async with asyncio.timeout(self._deadline):
                wire = self._wire if self._wire is not None and self._wire.open else await self._connected()
                if wire.waiting >= self._most:
                    raise Unavailable(f"{wire.waiting} calls wait for the online store already", fix=_UP)
                replies = await wire.send(payload, count)
        except TimeoutError:
            what = f"the online store did not answer within {self._deadline:g} s"
            raise Unavailable(what, fix=_UP) from None
        for reply in replies:
            if isinstance(reply, Exception):
                raise _refusal(reply)
        return replies

    async def _connected(self) -> _Wire:
        """Connect once for all who ask; a caller whose time is up leaves the attempt to the others."""
        if self._opening is None:
            self._opening = asyncio.create_task(self._connect())
            self._opening.add_done_callback(self._connect_ended)
        return await asyncio.shield(self._opening)

    def _connect_ended(self, task: asyncio.Task[_Wire]) -> None:
        self._opening = None
        if not task.cancelled() and task.exception() is None:
            self._wire = task.result()

    async def _connect(self) -> _Wire:
        user, password = self._login
        try:
            _, wire = await asyncio.get_running_loop().create_unix_connection(_Wire, str(self._socket))
        except OSError as problem:
            what = f"the online store at {self._socket} does not answer ({type(problem).__name__})"
            raise Unavailable(what, fix=_UP) from None
        (reply,) = await wire.send(_command(b"AUTH", user.encode(), password.encode()), 1)
        if isinstance(reply, Exception):
            wire.close()
            raise _refusal(reply)
        return wire


class _Plan:
    """How one view is asked for: all of the command but the key, made once."""

    def __init__(self, project: str, view: View) -> None:
        self.layout = Layout(project, view)
        self._head = b"*%d\r\n$5\r\nHMGET\r\n" % (2 + len(self.layout.fields))
        self._tail = b"".join(b"$%d\r\n%b\r\n" % (len(each), each) for each in self.layout.fields)

    def ask(self, key: tuple[str, ...]) -> bytes:
        name = self.layout.key(key)
        return b"%b$%d\r\n%b\r\n%b" % (self._head, len(name), name, self._tail)


class _Wire(asyncio.Protocol):
    """One connection: replies come in the order of the questions, and questions of one turn leave in one write."""

    def __init__(self) -> None:
        import hiredis

        self.open = False
        self._reader = hiredis.Reader()
        self._asked: deque[tuple[int, list[Any], asyncio.Future[list[Any]]]] = deque()
        self._out: list[bytes] = []
        self._transport: asyncio.Transport | None = None

    @property
    def waiting(self) -> int:
        return len(self._asked)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transport is no subclass of asyncio's.
        self._transport, self.open = cast("asyncio.Transport", transport), True
        self._loop = asyncio.get_running_loop()

    def send(self, payload: bytes, count: int) -> asyncio.Future[list[Any]]:
        """Ask `count` commands at once. A caller that stops waiting leaves its replies to be read and dropped."""
        future: asyncio.Future[list[Any]] = self._loop.create_future()
        if not self.open:
            future.set_exception(_lost())
            return future
        self._asked.append((count, [], future))
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(payload)
        return future

    def _flush(self) -> None:
        out, self._out = self._out, []
        if self._transport is not None and self.open:
            self._transport.write(b"".join(out))

    def data_received(self, data: bytes) -> None:
        import hiredis

        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not False:
                count, replies, future = self._asked[0]
                replies.append(reply)
                if len(replies) == count:
                    self._asked.popleft()
                    if not future.done():
                        future.set_result(replies)
        except (hiredis.ProtocolError, IndexError):
            # What the store says can no longer be told apart: nobody may get another's reply.
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's words
        self.open = False
        while self._asked:
            _, _, future = self._asked.popleft()
            if not future.done():
                future.set_exception(_lost())

    def close(self) -> None:
        self.open = False
        if self._transport is not None:
            self._transport.abort()


def marker(project: str) -> str:
    """Name the hash that says which edition of a project is live."""
    return f"ws:edition:{project}"


def read_live(told: Sequence[bytes | None]) -> Live | None:
    """Read the marker. Raises Broken when only a part of it is there."""
    match list(told):
        case [None, None, None, _]:
            return None
        case [bytes() as edition, bytes() as as_of, bytes() as views, coming] if as_of.isdigit():
            since = tuple(coming.decode().split()) if coming is not None else ()
            return Live(edition.decode(), instant(int(as_of)), views.decode(), since)
    raise Broken("the online store's marker of the live edition is torn", fix="run `wellspring transform` again")


def _command(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(each), each) for each in words)


def _lost() -> Unavailable:
    return Unavailable("the online store closed the connection before it answered", fix=_UP)


def _refusal(problem: Exception) -> Unavailable:
    """Tell of an error reply by its first word alone: the rest may quote what was asked."""
    word = str(problem).partition(" ")[0]
    code = word if word.isupper() else type(problem).__name__
    return Unavailable(f"the online store refused to answer ({code})", fix=_UP)
