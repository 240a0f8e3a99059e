import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.builders.recording_step import Died, RecordingStep
from tests.builders.synthetic_world import World, binary_task, candidate, views
from tests.builders.trainings import AUDITED, CONTRACTS, ProjectFixture
from wellspring.errors import CorruptedError, NotFound, Refused, Unavailable
from wellspring.models.releases import candidates
from wellspring.models.spec import artifact
from wellspring.models.tasks.binary import BinaryCriteria
from wellspring.models.training import train
from wellspring.records.trust import Ref


@pytest.fixture(scope="module")
def world() -> World:
    return World(4000)


@pytest.fixture
def project(tmp_path: Path, world: World) -> ProjectFixture:
    return ProjectFixture(tmp_path, world)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, world: World):
    project = ProjectFixture(tmp_path_factory.mktemp("trained"), world)
    return project, project.train()


def test_a_passed_candidate_is_stored_with_all_its_parts(trained):
    project, built = trained
    assert built.verdict.passed
    assert built == candidates.read_candidate(built.id, paths=project.model_store.paths)
    assert (built.edition, built.views, built.contracts) == (project.world.edition.id, views().digest, CONTRACTS)
    stored = artifact.read_artifact(
        built.artifact,
        objects=project.model_store.objects,
        paths=project.model_store.paths,
        keys=(project.signer.verifier_key,),
    )
    assert stored.spec.model == "denials"
    assert stored.spec.keys == {"claim": ("claim_id",), "provider_history": ("billing_npi",)}
    assert set(project.stages) == {"join", "search", "train", "evaluate", "record"}


def test_run_and_gate_are_recorded_with_their_inputs(trained):
    project, built = trained
    trained, gated = project.step.done("train")[0], project.step.done("gate")[0]
    assert trained.subject == f"run:{built.run}"
    assert [item.name for item in trained.inputs] == [
        project.world.edition.subject, "contract:medical_claim@1.0.0", "views:tiny", "code:denials", "environment:lock",
    ]  # fmt: skip
    assert all(item.digest for item in trained.inputs)
    assert trained.outputs == (Ref(name="artifact:denials", digest=built.artifact),)
    assert gated.subject == built.subject
    assert gated.outputs == (Ref(name=built.subject, digest=candidates.candidate_digest(built)),)
    assert (trained.facts["excluded_label_known"], trained.facts["excluded_after_build"]) == (0, 0)
    assert gated.facts["outcome"] == "pass"
    assert all(isinstance(fact, str) for fact in gated.facts["metrics"]["auc"])  # pyright: ignore


def test_mlflow_receives_metrics_and_digests_and_never_a_row_or_a_token(trained):
    project, built = trained
    result = project.runs.runs[built.run]
    assert set(result.files) == {
        "model/model.lgb", "model/model.json", "evaluation.json", "card.md", "plots/calibration.svg", "plots/roc.svg",
        "plots/importance.svg",
    }  # fmt: skip
    whole = json.dumps([result.params, result.tags, result.metrics]).encode() + b"".join(result.files.values())
    assert b"claim_k1_" not in whole
    assert b"provider_k1_" not in whole
    assert {"auc", "auc_low", "auc_high", "baseline_columns", "baseline_heuristic_high"} <= set(result.metrics)
    assert result.tags["ws.artifact"] == built.artifact
    assert project.runs.ended[built.run] == "FINISHED"
    assert project.runs.versions == [built.run]


def test_reproduction_gives_the_same_bytes(trained):
    project, built = trained
    again = project.reproduce(built.run)
    assert again == artifact.verify_artifact(
        built.artifact, paths=project.model_store.paths, keys=(project.signer.verifier_key,)
    )
    assert project.step.done("reproduce")[0].subject == f"run:{built.run}"


def test_a_reproduction_with_other_bytes_is_an_error(trained):
    project, built = trained
    second = project.runs.runs[built.run]
    settings = json.loads(second.params["hyperparameters"])
    run = project.runs.start_run("denials")
    settings["learning_rate"] *= 1.0000001
    project.runs.runs[run] = second._replace(params={**second.params, "hyperparameters": json.dumps(settings)})
    with pytest.raises(CorruptedError, match=r"other bytes: .*model\.lgb"):
        project.reproduce(run)


def test_other_code_is_refused_by_the_name_of_its_file(trained):
    project, built = trained
    with pytest.raises(Refused, match=r"other code: dbt/models/a\.sql, features\.py$"):
        project.reproduce(built.run, source_digests={"models/denials.py": "1" * 64, "features.py": "5" * 64})


def test_other_packages_are_refused(trained, monkeypatch: pytest.MonkeyPatch):
    project, built = trained
    monkeypatch.setattr(train, "compute_environment_digest", lambda: "0" * 64)
    with pytest.raises(Refused, match="other packages"):
        project.reproduce(built.run)


