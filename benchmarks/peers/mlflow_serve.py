"""The prediction peer: `mlflow models serve` with the same booster; the caller sends the features.

It reads no store, writes no record, signs nothing and gives no reasons. One worker, no access log, loopback TCP.
"""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STARTUP_SECONDS = 90.0
ADDRESS = "/invocations"


@contextmanager
def served(booster: str, folder: Path, port: int) -> Iterator[int]:
    """Save a booster (LightGBM text) as an MLflow model, serve it on a port of loopback, and yield the port."""
    import lightgbm
    from mlflow import lightgbm as flavour

    saved = folder / "model"
    # LightGBM's text format, the default of this flavor, without a pickle.
    flavour.save_model(lightgbm.Booster(model_str=booster), str(saved), pip_requirements=["lightgbm"])
    # It starts `uvicorn` by name, so the environment's programs must come first on the PATH.
    environment = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "UVICORN_ACCESS_LOG": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
    }
    words = ["mlflow", "models", "serve", "-m", str(saved), "-h", "127.0.0.1", "-p", str(port), "-w", "1"]
    log = folder / "mlflow.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [*words, "--env-manager", "local"], cwd=folder, env=environment, stdout=output, stderr=output,
            start_new_session=True,
        )  # fmt: skip
    try:
        _wait(server, port, log)
        yield port
    finally:
        # The whole session that was started here: mlflow starts a shell, and that starts uvicorn.
        os.killpg(server.pid, 15)
        server.wait()
    if b"POST " in log.read_bytes():
        raise RuntimeError("MLflow wrote an access log; the measurement is not comparable")


def _wait(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + STARTUP_SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        line = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            line.request("GET", "/ping")
            if line.getresponse().status == 200:
                return
        except OSError:
            threading.Event().wait(0.2)
        finally:
            line.close()
    raise RuntimeError(f"mlflow models serve does not answer: {log.read_text(errors='replace')[-400:]}")
