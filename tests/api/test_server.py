"""The API listens only after its signing key is in the journal, and loads no training library."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders.api_server import RunningApi
from tests.builders.released_model import trees
from wellspring.api import server
from wellspring.errors import Unavailable


def test_socket_is_bound_only_after_signing_key_is_journaled(tmp_path: Path):
    project = RunningApi(tmp_path)
    project.journal.close()
    project.project.runtime_dir.mkdir(mode=0o700)
    with pytest.raises(Unavailable):
        asyncio.run(server.serve_api(project.project, project.service, project.ports, server.build_uvicorn_server))
    assert not project.project.socket_path("api").exists()
    project.project.runtime_dir.rmdir()


def test_api_imports_no_training_library():
    code = """
import sys
from wellspring.api import server
server.block_optional_imports()
import cedarpy, fastapi, lightgbm, uvicorn
import wellspring.serving.service, wellspring.models.releases.promotion
import wellspring.data.features.views, wellspring.data.contracts.contract
from wellspring.models.estimators import lightgbm
lightgbm.load_booster(sys.stdin.read())
import wellspring.api.protocol
loaded = {name.partition(".")[0] for name, module in sys.modules.items() if module is not None}
print(sorted(loaded & {"mlflow", "feast", "pandas", "dbt", "sklearn", "matplotlib", "optuna", "duckdb", "pyiceberg"}))
"""
    result = subprocess.run(
        [sys.executable, "-c", code], input=trees().decode(), capture_output=True, text=True, timeout=60, check=False
    )  # fmt: skip
    assert result.stdout.strip() == "[]", result.stderr