def test_a_feature_that_the_audit_reported_is_refused_before_training(project: ProjectFixture):
    with pytest.raises(
        Refused,
        match=r"^denials was not released: provider_history\.claims_30d uses values from after the prediction time",
    ):
        project.train(leaks=("provider_history.claims_30d",))
    assert (project.runs.runs, project.stages) == ({}, [])
    assert [(entry.action, entry.phase, entry.subject) for entry in project.step.entries] == [
        ("gate", "refused", "model:denials")
    ]


def test_a_table_that_was_not_audited_is_refused_before_anything_is_trained(project: ProjectFixture):
    with pytest.raises(Refused, match="compared no rows of claim_label") as result:
        project.train(audited={**AUDITED, "claim_label": 0})
    assert result.value.verdict is not None
    assert result.value.verdict.outcome == "inconclusive"
    assert (project.runs.runs, project.stages) == ({}, [])


def test_a_table_that_counts_by_landing_time_is_trained_on_and_its_candidate_says_so(project: ProjectFixture):
    candidate = project.train(audited={**AUDITED, "claim_label": 0}, landing=("claim_label",))
    assert candidate.verdict.passed
    reason = next(reason for reason in candidate.verdict.reasons if reason.code == "landing_time")
    assert "rows of claim_label have no recorded_at" in reason.message


def test_target_leakage_is_refused_by_name_before_training(tmp_path: Path):
    project = ProjectFixture(tmp_path, World(3000))
    result = project.world.tables["claim_features"]
    outcome = project.world.tables["claim_label"].column("is_denied").to_pylist()
    answer = pa.array([0.0 if denied else 50.0 for denied in outcome])
    project.world.tables["claim_features"] = result.set_column(
        result.column_names.index("charge_amount"), "charge_amount", answer
    )
    with pytest.raises(Refused, match=r"claim\.charge_amount determines the label by itself"):
        project.train()
    assert project.runs.runs == {}


def test_a_worse_candidate_is_refused_on_the_same_rows_and_stored(trained):
    project, live = trained
    criteria = BinaryCriteria(
        auc=0.5, calibration_error=0.2, test_rows=500, test_positives=50, subgroup_auc=0.4, subgroup_calibration_gap=0.3
    )
    with pytest.raises(Refused, match="it is worse than the live model") as result:
        project.train(
            live=live, features=("claim:claim_type", "claim:charge_amount"), task=binary_task(acceptance=criteria)
        )
    assert result.value.verdict is not None
    assert [reason.code for reason in result.value.verdict.reasons] == ["worse_than_live"]
    refused = project.step.entries[-1]
    assert (refused.action, refused.phase) == ("gate", "refused")
    stored = candidates.read_candidate(refused.subject.removeprefix("candidate:"), paths=project.model_store.paths)
    assert stored.verdict == result.value.verdict


def test_an_inconclusive_candidate_is_refused(project: ProjectFixture):
    with pytest.raises(Refused, match="1,000,000 are required") as result:
        project.train(task=binary_task(acceptance=BinaryCriteria(auc=0.5, calibration_error=0.2, test_rows=1_000_000)))
    assert result.value.verdict is not None
    assert result.value.verdict.outcome == "inconclusive"


def test_the_same_again_beside_itself_passes(trained):
    project, live = trained
    again = project.train(live=live)
    assert again.artifact == live.artifact
    assert again.id != live.id
    # Promotion checks which model it was compared with.
    beside = {item.subject: item.facts["live"] for item in project.step.done("gate")}
    assert (beside[live.subject], beside[again.subject]) == ("", live.id)


def test_what_is_live_must_be_readable(project: ProjectFixture):
    with pytest.raises(NotFound, match="no model artifact"):
        project.train(live=candidate())
    assert project.runs.runs == {}


def test_mlflow_down_stops_before_anything_is_trained(project: ProjectFixture):
    def down(model: str) -> str:
        raise Unavailable("MLflow did not begin a run", fix="wait")

    project.runs.start_run = down
    with pytest.raises(Unavailable):
        project.train()
    assert "search" not in project.stages
    assert project.step.entries == []


def test_mlflow_lost_on_the_way_records_no_candidate_and_ends_the_run(project: ProjectFixture):
    def down(*output: Any, **more: Any) -> None:
        raise Unavailable("MLflow did not log a run", fix="wait")

    project.runs.log_run = down
    with pytest.raises(Unavailable):
        project.train()
    assert set(project.runs.ended.values()) == {"FAILED"}
    assert [(entry.action, entry.phase) for entry in project.step.entries] == [("train", "failed")]
    assert not (project.folder / "candidates").exists()


def test_training_runs_again_after_a_crash(project: ProjectFixture):
    project.step = RecordingStep(die_at="models.train:artifact-written")
    with pytest.raises(Died):
        project.train()
    assert project.runs.ended == {"0" * 32: "FAILED"}
    project.step = RecordingStep(die_at="models.train:candidate-saved")
    with pytest.raises(Died):
        project.train()
    # The file is there, and no entry says that the gate let it pass: whoever releases asks the ledger.
    assert len(candidates.list_candidates(project.model_store.paths)) == 1
    assert project.step.done("gate") == []
    project.step = RecordingStep()
    assert project.train().verdict.passed
