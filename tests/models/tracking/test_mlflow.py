import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.builders.synthetic_world import World
from wellspring.errors import NotFound, Unavailable
from wellspring.models.tracking.mlflow import LiveVersion, MlflowRegistry


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("mlflow")
    before = dict(os.environ)
    # Its files lie beside its database, and not in the folder that the tests are run from.
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield MlflowRegistry(f"sqlite:///{folder / 'mlflow.db'}")
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def edition():
    return World(10).edition


def run(registry: MlflowRegistry, edition, model: str = "denials") -> str:
    run_id = registry.start_run(model)
    registry.log_run(
        run_id, edition=edition, params={"seed": "7", "code": "{}" * 200}, metrics={"auc": 0.7, "auc_low": 0.6},
        tags={"ws.artifact": "a" * 64}, files={"model/model.lgb": b"tree\n", "card.md": b"# card\n"},
    )  # fmt: skip
    registry.end_run(run_id)
    return run_id


def test_a_run_is_logged_and_read_back(registry: MlflowRegistry, edition):
    run_id = run(registry, edition)
    run_record = registry.get_run(run_id)
    assert run_record.params == {"seed": "7", "code": "{}" * 200}
    assert run_record.tags["ws.artifact"] == "a" * 64
    assert registry._client is not None
    mlflow_run = registry._client.get_run(run_id)
    assert mlflow_run.data.metrics == {"auc": 0.7, "auc_low": 0.6}
    assert mlflow_run.info.status == "FINISHED"
    assert mlflow_run.inputs is not None
    assert [
        (dataset_input.dataset.digest, dataset_input.dataset.source)
        for dataset_input in mlflow_run.inputs.dataset_inputs
    ] == [(edition.id, edition.subject)]
    assert sorted(file.path for file in registry._client.list_artifacts(run_id)) == [
        "card.md",
        "model",
    ]


def test_a_version_is_made_once_a_run(registry: MlflowRegistry, edition):
    first, second = run(registry, edition), run(registry, edition)
    version = registry.register_version("denials", first, tags={"ws.candidate": "c"})
    assert registry.register_version("denials", first, tags={"ws.candidate": "c"}) == version
    assert registry.register_version("denials", second, tags={}) != version


def test_reconcile_sets_the_alias_to_the_live_release(registry: MlflowRegistry, edition):
    first, second = run(registry, edition, "members"), run(registry, edition, "members")
    first_version, second_version = (registry.register_version("members", item, tags={}) for item in (first, second))
    live = LiveVersion(first, "release-1", "ann")
    assert registry.reconcile("members", live, None)[0] == f"production: nothing -> {first_version}"
    assert registry.reconcile("members", live, None) == ()
    # Somebody moves it by hand: nothing was released, and it is moved back.
    assert registry._client is not None
    registry._client.set_registered_model_alias("members", "production", second_version)
    assert registry.reconcile("members", live, None) == (f"production: {second_version} -> {first_version}",)
    assert registry._client.get_model_version_by_alias("members", "production").run_id == first
    registry._client.set_model_version_tag("members", first_version, "ws.approved_by", "mallory")
    assert registry.reconcile("members", live, None) == ("ws.approved_by: mallory -> ann",)
    # The alias `staging` is the challenger.
    assert registry.reconcile("members", live, second) == (f"staging: nothing -> {second_version}",)
    assert registry._client.get_model_version_by_alias("members", "staging").run_id == second
    assert registry.reconcile("members", live, None) == (f"staging: {second_version} -> nothing",)
    assert registry.reconcile("members", None, None) == (f"production: {first_version} -> nothing",)


def test_what_mlflow_does_not_have_is_not_found(registry: MlflowRegistry, edition):
    for unknown in ("f" * 32, "../x", "run of nobody"):
        with pytest.raises(NotFound):
            registry.get_run(unknown)
    with pytest.raises(NotFound):
        registry.reconcile("nobody", LiveVersion("f" * 32, "r", "ann"), None)
    run(registry, edition, "claims")
    registry.register_version("claims", run(registry, edition, "claims"), tags={})
    with pytest.raises(NotFound):
        registry.reconcile("claims", LiveVersion("f" * 32, "r", "ann"), None)
    assert registry.reconcile("nobody", None, None) == ()


def test_an_unavailable_mlflow_is_reported_without_minutes_of_retries(registry: MlflowRegistry):
    assert registry.reconcile("nobody", None, None) == ()
    started = time.perf_counter()
    with pytest.raises(Unavailable, match="MLflow did not begin a run"):
        # A port that nobody listens on.
        MlflowRegistry("http://127.0.0.1:1").start_run("denials")
    assert time.perf_counter() - started < 60


def test_no_plugin_of_another_package_is_loaded():
    code = (
        "import sys\nfrom wellspring.errors import Unavailable\n"
        "from wellspring.models.tracking.mlflow import MlflowRegistry\n"
        "try:\n    MlflowRegistry('http://127.0.0.1:1').start_run('denials')\n"
        "except Unavailable:\n    print('feast' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert result.stdout == "False\n", result.stderr


def test_the_constructor_sets_the_given_certificates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    names = ("MLFLOW_TRACKING_SERVER_CERT_PATH", "MLFLOW_TRACKING_CLIENT_CERT_PATH")
    for name in names:
        monkeypatch.setenv(name, "/nowhere")
    MlflowRegistry("https://127.0.0.1:1", ca=tmp_path / "ca.pem", client_cert=tmp_path / "me.pem")
    assert [os.environ[name] for name in names] == [str(tmp_path / "ca.pem"), str(tmp_path / "me.pem")]
    MlflowRegistry("sqlite://")
    assert [os.environ.get(name) for name in names] == [None, None]
