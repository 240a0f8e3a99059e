"""The drops of the second example: the same bytes from a seed, and rows that its contracts accept."""

from __future__ import annotations

import ast
import csv
from pathlib import Path

import pytest

from examples.parcel_delivery import parcels
from tests.architecture import repository
from tests.builders.project_code import PROJECT_CODE
from wellspring.data.contracts import contract
from wellspring.data.features import view_process
from wellspring.models.spec import definition
from wellspring.records.clock import SystemClock
from wellspring.records.features import FeatureViews

FOLDER = repository.ROOT / "examples" / "parcel_delivery"
MODELS = ("delivery_hours", "delivery_outcome", "long_delivery")


def test_a_seed_gives_the_same_files(tmp_path: Path):
    folders = [tmp_path / name for name in ("first", "second", "third")]
    for folder, seed in zip(folders, (3, 3, 4), strict=True):
        folder.mkdir()
        assert parcels.write_drops(folder, count=200, seed=seed)["parcel_0001.csv"] == 200
    first, again, another_seed = ({path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders)
    assert first == again
    assert set(first) == {"parcel_0001.csv", "closing_0001.csv"}
    assert first["parcel_0001.csv"] != another_seed["parcel_0001.csv"]


@pytest.mark.parametrize("table", ["parcel", "closing"])
def test_a_file_has_the_columns_of_its_contract(table: str, tmp_path: Path):
    parcels.write_drops(tmp_path, count=50)
    with (tmp_path / f"{table}_0001.csv").open(encoding="utf-8") as file:
        header = next(csv.reader(file))
    path = FOLDER / "contracts" / f"{table}.odcs.yaml"
    columns = contract.load_contract(path, tenant="t", known_since=SystemClock().now()).columns
    assert header == [column.name for column in columns]


def test_outcomes_are_recorded_after_acceptance_and_some_are_corrected_later():
    accepted, closings = parcels.draw_history(2_000)
    instants = {parcel.parcel_id: parcel.recorded_at for parcel in accepted}
    assert all(instants[row.parcel_id] < row.closed_at <= row.recorded_at for row in closings)
    corrected = [row for row in closings if row.recorded_at > row.closed_at]
    assert {row.outcome for row in corrected} == {"damaged"}
    assert 0 < len(corrected) < len(closings) / 20
    assert {row.outcome for row in closings} == set(parcels.OUTCOMES)


@pytest.fixture(scope="module")
def views() -> FeatureViews:
    return view_process.load_views(FOLDER / "features.py", "parcel_delivery", PROJECT_CODE)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_file_is_short_and_names_features_that_exist(name: str, views: FeatureViews):
    source = (FOLDER / "models" / f"{name}.py").read_text()
    imported = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import | ast.ImportFrom)]
    modules = {str(getattr(node, "module", "")) for node in imported}
    assert {name for name in modules if not name.startswith("sklearn.")} == {"wellspring.stable"}
    assert len(source.splitlines()) <= 60
    model = definition.load_model_definition(FOLDER / "models", name)
    used = {feature.name for feature in definition.resolve_features(model, views)}
    named = {feature for baseline in model.baselines for feature in baseline.features}
    assert named | {subgroup.feature for subgroup in model.subgroups} <= used
