"""Runs and versions in MLflow: the only file that knows it. What is true stands in the ledger; this is its projection.

The client only, never MLflow's fluent functions, whose "current run" is one for the whole process. MLflow reads how it
connects from the process's environment, and from nowhere else: the constructor sets that, once, in this one place, so
two registries with different certificates do not fit into one process. It runs no plugin of another package.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from wellspring.errors import NotFound, Unavailable
from wellspring.records.data import Edition

if TYPE_CHECKING:
    from mlflow import MlflowClient

PRODUCTION, STAGING = "production", "staging"
RELEASE, APPROVED = "ws.release", "ws.approved_by"
SECONDS = 5
"""How long MLflow may take for one answer, and it is asked twice: a learner that waits for minutes looks dead."""
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # Nothing here loads a model from MLflow; should somebody add it, a pickle is still refused.
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": str(SECONDS),
}


class Told(NamedTuple):
    """What a run says of itself. files: names of its artefacts at the top."""

    run: str
    params: dict[str, str]
    tags: dict[str, str]


class Live(NamedTuple):
    """What the ledger says is live of one model. run: behind the release; approved_by: a person's name."""

    run: str
    release: str
    approved_by: str


class Registry:
    """One MLflow server. uri: https://... (or sqlite:///... in tests). ca, client_cert: PEM files, for mutual TLS.

    Every method raises Unavailable when MLflow does not answer within seconds.
    """

    def __init__(self, uri: str, *, ca: Path | None = None, client_cert: Path | None = None) -> None:
        self._uri = uri
        self._client: MlflowClient | None = None
        os.environ.update(_QUIET)
        for name, path in (("MLFLOW_TRACKING_SERVER_CERT_PATH", ca), ("MLFLOW_TRACKING_CLIENT_CERT_PATH", client_cert)):
            os.environ.pop(name, None) if path is None else os.environ.update({name: str(path)})

    def open(self, model: str) -> str:
        """Begin a run of one model, and return its id."""
        with self._asking("begin a run") as client:
            known = client.get_experiment_by_name(model)
            experiment = known.experiment_id if known is not None else client.create_experiment(model)
            return client.create_run(experiment, run_name=model).info.run_id

    def log(
        self,
        run: str,
        *,
        edition: Edition,
        params: Mapping[str, str],
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        files: Mapping[str, bytes],
    ) -> None:
        """Write down what a run did. files: by name, with `/` between folders. No rows of data are ever among them."""
        from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag

        dataset = Dataset(name="built", digest=edition.id, source_type="wellspring", source=edition.subject)
        with self._asking("log a run") as client, tempfile.TemporaryDirectory(prefix="run-") as folder:
            at = int(edition.known_since.timestamp() * 1000)
            client.log_batch(
                run,
                metrics=[Metric(name, value, at, 0) for name, value in metrics.items()],
                params=[Param(name, value) for name, value in params.items()],
                tags=[RunTag(name, value) for name, value in tags.items()],
            )
            client.log_inputs(run, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])
            for name, content in files.items():
                path = Path(folder) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            client.log_artifacts(run, folder)

    def end(self, run: str, *, failed: bool = False) -> None:
        """End a run."""
        with self._asking("end a run") as client:
            client.set_terminated(run, "FAILED" if failed else "FINISHED")

    def register(self, model: str, run: str, *, tags: Mapping[str, str]) -> str:
        """Make a version of a run's artefacts and return its number; again changes nothing."""
        with self._asking("register a version") as client:
            if not self._known(client, model):
                client.create_registered_model(model)
            version = self._version(client, model, run)
            if version is None:
                source = f"{client.get_run(run).info.artifact_uri}/model"
                version = client.create_model_version(
                    model, source=source, run_id=run, tags=dict(tags), await_creation_for=0
                ).version
            return str(version)

    def told(self, run: str) -> Told:
        """Return what a run says of itself. Raises NotFound."""
        with self._asking("read a run", missing=f"no run {run!r} in MLflow") as client:
            found = client.get_run(run)
            return Told(run, dict(found.data.params), dict(found.data.tags))

    def reconcile(self, model: str, live: Live | None) -> tuple[str, ...]:
        """Make the alias `production` and its tags say what the ledger says, and return what had to be changed.

        Whoever moved the alias by hand released nothing: it is moved back. live None: nothing is live.
        """
        changed: list[str] = []
        with self._asking("project what is live") as client:
            if not self._known(client, model):
                if live is None:
                    return ()
                raise NotFound(f"MLflow has no model {model!r}", fix="learn it again, or restore MLflow's database")
            expected = None if live is None else self._version(client, model, live.run)
            if live is not None and expected is None:
                raise NotFound(f"MLflow has no version of run {live.run}", fix="restore MLflow's database")
            now = dict(client.get_registered_model(model).aliases).get(PRODUCTION)
            if str(now or "") != str(expected or ""):
                changed.append(f"{PRODUCTION}: {now or 'nothing'} -> {expected or 'nothing'}")
                if expected is None:
                    client.delete_registered_model_alias(model, PRODUCTION)
                else:
                    client.set_registered_model_alias(model, PRODUCTION, str(expected))
            wanted = {} if live is None else {RELEASE: live.release, APPROVED: live.approved_by}
            if expected is not None:
                tags = client.get_model_version(model, str(expected)).tags
                for name, value in wanted.items():
                    if tags.get(name) != value:
                        changed.append(f"{name}: {tags.get(name, 'nothing')} -> {value}")
                        client.set_model_version_tag(model, str(expected), name, value)
        return tuple(changed)

    def stage(self, model: str, run: str) -> None:
        """Point the alias `staging` at a run's version: it is proposed, and not live."""
        with self._asking("project what is proposed", missing=f"MLflow has no version of run {run}") as client:
            version = self._version(client, model, run)
            if version is None:
                raise NotFound(f"MLflow has no version of run {run}", fix="learn it again")
            client.set_registered_model_alias(model, STAGING, version)

    @staticmethod
    def _known(client: MlflowClient, model: str) -> bool:
        return bool(client.search_registered_models(f"name = '{model}'", max_results=1))

    @staticmethod
    def _version(client: MlflowClient, model: str, run: str) -> str | None:
        found = client.search_model_versions(f"name = '{model}' and run_id = '{run}'", max_results=1)
        return str(found[0].version) if found else None

    @contextmanager
    def _asking(self, what: str, *, missing: str = "") -> Generator[MlflowClient]:
        """Hand out the client, and say what went wrong in the house's words."""
        try:
            from mlflow import MlflowClient
            from mlflow.exceptions import MlflowException
            from mlflow.utils import plugins
        except ImportError:
            raise Unavailable("mlflow is not installed", fix="pip install 'wellspring[models]'") from None
        import requests

        # MLflow asks every installed package for plugins; Feast offers a header, and takes five seconds to be loaded.
        plugins._get_entry_points = _no_plugins
        try:
            if self._client is None:
                self._client = MlflowClient(tracking_uri=self._uri, registry_uri=self._uri)
            yield self._client
        except MlflowException as wrong:
            if missing and _code(wrong) in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
                raise NotFound(missing, fix="name a run of `wellspring learn`") from None
            # Its code and no more: MLflow's text may hold an address with a password in it.
            raise Unavailable(
                f"MLflow did not {what} ({_code(wrong)})", fix="see `wellspring status`; `wellspring up` starts it"
            ) from None
        except (requests.RequestException, OSError) as wrong:
            raise Unavailable(
                f"MLflow did not {what} ({type(wrong).__name__})",
                fix="see `wellspring status`; `wellspring up` starts it",
            ) from None


def _no_plugins(group: str) -> list[Any]:
    del group
    return []


def _code(wrong: Any) -> str:
    return str(getattr(wrong, "error_code", type(wrong).__name__))
