"""Each crash point belongs to the ingest scenario, to the model lifecycle or to the decisions about drops."""

from __future__ import annotations

from tests.crash import crash_points, drop_decisions, model_lifecycle

LIFECYCLE = (
    "models/",
    "lake/built_tables.py",
    "data/features/materialize.py",
    "workflows/transform.py",
    "workflows/outcomes.py",
    "workflows/retain.py",
    "workflows/compact.py",
    "lake/retirement.py",
    "workflows/release.py",
    "workflows/change_releases.py",
    "trust/changes/",
    "sequencer/packing.py",
    "trust/ledger/journal.py",
)
DECISIONS = (
    "enclave/contract_registry.py",
    "enclave/drop_decisions.py",
    "enclave/person_backfill.py",
    "workflows/changes/contract.py",
    "workflows/drops.py",
    "workflows/mended_contracts.py",
    "lake/restaging.py",
)
INGEST = (
    "backup/",
    "enclave/",
    "trust/ledger/",
    "worker/",
    "lake/lake.py",
    "workflows/ingest.py",
    "workflows/publish.py",
)


def test_each_crash_point_belongs_to_the_scenario_of_its_module() -> None:
    for point in crash_points.list_crash_points():
        file = point.file.removeprefix("wellspring/")
        # A crash point of a module in neither list would never be hit.
        assert file.startswith((*LIFECYCLE, *DECISIONS, *INGEST)), f"{point.name} in {file} belongs to no scenario"
        assert model_lifecycle.is_lifecycle_point(point.name) == file.startswith(LIFECYCLE), point
        assert drop_decisions.is_decision_point(point.name) == file.startswith(DECISIONS), point
