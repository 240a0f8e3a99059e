"""Call the prediction API over its Unix socket, and verify the signature of each prediction.

A `Client` holds one connection; use it from one thread. A problem document of the API is raised as the original error.
"""

from __future__ import annotations

import hashlib
import http.client
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from pydantic import JsonValue, ValidationError

from wellspring.errors import ERRORS_BY_SLUG, CorruptedError, Refused, Unavailable, WellspringError
from wellspring.observe.traceparent import format_traceparent
from wellspring.project import Project
from wellspring.records.decisions import DecisionRule
from wellspring.records.models import FreshnessState, Prediction
from wellspring.records.record import Frozen, Instant
from wellspring.runtime.server_sockets import find_server_socket
from wellspring.runtime.unix_socket import ServerSocket, UnixHTTPConnection
from wellspring_verify import answer_signature, canonical, notes
from wellspring_verify.canonical import MalformedError

DEFAULT_TIMEOUT = 10.0
_MAX_RESPONSE_BYTES = 2**20
_PROBLEM_URN = "urn:wellspring:"
T = TypeVar("T", bound=Frozen)


class FeatureValues(Frozen):
    """The features of one entity. values: by feature name; None if a value is missing."""

    view: str
    values: dict[str, JsonValue]
    known_since: Instant
    edition: str
    as_of: Instant
    age_seconds: int
    freshness: FreshnessState


class ModelInfo(Frozen):
    """Description of a served model. keys: required key columns; pending_error: why a newer release is not loaded.

    challenger: id of the release that answers a share of the requests beside `release`. challenger_share: decimal text.
    reasons: a sentence about the reasons of its predictions, or that it gives no reasons.
    """

    model: str
    release: str
    challenger: str | None = None
    challenger_share: str | None = None
    trained_on: str
    edition: str
    keys: tuple[str, ...]
    task: str
    decision_rule: DecisionRule
    reasons: str
    freshness: FreshnessState
    as_of: Instant
    age_seconds: int
    pending_error: str | None = None


