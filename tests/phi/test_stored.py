"""Planted personal data is found in MLflow's run records and in the build files of dbt."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pytest

from tests.builders import dbt_builds
from tests.builders import dbt_projects as built
from tests.phi.people import PEOPLE, ZQURO, line
from tests.phi.search import search

pytestmark = pytest.mark.slow


class MlflowStore(NamedTuple):
    """The folder of MLflow, and its client."""

    folder: Path
    client: Any


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> MlflowStore:
    """Store runs as the MLflow server does: in a database and a folder of files."""
    import warnings

    folder = tmp_path_factory.mktemp("mlflow")
    with warnings.catch_warnings():
        # From MLflow's imports and migrations.
        warnings.simplefilter("ignore")
        from mlflow import MlflowClient

        client = MlflowClient(f"sqlite:///{folder}/mlflow.db", f"sqlite:///{folder}/mlflow.db")
        client.create_experiment("planted", (folder / "artifacts").as_uri())
        client.create_registered_model("planted")
    return MlflowStore(folder, client)


PLANTED: dict[str, Callable[[Any, str], object]] = {
    "a parameter": lambda client, run: client.log_param(run, "who", ZQURO.name),
    "a tag": lambda client, run: client.set_tag(run, "note", line(ZQURO)),
    "a figure's name": lambda client, run: client.log_metric(run, f"auc of {ZQURO.name}", 0.5),
    "a file": lambda client, run: client.log_dict(run, {"rows": [{"ssn": ZQURO.ssn}]}, "model/model.json"),
    "a file's name": lambda client, run: client.log_text(run, "nothing in here", f"{ZQURO.name}.txt"),
    "a model's description": lambda client, _: client.update_registered_model("planted", f"asked by {ZQURO.name}"),
    "a model's tag": lambda client, _: client.set_registered_model_tag("planted", "ws.approved_by", ZQURO.name),
}


@pytest.mark.parametrize("kind", PLANTED)
@pytest.mark.filterwarnings("ignore")
def test_a_person_in_the_run_records_is_found(kind: str, mlflow: MlflowStore) -> None:
    run = str(mlflow.client.create_run("1").info.run_id)
    before = {hit.path for hit in search([mlflow.folder], PEOPLE)}
    assert before == set(), f"left by an earlier test: {before}"
    PLANTED[kind](mlflow.client, run)
    try:
        assert {hit.person for hit in search([mlflow.folder], PEOPLE)} == {1}
    finally:
        _forget(mlflow, run)


def _forget(mlflow: MlflowStore, run: str) -> None:
    """Remove a run from the database, including freed pages, and from the files."""
    import shutil
    import sqlite3

    shutil.rmtree(mlflow.folder / "artifacts" / run, ignore_errors=True)
    mlflow.client.update_registered_model("planted", "nothing to see")
    database = sqlite3.connect(mlflow.folder / "mlflow.db", isolation_level=None)
    for table in ("params", "tags", "metrics", "latest_metrics", "registered_model_tags"):
        database.execute(f"DELETE FROM {table}")
    database.execute("VACUUM")
    database.close()


def test_a_person_in_the_input_of_dbt_is_found_in_its_build_files(tmp_path: Path) -> None:
    """Only tokens reach dbt; a name that reached it would be in the files that it writes."""
    rows = built.visits()
    people = pa.array([ZQURO.name, *["somebody else"] * (rows.num_rows - 1)])
    column = rows.schema.get_field_index("person")
    file = built.written(rows.set_column(column, "person", people), tmp_path / "visit.parquet")
    scratch = tmp_path / "scratch"
    files = {
        "visits.sql": built.VISITS,
        "visits.yml": built.FEATURES,
        "named.sql": f"select '{ZQURO.ssn}' as asked_for",
    }
    project = built.project(tmp_path / "dbt", files)
    dbt_builds.run_build(project, scratch, {"visit": dbt_builds.source(file)})
    hits = search([scratch], PEOPLE)
    assert {hit.person for hit in hits} == {1}
    matches = {Path(hit.path).relative_to(scratch).parts[0] for hit in hits}
    assert matches >= {"target", "full"}
