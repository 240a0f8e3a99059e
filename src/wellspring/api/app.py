"""Serve predictions over HTTP on a Unix socket: `python -m wellspring.api.app --project P`.

Reads one line of JSON from standard input: {"role_id", "wrapped"}, a credential for one login. Errors are problem
documents (RFC 9457). Neither they nor the log repeat any part of a request.
"""
# No `from __future__ import annotations`: FastAPI evaluates the annotations of nested functions.

import argparse
import asyncio
import ctypes
import gc
import json
import logging
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, JsonValue

from wellspring.api.connections import make_protocol_class
from wellspring.api.middleware import (
    MAX_CONCURRENCY,
    PeerAuthMiddleware,
    ProblemDetails,
    malformed_request,
    principals_by_uid,
    problem_from_error,
    problem_response,
)
from wellspring.errors import NotFound, Refused, WellspringError
from wellspring.project import Project
from wellspring.records.record import Frozen, format_instant
from wellspring.runtime.unix_socket import bind_public_socket
from wellspring.serving.policy_reloader import PolicyReloader
from wellspring.serving.service import FeatureLookup, PredictionService, ServiceDependencies
from wellspring.trust.answer_signing import AnswerSigner

if TYPE_CHECKING:
    from fastapi import FastAPI

_PR_SET_DUMPABLE = 4
_BLOCKED_IMPORTS = ("pandas", "sklearn", "matplotlib", "dask", "mlflow", "feast", "dbt")


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
        report = service.health()
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


def build_service(
    project: Project, stack: ExitStack, *, online_store_login: tuple[str, str], model_public_key: bytes
) -> tuple[PredictionService, ServiceDependencies]:
    """Build the prediction service from a project.

    online_store_login: user and password. model_public_key: the Ed25519 key (32 bytes) that verifies model signatures.
    """
    from wellspring.bootstrap import open_ledger, open_release_loaders
    from wellspring.lake.editions import EditionStore
    from wellspring.models.releases.store import ReleaseStore
    from wellspring.serving.release_cache import ReleaseCache
    from wellspring.stores.online.redis import OnlineReader
    from wellspring_verify import notes

    ledger_access = stack.enter_context(open_ledger(project, service="api"))
    step, clock = ledger_access.step, ledger_access.clock
    release_store = ReleaseStore(project.models_dir)
    model_key = notes.VerifierKey(
        f"{ledger_access.tree.paths.read('origin').decode().strip()}/models", notes.KIND_LOG, model_public_key
    )
    user, password = online_store_login
    release_loaders = open_release_loaders(project, clock, model_key)
    release_cache = ReleaseCache(
        release_store,
        load_release=release_loaders.load_release,
        index=ledger_access.index,
        step=step,
        clock=clock,
    )
    dependencies = ServiceDependencies(
        project_name=project.name,
        release_cache=release_cache,
        policy_reloader=PolicyReloader(project.source_paths.get("policies"), clock),
        answer_signer=AnswerSigner(step=step, clock=clock),
        editions=EditionStore(project.lake_dir / "editions"),
        load_views=release_loaders.load_views,
        open_reader=lambda views: OnlineReader(project.socket_path("valkey"), views, user=user, password=password),
        load_token_domains=release_loaders.load_token_domains,
        step=step,
        clock=clock,
    )
    return PredictionService(dependencies), dependencies


async def serve_api(
    project: Project,
    service: PredictionService,
    dependencies: ServiceDependencies,
    server_factory: Callable[[PeerAuthMiddleware], Any],
) -> None:
    """Serve until the server stops. The socket accepts connections only after the service has started."""
    await service.start()
    try:
        app = PeerAuthMiddleware(
            build_routes(service, dependencies.answer_signer),
            principals_by_uid(project),
            step=dependencies.step,
            clock=dependencies.clock,
        )
        with bind_public_socket(project.socket_path("api"), backlog=MAX_CONCURRENCY) as listener:
            await server_factory(app).serve(sockets=[listener])
    finally:
        await service.close()