class Client:
    """Typed API client. location: a project, or the path of the API's socket. timeout: seconds per socket operation.

    server_uid: the uid of the API's process, required with a path: `wellspring status` shows it. A client sends nothing
    to a process of another user. trace: the caller's trace (32 hex digits), which the entries of its requests have; ''
    for one of each request.
    """

    def __init__(
        self,
        location: Project | Path,
        *,
        server_uid: int | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        trace: str = "",
    ) -> None:
        self._server = _find_server(location, server_uid)
        self._timeout = timeout
        self._trace = trace
        self._connection: UnixHTTPConnection | None = None
        # By key id: the public key, and the instant at which it expires.
        self._keys: dict[str, tuple[bytes, str]] = {}

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, exc_traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the next call opens a new one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def predict(self, model: str, keys: Mapping[str, str], *, include_reasons: bool = True) -> Prediction:
        """Request one prediction. keys: a token for each key column of the model.

        Raises the error that the API returned, and CorruptedError if the signature is invalid or the prediction belongs
        to another request.
        """
        body = json.dumps({"keys": dict(keys), "include_reasons": include_reasons}).encode()
        content = self._send_request("POST", f"/v1/models/{quote(model, safe='')}/predictions", body)
        self._verify_signature(content)
        prediction = _parse_response(Prediction, content)
        if (
            prediction.model != model
            or prediction.request_digest != hashlib.sha256(canonical.dumps_canonical(dict(keys))).hexdigest()
        ):
            raise CorruptedError("the prediction belongs to another request", fix=_STOP_FIX)
        return prediction

    def get_features(self, view: str, *entity_keys: str) -> FeatureValues:
        """Read the features of one entity. entity_keys: its tokens, in the order of the view's keys."""
        return _parse_response(
            FeatureValues,
            self._send_request("GET", f"/v1/features/{quote(view, safe='')}?{_encode_query(entity_keys)}"),
        )

    def describe_model(self, model: str) -> ModelInfo:
        """Read the required keys and the live release of a model."""
        return _parse_response(ModelInfo, self._send_request("GET", f"/v1/models/{quote(model, safe='')}"))

    def health(self) -> dict[str, JsonValue]:
        """Read the health report: loaded releases, load errors, policies."""
        return _parse_object(self._send_request("GET", "/healthz"))

    def _verify_signature(self, content: bytes) -> None:
        """Verify the signature of a prediction. Raises CorruptedError.

        The key comes from the API process; `wellspring verify` checks that the ledger holds the same key.
        """
        try:
            answer = answer_signature.parse_answer(content)
            signature = answer_signature.read_signature(answer)
            message = answer_signature.signed_text(answer)
        except MalformedError as exc:
            raise CorruptedError(
                f"the API returned a prediction without a readable signature: {exc}", fix=_STOP_FIX
            ) from None
        if signature.key_id not in self._keys:
            payload = _parse_object(self._send_request("GET", f"/v1/keys/{signature.key_id}"))
            try:
                self._keys[signature.key_id] = (
                    notes.decode_base64(str(payload.get("public_key"))),
                    str(payload.get("expires_at")),
                )
            except MalformedError:
                raise CorruptedError("the API returned an invalid signing key", fix=_STOP_FIX) from None
        public_key, expires_at = self._keys[signature.key_id]
        key_valid = (
            answer_signature.compute_key_id(public_key) == signature.key_id
            and str(answer.get("answered_at")) < expires_at
        )
        if not key_valid or not answer_signature.verify_signature(public_key, signature.signature, message):
            raise CorruptedError("the signature of the prediction is not valid", fix=_STOP_FIX)

    def _send_request(self, method: str, address: str, body: bytes | None = None) -> bytes:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if self._trace:
            headers["traceparent"] = format_traceparent(self._trace).decode("ascii")
        reused = self._connection is not None
        try:
            status, content = self._exchange(method, address, body, headers)
        except (OSError, http.client.HTTPException) as exc:
            self.close()
            # The API may have closed an idle connection: retry once. A new connection that fails is an error.
            if not reused or isinstance(exc, TimeoutError):
                raise self._build_unavailable(exc) from None
            try:
                status, content = self._exchange(method, address, body, headers)
            except (OSError, http.client.HTTPException) as retry_error:
                self.close()
                raise self._build_unavailable(retry_error) from None
        if status != 200:
            raise _parse_problem(status, content)
        return content

    def _exchange(self, method: str, address: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, bytes]:
        if self._connection is None:
            self._connection = UnixHTTPConnection(self._server, host="api", timeout=self._timeout)
        # The API may refuse a request before it has read it completely; then its response holds the reason.
        with suppress(BrokenPipeError):
            self._connection.request(method, address, body, headers)
        response = self._connection.getresponse()
        content = response.read(_MAX_RESPONSE_BYTES + 1)
        if len(content) > _MAX_RESPONSE_BYTES:
            self.close()
            raise CorruptedError("the API's response is too long", fix=_STOP_FIX)
        return response.status, content

    def _build_unavailable(self, exc: Exception) -> Unavailable:
        return Unavailable(
            f"the API at {self._server.path} does not respond ({type(exc).__name__})",
            fix="start it with `wellspring up`, or retry later",
        )


def _find_server(location: Project | Path, server_uid: int | None) -> ServerSocket:
    if isinstance(location, Project):
        server = find_server_socket(location, "api")
        return server if server_uid is None else server._replace(uid=server_uid)
    if server_uid is None:
        raise Refused(
            f"a client of the API at {location} must know the uid of the API's process",
            fix="pass the project, or server_uid=NUMBER: `wellspring status` shows the number",
        )
    return ServerSocket(location, server_uid)


def _encode_query(entity_keys: Sequence[str]) -> str:
    return urlencode([("key", token) for token in entity_keys])


def _parse_object(content: bytes) -> dict[str, JsonValue]:
    try:
        value: Any = json.loads(content)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise CorruptedError("the API's response is not a JSON object", fix=_STOP_FIX)
    return value


def _parse_response(model_type: type[T], content: bytes) -> T:
    try:
        return model_type.model_validate_json(content)
    except ValidationError as exc:
        raise CorruptedError(
            f"the API's response is not a valid {model_type.__name__}: {exc.error_count()} fields are invalid",
            fix=_STOP_FIX,
        ) from None


def _parse_problem(status: int, content: bytes) -> WellspringError:
    """Rebuild the error that a problem document describes."""
    try:
        payload: Any = json.loads(content)
    except ValueError:
        payload = {}
    payload = payload if isinstance(payload, dict) else {}
    error_type = ERRORS_BY_SLUG.get(
        str(payload.get("type", "")).removeprefix(_PROBLEM_URN), Unavailable if status >= 500 else Refused
    )
    what, fix = (
        str(payload.get("detail") or f"the API returned status {status}"),
        str(payload.get("fix") or "retry later"),
    )
    return error_type(what, fix=fix)


_STOP_FIX = "do not use the response; keep it, and read the API's log"
