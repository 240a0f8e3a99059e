"""`python -m wellspring.api --project P`: answers over HTTP on a Unix socket, for those whom the kernel vouches for.

Reads one line of JSON from its standard input, {"role_id", "wrapped"}: a credential that works once. What it cannot
answer it says as a problem document (RFC 9457) that repeats nothing of what was sent; nor does its log.
"""
# No `from __future__ import annotations`: FastAPI reads the annotations of functions inside functions.

import argparse
import asyncio
import ctypes
import gc
import json
import logging
import os
import resource
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, JsonValue

from wellspring.errors import NotFound, Refused, WellspringError
from wellspring.models.desk import Desk, Law, Ports, Told
from wellspring.project import Project
from wellspring.records.record import Frozen, stamp
from wellspring.trust.door import AT_ONCE, Gate, Problem, callers, ill_formed, problem, reply
from wellspring.trust.doorstep import peer_protocol
from wellspring.trust.promise import Promises

if TYPE_CHECKING:
    from fastapi import FastAPI

_PR_SET_DUMPABLE = 4
_LEAN = ("pandas", "sklearn", "matplotlib", "dask", "mlflow", "feast", "dbt")


class Asked(Frozen):
    """The body of a question. keys: a token for each key column; reasons: whether they are wanted."""

    keys: Annotated[dict[str, Annotated[str, Field(max_length=200)]], Field(min_length=1, max_length=20)]
    reasons: bool = True


def routes(desk: Desk, promises: Promises) -> "FastAPI":
    """Make the routes. Answers are written by hand: what was journalled and promised is what is sent."""
    from fastapi import FastAPI, Query, Request, Response
    from fastapi.exceptions import RequestValidationError
    from starlette.exceptions import HTTPException

    from wellspring.records.models import Prediction

    app = FastAPI(title="wellspring", docs_url=None, redoc_url=None, openapi_url="/v1/openapi.json")

    def said(wrong: Problem) -> Response:
        number, headers, body = reply(wrong)
        told = {name.decode(): value.decode() for name, value in headers if name != b"content-length"}
        return Response(body, number, told)

    def written(value: Any, entry: str = "") -> Response:
        body = json.dumps(value, allow_nan=False).encode()
        return Response(body, 200, {"wellspring-entry": entry} if entry else None, "application/json")

    @app.exception_handler(WellspringError)
    async def ours(_: Request, wrong: WellspringError) -> Response:
        return said(problem(wrong))

    @app.exception_handler(RequestValidationError)
    async def misread(_: Request, wrong: RequestValidationError) -> Response:
        # Its own words would repeat what was sent, and where.
        return said(ill_formed(f"the request is not as it should be, in {len(wrong.errors())} of its parts"))

    @app.exception_handler(HTTPException)
    async def unknown(_: Request, wrong: HTTPException) -> Response:
        if wrong.status_code in {404, 405}:
            nowhere = NotFound("there is nothing at this address, or not by this method", fix="see docs/api.md")
            return said(problem(nowhere).model_copy(update={"status": wrong.status_code}))
        return said(ill_formed("it could not be read", wrong.status_code))

    @app.exception_handler(Exception)
    async def unforeseen(_: Request, wrong: Exception) -> Response:
        return said(problem(WellspringError(f"unforeseen: {type(wrong).__name__}", fix="see the log of the API")))

    @app.get("/healthz")
    async def health(request: Request) -> Response:
        told = desk.health()
        return written(told if request.state.principal is not None else {"status": told["status"]})

    @app.get("/v1/models/{name}")
    async def model(name: str, request: Request) -> Response:
        return written(await desk.describe(name, by=request.state.principal))

    @app.post("/v1/models/{name}/predictions", response_model=Prediction)
    async def predict(name: str, asked: Asked, request: Request) -> Response:
        told = await desk.predict(name, asked.keys, reasons=asked.reasons, by=request.state.principal)
        return written(told.prediction.model_dump(mode="json"), told.entry)

    @app.get("/v1/features/{view}")
    async def features(view: str, key: Annotated[list[str], Query()], request: Request) -> Response:
        told = await desk.features(view, key, by=request.state.principal)
        return written(features_json(told), told.entry)

    @app.get("/v1/keys/{key}")
    async def public(key: str) -> Response:
        known = promises.public(key)
        return written({"key": known.id, "public": known.text, "expires": stamp(known.expires)})

    return app


def features_json(told: Told) -> dict[str, JsonValue]:
    """Write features as they are sent."""
    return {
        "view": told.view,
        "values": dict(told.values),
        "known_since": stamp(told.known_since),
        "edition": told.knowledge.edition.id,
        "as_of": stamp(told.knowledge.as_of),
        "age_seconds": told.knowledge.age_seconds,
        "state": told.knowledge.state,
    }


def listen(path: Path) -> socket.socket:
    """Open the door: bound under another name first, because whoever sees the real one can already connect."""
    beside = path.with_name(f".{path.name}")
    beside.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(beside))
    # Open to all on purpose: the kernel's word on who is asking decides, and a refusal can be recorded.
    os.chmod(beside, 0o666)  # noqa: S103
    listener.listen(AT_ONCE)
    os.rename(beside, path)
    return listener


