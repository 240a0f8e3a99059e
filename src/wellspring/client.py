"""Asks the API over its Unix socket, and believes an answer only under its promise. Standard library for the wire.

A `Client` keeps one connection and is for one thread. What the API refuses comes back as the error that it was.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from pydantic import JsonValue, ValidationError

from wellspring.errors import BY_SLUG, Broken, Refused, Unavailable, WellspringError
from wellspring.project import Project
from wellspring.records.models import Prediction, State
from wellspring.records.record import Frozen, Instant
from wellspring_verify import canonical, notes, promise
from wellspring_verify.canonical import Malformed

TIMEOUT = 10.0
_LARGEST = 2**20
_SLUG = "urn:wellspring:"
T = TypeVar("T", bound=Frozen)


class Features(Frozen):
    """What is known of one thing. values: by feature; None where nothing is known."""

    view: str
    values: dict[str, JsonValue]
    known_since: Instant
    edition: str
    as_of: Instant
    age_seconds: int
    state: State


class Described(Frozen):
    """What a model needs to be asked. keys: the columns whose tokens it wants; trouble: why a newer release waits."""

    model: str
    release: str
    trained_on: str
    edition: str
    keys: tuple[str, ...]
    threshold: str
    labels: tuple[str, str]
    state: State
    as_of: Instant
    age_seconds: int
    trouble: str | None = None


class Client:
    """Typed calls. at: a project, or the API's socket. timeout: seconds of silence after which it counts as gone."""

    def __init__(self, at: Project | Path, *, timeout: float = TIMEOUT) -> None:
        self._path = at.socket("api") if isinstance(at, Project) else at
        self._timeout = timeout
        self._line: _Line | None = None
        # By id: the public half, and until when it holds.
        self._keys: dict[str, tuple[bytes, str]] = {}

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trail: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connection; the next call opens another."""
        if self._line is not None:
            self._line.close()
            self._line = None

    def predict(self, model: str, keys: Mapping[str, str], *, reasons: bool = True) -> Prediction:
        """Ask for one answer. keys: a token for each key column of the model.

        Raises what the API said, and Broken for an answer whose promise does not hold, or that is one to another
        question.
        """
        body = json.dumps({"keys": dict(keys), "reasons": reasons}).encode()
        content = self._ask("POST", f"/v1/models/{quote(model, safe='')}/predictions", body)
        self._hold(content)
        made = _read(Prediction, content)
        if made.model != model or made.asked != hashlib.sha256(canonical.dumps(dict(keys))).hexdigest():
            raise Broken("the API gave the answer to another question", fix=_STOP)
        return made

    def features(self, view: str, *key: str) -> Features:
        """Ask what is known of one thing. key: its tokens, in the order of the view's keys."""
        return _read(Features, self._ask("GET", f"/v1/features/{quote(view, safe='')}?{_query(key)}"))

    def model(self, name: str) -> Described:
        """Ask what a model needs, and what serves it."""
        return _read(Described, self._ask("GET", f"/v1/models/{quote(name, safe='')}"))

    def health(self) -> dict[str, JsonValue]:
        """Ask what is served, and what is not as it should be."""
        return _json(self._ask("GET", "/healthz"))

    def _hold(self, content: bytes) -> None:
        """Check the promise under an answer. Raises Broken.

        The key comes from the process that answered; that the same key stands in the ledger, `wellspring verify` shows.
        """
        try:
            answer = promise.read(content)
            promised = promise.promised(answer)
            message = promise.text(answer)
        except Malformed as wrong:
            raise Broken(f"the API gave an answer without a promise that can be read: {wrong}", fix=_STOP) from None
        if promised.key not in self._keys:
            told = _json(self._ask("GET", f"/v1/keys/{promised.key}"))
            try:
                self._keys[promised.key] = notes.unbase64(str(told.get("public"))), str(told.get("expires"))
            except Malformed:
                raise Broken("the API names a key that is none", fix=_STOP) from None
        public, expires = self._keys[promised.key]
        named = promise.key_id(public) == promised.key and str(answer.get("at")) < expires
        if not named or not promise.holds(public, promised.signature, message):
            raise Broken("the promise under the API's answer does not hold", fix=_STOP)

    def _ask(self, method: str, address: str, body: bytes | None = None) -> bytes:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        kept = self._line is not None
        try:
            status, content = self._said(method, address, body, headers)
        except (OSError, http.client.HTTPException) as wrong:
            self.close()
            # A connection that was idle may have been closed by the API; a new one that fails is news.
            if not kept or isinstance(wrong, TimeoutError):
                raise self._gone(wrong) from None
            try:
                status, content = self._said(method, address, body, headers)
            except (OSError, http.client.HTTPException) as again:
                self.close()
                raise self._gone(again) from None
        if status != 200:
            raise _error(status, content)
        return content

    def _said(self, method: str, address: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, bytes]:
        if self._line is None:
            self._line = _Line(self._path, self._timeout)
        # Who is refused is answered before all was said: the answer tells why, and not the broken pipe.
        with suppress(BrokenPipeError):
            self._line.request(method, address, body, headers)
        answer = self._line.getresponse()
        content = answer.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            self.close()
            raise Broken("the API's answer is too long for one", fix=_STOP)
        return answer.status, content

    def _gone(self, wrong: Exception) -> Unavailable:
        return Unavailable(
            f"the API at {self._path} does not answer ({type(wrong).__name__})",
            fix="start it with `wellspring up`, or ask again later",
        )


class _Line(http.client.HTTPConnection):
    """HTTP over one Unix socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("api", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.sock.settimeout(self.timeout)
            self.sock.connect(str(self._path))
        except OSError:
            self.close()
            raise


def _query(key: Sequence[str]) -> str:
    return urlencode([("key", each) for each in key])


def _json(content: bytes) -> dict[str, JsonValue]:
    try:
        value: Any = json.loads(content)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise Broken("the API's answer is no JSON object", fix=_STOP)
    return value


def _read(kind: type[T], content: bytes) -> T:
    try:
        return kind.model_validate_json(content)
    except ValidationError as wrong:
        raise Broken(
            f"the API's answer is no {kind.__name__}: {wrong.error_count()} fields are wrong", fix=_STOP
        ) from None


def _error(status: int, content: bytes) -> WellspringError:
    """Make the error again that a problem document tells of."""
    try:
        told: Any = json.loads(content)
    except ValueError:
        told = {}
    told = told if isinstance(told, dict) else {}
    kind = BY_SLUG.get(str(told.get("type", "")).removeprefix(_SLUG), Unavailable if status >= 500 else Refused)
    what, fix = str(told.get("detail") or f"the API said {status}"), str(told.get("fix") or "ask again later")
    return kind(what, fix=fix)


_STOP = "do not act on it; keep it, and look at the API's log"