def build_uvicorn_server(app: PeerAuthMiddleware) -> Any:
    """Build the uvicorn server: one process, no access log, no part of a request in any log."""
    import uvicorn

    config = uvicorn.Config(
        app,
        http=make_protocol_class(app.principal_for_uid),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=4,
        limit_concurrency=4 * MAX_CONCURRENCY,
    )
    return uvicorn.Server(config)


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; return an exit code."""
    parser = argparse.ArgumentParser(prog="python -m wellspring.api.app")
    parser.add_argument("--project", type=Path, required=True)
    args = parser.parse_args(argv)
    harden_process()
    try:
        return _run_api(args.project, sys.stdin.readline())
    except WellspringError as exc:
        print(f"{exc.slug}: {exc.what}\nfix: {exc.fix}", file=sys.stderr)
        return exc.exit_code


def _run_api(root: Path, credential_line: str) -> int:
    from wellspring.project import load_project
    from wellspring.runtime.sandbox import confine_process
    from wellspring.trust.identity.openbao import login_service
    from wellspring.trust.keys.openbao import OpenBaoSigner
    from wellspring.trust.secrets.openbao import OpenBaoSecretStore

    project = load_project(root)
    try:
        credential = json.loads(credential_line)
        role_id, wrapped = str(credential["role_id"]), str(credential["wrapped"])
    except (ValueError, KeyError, TypeError):
        raise Refused("standard input holds no valid credential", fix="start the API with `wellspring up`") from None
    # uvicorn handles these signals, and raises them again after its shutdown; that second signal is ignored.
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_number, lambda *_: None)
    if unconfined_reason := confine_process(project, role="api"):
        print(f"not confined: {unconfined_reason}", file=sys.stderr)
    with login_service(project.socket_path("openbao"), role_id=role_id, wrapped_secret_id=wrapped) as session:
        store_login = OpenBaoSecretStore(session).read_secret("api/valkey")
        model_public_key = OpenBaoSigner(session, "models").public_key()
    # The login has ended: predictions do not need OpenBao.
    block_optional_imports()
    import uvloop

    with ExitStack() as stack, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        service, dependencies = build_service(
            project,
            stack,
            online_store_login=(store_login["user"], store_login["password"]),
            model_public_key=model_public_key,
        )

        def server_factory(app: PeerAuthMiddleware) -> Any:
            # Exclude all current objects from collection: scanning them would pause requests for about 0.1 s.
            gc.collect()
            gc.freeze()
            return build_uvicorn_server(app)

        runner.run(serve_api(project, service, dependencies, server_factory))
    return 0


def block_optional_imports() -> None:
    """Block the optional imports of LightGBM, and run the garbage collector less often."""
    for name in _BLOCKED_IMPORTS:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]
    gc.set_threshold(50_000, 20, 100)


def harden_process() -> None:
    """Disable core files and debugging by the same user, and keep values out of error output."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    os.umask(0o022)
    sys.excepthook = lambda exc_type, _exc, exc_traceback: print(
        format_location(exc_type, exc_traceback), file=sys.stderr
    )
    logger = logging.getLogger()
    logger.handlers = [RedactingLogHandler(logging.WARNING)]


class RedactingLogHandler(logging.Handler):
    """Print the location of an exception, or the logger of a message. Texts are omitted; they may quote a request."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[0] is not None:
            print(format_location(record.exc_info[0], record.exc_info[2]), file=sys.stderr)
        else:
            print(f"{record.levelname.lower()}: {record.name}, line {record.lineno}", file=sys.stderr)


def format_location(exc_type: type[BaseException], exc_traceback: Any) -> str:
    """Format the type and the stack of an exception without its message."""
    frames = [f"  {frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(exc_traceback)]
    return "\n".join([f"unforeseen: {exc_type.__name__}", *frames])


if __name__ == "__main__":
    sys.exit(main())