def desk_of(project: Project, stack: ExitStack, *, login: tuple[str, str], models: bytes) -> tuple[Desk, Ports]:
    """Put the desk together. login: to the online store; models: the public key (32 bytes) that signs models."""
    from wellspring.assembly import open_records, open_serving
    from wellspring.data.editions import Editions
    from wellspring.models.release import Releases
    from wellspring.models.serving import Shelf
    from wellspring.stores.online import OnlineReader
    from wellspring_verify import notes

    records = stack.enter_context(open_records(project, service="api"))
    step, clock = records.step, records.clock
    releases = Releases(project.models_kept)
    key = notes.Key(f"{records.tree.paths.read('origin').decode().strip()}/models", notes.LOG, models)
    user, password = login
    serving = open_serving(project, clock, key)
    shelf = Shelf(
        releases,
        load=serving.load,
        index=records.index,
        step=step,
        clock=clock,
    )
    ports = Ports(
        project=project.name,
        shelf=shelf,
        law=Law(project.own.get("policies"), clock),
        promises=Promises(step=step, clock=clock),
        editions=Editions(project.lake / "editions"),
        views=serving.views,
        reader=lambda views: OnlineReader(project.socket("valkey"), views, user=user, password=password),
        domains=serving.domains,
        step=step,
        clock=clock,
    )
    return Desk(ports), ports


async def serve(project: Project, desk: Desk, ports: Ports, server: Callable[[Gate], Any]) -> None:
    """Answer until the server is told to end. The door opens only when everything behind it is ready."""
    await desk.begin()
    try:
        gate = Gate(routes(desk, ports.promises), callers(project), step=ports.step, clock=ports.clock)
        with listen(project.socket("api")) as listener:
            await server(gate).serve(sockets=[listener])
    finally:
        await desk.close()


def uvicorn_server(gate: Gate) -> Any:
    """Make the server: one worker, no access log, and no word of a request in any other."""
    import uvicorn

    config = uvicorn.Config(
        gate, http=peer_protocol(gate.who), ws="none", lifespan="off", log_config=None, access_log=False,
        server_header=False, timeout_graceful_shutdown=4, limit_concurrency=4 * AT_ONCE,
    )  # fmt: skip
    return uvicorn.Server(config)


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; returns an exit code."""
    parser = argparse.ArgumentParser(prog="python -m wellspring.api")
    parser.add_argument("--project", type=Path, required=True)
    given = parser.parse_args(argv)
    harden()
    try:
        return _run(given.project, sys.stdin.readline())
    except WellspringError as wrong:
        print(f"{wrong.slug}: {wrong.what}\nfix: {wrong.fix}", file=sys.stderr)
        return wrong.exit_code


def _run(root: Path, line: str) -> int:
    from wellspring.project import load
    from wellspring.servers.confine import confine
    from wellspring.trust.identity.openbao import login
    from wellspring.trust.keys.openbao import OpenBaoSigner
    from wellspring.trust.secrets.openbao import OpenBaoSecrets

    project = load(root)
    try:
        credential = json.loads(line)
        role_id, wrapped = str(credential["role_id"]), str(credential["wrapped"])
    except (ValueError, KeyError, TypeError):
        raise Refused("the API was given no credential", fix="start it with `wellspring up`") from None
    # uvicorn ends at these by itself, and raises them again when it has: then there is nothing left to do.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    if unconfined := confine(project, role="api"):
        print(f"not confined: {unconfined}", file=sys.stderr)
    with login(project.socket("openbao"), role_id=role_id, wrapped=wrapped) as session:
        kept = OpenBaoSecrets(session).read("api/valkey")
        models = OpenBaoSigner(session, "models").public_key()
    # The login has ended: answers need no key server.
    lean()
    import uvloop

    with ExitStack() as stack, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        desk, ports = desk_of(project, stack, login=(kept["user"], kept["password"]), models=models)

        def frozen(gate: Gate) -> Any:
            # All that is alive now stays: looked at again and again it would cost pauses of a tenth of a second.
            gc.collect()
            gc.freeze()
            return uvicorn_server(gate)

        runner.run(serve(project, desk, ports, frozen))
    return 0


def lean() -> None:
    """Keep out of this process what LightGBM takes in when it finds it, and collect garbage less often."""
    for name in _LEAN:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]
    gc.set_threshold(50_000, 20, 100)


def harden() -> None:
    """Let no core file and no debugger of the same user have this memory, and no message of an error its values."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    os.umask(0o022)
    sys.excepthook = lambda kind, _problem, trail: print(where(kind, trail), file=sys.stderr)
    logger = logging.getLogger()
    logger.handlers = [Places(logging.WARNING)]


class Places(logging.Handler):
    """Writes of an error where it arose, of any other message who wrote it: its words may quote a request."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[0] is not None:
            print(where(record.exc_info[0], record.exc_info[2]), file=sys.stderr)
        else:
            print(f"{record.levelname.lower()}: {record.name}, line {record.lineno}", file=sys.stderr)


def where(kind: type[BaseException], trail: Any) -> str:
    """Say where an unforeseen error arose, not what it says."""
    frames = [f"  {frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(trail)]
    return "\n".join([f"unforeseen: {kind.__name__}", *frames])


if __name__ == "__main__":
    sys.exit(main())
