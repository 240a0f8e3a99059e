"""The API listens only after its signing key is in the journal, and loads no training library."""

from __future__ import annotations

import asyncio
import base64
import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders import projects, sockets
from tests.builders.api_server import RunningApi
from tests.builders.estimator_samples import estimator_samples
from tests.builders.released_model import trees
from wellspring.api import server
from wellspring.errors import Unavailable
from wellspring.models.estimators.onnx.estimator import Onnx
from wellspring.models.estimators.port import Estimator
from wellspring.models.estimators.sklearn.estimator import SklearnPipeline


def test_socket_is_bound_only_after_signing_key_is_journaled(tmp_path: Path):
    project = RunningApi(tmp_path)
    project.journal.close()
    sockets.create_socket_folders(project.project)
    with pytest.raises(Unavailable):
        asyncio.run(server.serve_api(project.project, project.service, project.ports, server.build_uvicorn_server))
    assert not project.project.socket_path("api").exists()
    sockets.remove_socket_folders(project.project)


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


LOAD_MODEL = """
import base64
from types import SimpleNamespace
from wellspring.api import server
from wellspring.runtime.sandbox import confine_process
confine_process(project, role="api")
server.block_optional_imports()
import lightgbm
assert sys.modules["sklearn"] is None and sys.modules["pandas"] is None
from wellspring.models.estimators.registry import find_estimator
from wellspring.models.spec.artifact import ModelArtifact
estimator = find_estimator(sys.argv[1])
spec = SimpleNamespace(model="delay")
model = ModelArtifact("0" * 64, base64.b64decode(sys.stdin.read()), spec, estimator).load_model()
print(model.predict_row([0.5, 1.0, 0.5]))
loaded = {name.partition(".")[0] for name, module in sys.modules.items() if module is not None}
print(sorted({"mlflow", "feast", "pandas", "dbt", "matplotlib", "skl2onnx"} & loaded))
"""


@pytest.mark.parametrize(("estimator", "loaded"), [(SklearnPipeline, "['pandas']"), (Onnx, "[]")])
def test_confined_api_loads_a_model_whose_estimator_names_a_blocked_package(estimator: type[Estimator], loaded: str):
    model = next(estimator_samples(estimator)).fit()
    with projects.create_project() as project:
        content = base64.b64encode(model.dump()).decode()
        done = projects.run_as(project, "api", LOAD_MODEL, estimator.name, stdin=content)
    assert done.stdout.splitlines() == [repr(model.predict_row([0.5, 1.0, 0.5])), loaded], done.stderr
    assert done.stderr == ""
