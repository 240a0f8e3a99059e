"""The reference project's model: a file that a person reads in one sitting, made of public names only."""

import ast
import math
import re
import socket
from pathlib import Path

import pytest

from benchmarks import denials, predictions
from examples.health_plan import colleague
from tests.architecture import repository
from tests.builders.api_server import RunningApi
from tests.builders.project_code import PROJECT_CODE
from tests.builders.released_model import claim
from wellspring.data.features import view_process
from wellspring.models.spec import definition
from wellspring.records.features import FeatureViews

FOLDER = repository.ROOT / "examples" / "health_plan"


@pytest.fixture(scope="module")
def views() -> FeatureViews:
    return view_process.load_views(FOLDER / "features.py", "health_plan", PROJECT_CODE)


def test_it_imports_the_public_face_and_nothing_else():
    source = (FOLDER / "models" / "denials.py").read_text()
    imported = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert [getattr(node, "module", None) for node in imported] == ["wellspring.stable"]
    assert len(source.splitlines()) <= 50


def test_every_feature_that_it_names_is_there(views: FeatureViews):
    model = definition.load_model_definition(FOLDER / "models", "denials")
    used = {feature.name for feature in definition.resolve_features(model, views)}
    named = {feature for baseline in model.baselines for feature in baseline.features}
    named |= {subgroup.feature for subgroup in model.subgroups}
    assert named <= used
    assert len(used) > 90


def test_the_raw_columns_hold_no_history_and_no_identity(views: FeatureViews):
    model = definition.load_model_definition(FOLDER / "models", "denials")
    columns = next(baseline.features for baseline in model.baselines if baseline.name == "columns")
    assert {column.partition(":")[0] for column in columns} == {"claim_features"}
    assert [column for column in columns if re.search(r"\d+d$|_rate|denial|known", column)] == []
    tokens = {key for view in views.views for key in view.keys}
    assert not tokens & {column.partition(":")[2] for column in columns}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["first", pytest.param("second", marks=pytest.mark.long)])
def test_the_benchmark_refuses_a_planted_leak_by_name(name: str):
    (message,) = denials.plant(name)
    assert message.startswith(f"denials was not released: {colleague.LEAK} uses values from after the prediction time")
    assert message.endswith(f"[{colleague.LEAK}]")


@pytest.mark.slow
def test_the_benchmark_measures_a_small_history():
    figures = denials.measure("second", 3, 700, 7000, 3)
    best = max(figures.columns, figures.columns_plus_entity, figures.heuristic)
    assert figures.low <= figures.auc <= figures.high
    assert figures.share == (figures.auc - best) / (figures.ceiling - best)
    assert 0.5 < figures.auc < figures.ceiling + 0.05
    assert figures.train_rows > figures.test_rows > 200
    assert math.isnan(denials.share(0.7, 0.75, 0.75))
    assert math.isnan(denials.share(0.7, 0.75, 0.74))
    share = denials.summary([figures, figures._replace(seed=4, share=0.1)])["second"]["share"]
    assert (share["lowest"], share["lowest_meets"]) == (0.1, False)
    assert len(set(figures.controls)) == 3
    for scores, holds in (((0.45, 0.49, 0.56), True), ((0.60, 0.61, 0.62), False)):
        (control,) = denials.controls([figures._replace(controls=scores)]).values()
        assert (control.low <= 0.5 <= control.high) is holds
        assert (control.lowest, control.highest, control.count) == (scores[0], scores[-1], 3)


def test_the_prediction_benchmark_reads_whole_responses_and_rejects_errors(tmp_path: Path):
    with RunningApi(tmp_path).up() as api:

        def connect() -> socket.socket:
            line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            line.settimeout(60)
            line.connect(str(api.project.socket_path("api")))
            return line

        def target(keys: dict[str, str]) -> predictions.Target:
            request = predictions.post("/v1/models/denials/predictions", {"keys": keys, "include_reasons": True})
            return predictions.Target("ours", connect, (request,))

        latency = predictions.measure_target(target(claim(1)), 3, 30)
        assert 0 < latency["p50_ms"] <= latency["p95_ms"] <= latency["p99_ms"]
        assert len(api.entries("predict")) == 30
        with pytest.raises(RuntimeError, match="requests failed"):
            predictions.measure_target(target({"claim_id": "no token"}), 1, 1)
