"""The MLflow adapter: runs and model versions. The ledger is authoritative; MLflow shows a projection of it.

Uses MlflowClient, not the fluent functions, whose "current run" is global to the process. MLflow reads its connection
settings only from environment variables, which the constructor sets; so two registries with different certificates
cannot be used in one process. No MLflow plugin of another package is loaded.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from wellspring.errors import NotFound, Unavailable, package_missing
from wellspring.records.lake import Edition

if TYPE_CHECKING:
    from mlflow import MlflowClient

PRODUCTION_ALIAS, STAGING_ALIAS = "production", "staging"
RELEASE_TAG, APPROVED_BY_TAG = "ws.release", "ws.approved_by"
TIMEOUT_SECONDS = 5
"""The timeout of one MLflow request, which is retried once."""
_MAX_BATCH = 1000
"""MLflow accepts at most so many metrics in one request."""
_MLFLOW_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # No code here loads a model from MLflow; if somebody adds it, pickles are still refused.
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": str(TIMEOUT_SECONDS),
}


class RunRecord(NamedTuple):
    """The params and tags of an MLflow run."""

    run: str
    params: dict[str, str]
    tags: dict[str, str]


class LiveVersion(NamedTuple):
    """The live release of a model according to the ledger. run: its MLflow run; approved_by: a user name."""

    run: str
    release: str
    approved_by: str


class MlflowRegistry:
    """A client of one MLflow server. uri: https://... (sqlite:///... in tests). ca, client_cert: PEM files for mTLS.

    Every method raises Unavailable when MLflow does not respond within seconds.
    """

    def __init__(self, uri: str, *, ca: Path | None = None, client_cert: Path | None = None) -> None:
        self._uri = uri
        self._client: MlflowClient | None = None
        os.environ.update(_MLFLOW_ENVIRONMENT)
        for name, path in (("MLFLOW_TRACKING_SERVER_CERT_PATH", ca), ("MLFLOW_TRACKING_CLIENT_CERT_PATH", client_cert)):
            os.environ.pop(name, None) if path is None else os.environ.update({name: str(path)})

    def start_run(self, model: str) -> str:
        """Create a run of one model, and return its id."""
        with self._open_client("begin a run") as client:
            existing = client.get_experiment_by_name(model)
            experiment_id = existing.experiment_id if existing is not None else client.create_experiment(model)
            return client.create_run(experiment_id, run_name=model).info.run_id

    def log_run(
        self,
        run: str,
        *,
        edition: Edition,
        params: Mapping[str, str],
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        files: Mapping[str, bytes],
    ) -> None:
        """Log a run. files: content by relative path; they must contain no rows of data."""
        from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag

        dataset = Dataset(name="built", digest=edition.id, source_type="wellspring", source=edition.subject)
        with self._open_client("log a run") as client, tempfile.TemporaryDirectory(prefix="run-") as folder:
            timestamp_ms = int(edition.known_since.timestamp() * 1000)
            client.log_batch(
                run,
                metrics=[Metric(name, value, timestamp_ms, 0) for name, value in metrics.items()],
                params=[Param(name, value) for name, value in params.items()],
                tags=[RunTag(name, value) for name, value in tags.items()],
            )
            client.log_inputs(run, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])
            for name, content in files.items():
                path = Path(folder) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            client.log_artifacts(run, folder)

    def log_curves(self, run: str, curves: Mapping[str, Sequence[float]], *, edition: Edition) -> None:
        """Log metrics by iteration, such as the validation loss of each round."""
        from mlflow.entities import Metric

        timestamp_ms = int(edition.known_since.timestamp() * 1000)
        metrics = [
            Metric(name, value, timestamp_ms, iteration)
            for name, values in curves.items()
            for iteration, value in enumerate(values, start=1)
        ]
        with self._open_client("log the curves of a run") as client:
            for start in range(0, len(metrics), _MAX_BATCH):
                client.log_batch(run, metrics=metrics[start : start + _MAX_BATCH])

    def end_run(self, run: str, *, failed: bool = False) -> None:
        """End a run."""
        with self._open_client("end a run") as client:
            client.set_terminated(run, "FAILED" if failed else "FINISHED")

    def register_version(self, model: str, run: str, *, tags: Mapping[str, str]) -> str:
        """Create a model version of a run's artifacts, and return its number; idempotent."""
        with self._open_client("register a version") as client:
            if not self._has_model(client, model):
                client.create_registered_model(model)
            version = self._find_version(client, model, run)
            if version is None:
                source = f"{client.get_run(run).info.artifact_uri}/model"
                version = client.create_model_version(
                    model, source=source, run_id=run, tags=dict(tags), await_creation_for=0
                ).version
            return str(version)

    def get_run(self, run: str) -> RunRecord:
        """Return the params and tags of a run. Raises NotFound."""
        with self._open_client("read a run", not_found_message=f"no run {run!r} in MLflow") as client:
            mlflow_run = client.get_run(run)
            return RunRecord(run, dict(mlflow_run.data.params), dict(mlflow_run.data.tags))

    def reconcile(self, model: str, live: LiveVersion | None, challenger_run: str | None) -> tuple[str, ...]:
        """Set the aliases `production` and `staging` and the tags of the live release, and return what changed.

        production: the live release. staging: the challenger. An alias that was moved by hand is moved back. live None:
        no release is live. challenger_run: None without a challenger.
        """
        changed: list[str] = []
        with self._open_client("update the live version") as client:
            if not self._has_model(client, model):
                if live is None:
                    return ()
                raise NotFound(
                    f"MLflow has no model {model!r}", fix="train the model again, or restore MLflow's database"
                )
            expected = None if live is None else self._require_version(client, model, live.run)
            staged = None if challenger_run is None else self._require_version(client, model, challenger_run)
            aliases = dict(client.get_registered_model(model).aliases)
            for alias, version in ((PRODUCTION_ALIAS, expected), (STAGING_ALIAS, staged)):
                current = aliases.get(alias)
                if str(current or "") == str(version or ""):
                    continue
                changed.append(f"{alias}: {current or 'nothing'} -> {version or 'nothing'}")
                if version is None:
                    client.delete_registered_model_alias(model, alias)
                else:
                    client.set_registered_model_alias(model, alias, version)
            expected_tags = {} if live is None else {RELEASE_TAG: live.release, APPROVED_BY_TAG: live.approved_by}
            if expected is not None:
                tags = client.get_model_version(model, str(expected)).tags
                for name, value in expected_tags.items():
                    if tags.get(name) != value:
                        changed.append(f"{name}: {tags.get(name, 'nothing')} -> {value}")
                        client.set_model_version_tag(model, str(expected), name, value)
        return tuple(changed)

    @staticmethod
    def _has_model(client: MlflowClient, model: str) -> bool:
        return bool(client.search_registered_models(f"name = '{model}'", max_results=1))

    @staticmethod
    def _find_version(client: MlflowClient, model: str, run: str) -> str | None:
        versions = client.search_model_versions(f"name = '{model}' and run_id = '{run}'", max_results=1)
        return str(versions[0].version) if versions else None

    @classmethod
    def _require_version(cls, client: MlflowClient, model: str, run: str) -> str:
        version = cls._find_version(client, model, run)
        if version is None:
            raise NotFound(f"MLflow has no version of run {run}", fix="restore MLflow's database")
        return version

    @contextmanager
    def _open_client(self, operation: str, *, not_found_message: str = "") -> Generator[MlflowClient]:
        """Yield the client, and map MLflow's errors to wellspring's."""
        try:
            from mlflow import MlflowClient
            from mlflow.exceptions import MlflowException
            from mlflow.utils import plugins
        except ImportError:
            raise package_missing("mlflow", extra="models") from None
        import requests

        # MLflow loads plugins of every installed package; Feast registers one that takes five seconds to load.
        plugins._get_entry_points = _no_plugins
        try:
            if self._client is None:
                self._client = MlflowClient(tracking_uri=self._uri, registry_uri=self._uri)
            yield self._client
        except MlflowException as exc:
            if not_found_message and _error_code(exc) in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
                raise NotFound(not_found_message, fix="name a run of `wellspring train`") from None
            # Only the error code: MLflow's message may contain an address with a password.
            raise Unavailable(
                f"MLflow did not {operation} ({_error_code(exc)})",
                fix="see `wellspring status`; `wellspring restart mlflow` starts it again",
            ) from None
        except (requests.RequestException, OSError) as exc:
            raise Unavailable(
                f"MLflow did not {operation} ({type(exc).__name__})",
                fix="see `wellspring status`; `wellspring restart mlflow` starts it again",
            ) from None


def _no_plugins(group: str) -> list[Any]:
    del group
    return []


def _error_code(exc: Any) -> str:
    return str(getattr(exc, "error_code", type(exc).__name__))
