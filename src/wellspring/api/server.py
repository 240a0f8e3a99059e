"""Serve the API on its Unix socket: opens the prediction service, then listens until a signal stops it."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from wellspring.api.app import build_routes
from wellspring.api.connections import ConnectionLimiter
from wellspring.api.middleware import MAX_CONCURRENCY, PeerAuthMiddleware, principals_by_uid
from wellspring.bootstrap.serving_ports import open_serving
from wellspring.project import Project
from wellspring.runtime.optional_imports import block_imports
from wellspring.runtime.process import Credential
from wellspring.runtime.unix_socket import bind_public_socket
from wellspring.serving.service import PredictionService, ServiceDependencies

if TYPE_CHECKING:
    from uvicorn import Server

_BLOCKED_IMPORTS = ("pandas", "sklearn", "matplotlib", "dask", "mlflow", "feast", "dbt")


def run_api(project: Project, credential: Credential, _stop: threading.Event) -> None:
    """Serve until SIGTERM or SIGINT, which uvicorn handles itself and raises again after its shutdown."""
    block_optional_imports()
    import uvloop

    with (
        open_serving(project, credential) as dependencies,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        service = PredictionService(dependencies)

        def server_factory(app: PeerAuthMiddleware) -> Server:
            # Exclude all current objects from collection: scanning them would pause requests for about 0.1 s.
            gc.collect()
            gc.freeze()
            return build_uvicorn_server(app)

        runner.run(serve_api(project, service, dependencies, server_factory))


async def serve_api(
    project: Project,
    service: PredictionService,
    dependencies: ServiceDependencies,
    server_factory: Callable[[PeerAuthMiddleware], Server],
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


def build_uvicorn_server(app: PeerAuthMiddleware) -> Server:
    """Build the uvicorn server: one process, no access log, no part of a request in any log."""
    import uvicorn

    from wellspring.api.protocol import PeerProtocol

    config = uvicorn.Config(
        app,
        # uvicorn's type is a class, but it only calls it.
        http=partial(PeerProtocol, limiter=ConnectionLimiter(app.principal_for_uid)),  # type: ignore[arg-type]
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=4,
        limit_concurrency=4 * MAX_CONCURRENCY,
    )
    return uvicorn.Server(config)


def block_optional_imports() -> None:
    """Block imports that only some models need, and run the garbage collector less often.

    LightGBM would import several of them; a model whose estimator names one in `packages` allows it when it is loaded.
    """
    block_imports(_BLOCKED_IMPORTS)
    gc.set_threshold(50_000, 20, 100)
