"""Map the HTTP routes to the prediction service. Errors become problem documents that repeat no part of a request."""
# No `from __future__ import annotations`: FastAPI evaluates the annotations of nested functions.

import json
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, JsonValue

from wellspring.api.problems import ProblemDetails, malformed_request, problem_from_error, problem_response
from wellspring.errors import NotFound, WellspringError
from wellspring.records.record import Frozen, format_instant
from wellspring.serving.prediction import FeatureLookup
from wellspring.serving.service import PredictionService
from wellspring.trust.answer_signing import AnswerSigner

if TYPE_CHECKING:
    from fastapi import FastAPI


class PredictRequest(Frozen):
    """The body of a prediction request. keys: a token for each key column."""

    keys: Annotated[dict[str, Annotated[str, Field(max_length=200)]], Field(min_length=1, max_length=20)]
    include_reasons: bool = True


def build_routes(service: PredictionService, answer_signer: AnswerSigner) -> "FastAPI":
    """Build the routes. Predictions are serialized here, so that the response is exactly what was signed."""
    from fastapi import FastAPI, Query, Request, Response
    from fastapi.exceptions import RequestValidationError
    from starlette.exceptions import HTTPException

    from wellspring.records.models import Prediction

    app = FastAPI(title="wellspring", docs_url=None, redoc_url=None, openapi_url="/v1/openapi.json")

    def problem_to_response(problem_document: ProblemDetails) -> Response:
        status, headers, body = problem_response(problem_document)
        text_headers = {name.decode(): value.decode() for name, value in headers if name != b"content-length"}
        return Response(body, status, text_headers)

    def json_response(value: Any, ledger_entry: str = "") -> Response:
        body = json.dumps(value, allow_nan=False).encode()
        return Response(body, 200, {"wellspring-entry": ledger_entry} if ledger_entry else None, "application/json")

    @app.exception_handler(WellspringError)
    async def handle_wellspring_error(_: Request, exc: WellspringError) -> Response:
        return problem_to_response(problem_from_error(exc))

    @app.exception_handler(RequestValidationError)
    async def handle_malformed(_: Request, exc: RequestValidationError) -> Response:
        # The text of this exception would repeat values of the request.
        return problem_to_response(malformed_request(f"{len(exc.errors())} fields of the request are invalid"))

    @app.exception_handler(HTTPException)
    async def handle_http_error(_: Request, exc: HTTPException) -> Response:
        if exc.status_code in {404, 405}:
            not_found = NotFound("no route has this path and method", fix="see docs/api.md")
            return problem_to_response(problem_from_error(not_found).model_copy(update={"status": exc.status_code}))
        return problem_to_response(malformed_request("the request cannot be parsed", exc.status_code))

    @app.exception_handler(Exception)
    async def handle_unexpected(_: Request, exc: Exception) -> Response:
        return problem_to_response(
            problem_from_error(WellspringError(f"unforeseen: {type(exc).__name__}", fix="see the log of the API"))
        )

    @app.get("/healthz")
    async def health(request: Request) -> Response:
        report = await service.health()
        return json_response(report if request.state.principal is not None else {"status": report["status"]})

    @app.get("/v1/models/{name}")
    async def describe_model(name: str, request: Request) -> Response:
        return json_response(await service.describe_model(name, principal=request.state.principal))

    @app.post("/v1/models/{name}/predictions", response_model=Prediction)
    async def predict(name: str, body: PredictRequest, request: Request) -> Response:
        result = await service.predict(
            name, body.keys, include_reasons=body.include_reasons, principal=request.state.principal
        )
        return json_response(result.prediction.model_dump(mode="json"), result.ledger_entry)

    @app.get("/v1/features/{view}")
    async def get_features(view: str, key: Annotated[list[str], Query()], request: Request) -> Response:
        lookup = await service.get_features(view, key, principal=request.state.principal)
        return json_response(encode_features(lookup), lookup.ledger_entry)

    @app.get("/v1/keys/{key}")
    async def get_signing_key(key: str) -> Response:
        public_key = answer_signer.public_key(key)
        return json_response(
            {
                "key_id": public_key.key_id,
                "public_key": public_key.encoded,
                "expires_at": format_instant(public_key.expires_at),
            }
        )

    return app


def encode_features(lookup: FeatureLookup) -> dict[str, JsonValue]:
    """Convert features to the JSON object of the response."""
    return {
        "view": lookup.view,
        "values": dict(lookup.values),
        "known_since": format_instant(lookup.known_since),
        "edition": lookup.context.edition.id,
        "as_of": format_instant(lookup.context.as_of),
        "age_seconds": lookup.context.age_seconds,
        "freshness": lookup.context.freshness,
    }
