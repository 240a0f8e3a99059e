"""Scores are deterministic bit for bit, and only signed models are loaded."""

from __future__ import annotations

import hashlib
import math
import struct
from pathlib import Path

import pytest

from tests.builders.model_files import Signer
from tests.builders.released_model import Released, recipe, trees
from tests.builders.synthetic_world import token
from wellspring.errors import CorruptedError, NotFound, Refused
from wellspring.models.estimators.lightgbm import LightGBM
from wellspring.models.metrics.calibration import PlattCalibration
from wellspring.models.spec import artifact
from wellspring.records.decisions import ThresholdRule
from wellspring.records.features import FeatureRow
from wellspring.serving.scorer import Scorer, compute_vector_digest


@pytest.fixture
def project(tmp_path: Path) -> Released:
    return Released(tmp_path)


@pytest.fixture
def scorer(project: Released) -> Scorer:
    return project.load(project.train())


def rows(project: Released, number: int = 3) -> dict[str, FeatureRow | None]:
    claim, history = project.views.views
    return {
        "claim": project.lake.row(claim, (token("claim", number),)),
        "provider_history": project.lake.row(history, (token("provider", number % 5),)),
    }


def vector_of(scorer: Scorer, feature_rows: dict[str, FeatureRow | None]) -> list[float]:
    return scorer.spec.feature_vector({view: row.values for view, row in feature_rows.items() if row is not None})


def test_score_is_calibrated_raw_score_and_deterministic(project: Released, scorer: Scorer):
    feature_rows = rows(project)
    scored = scorer.score(feature_rows)
    raw = LightGBM.load_model(trees()).predict_row(vector_of(scorer, feature_rows))
    assert scored.score == PlattCalibration.model_validate(recipe().calibration).calibrate_score(raw[0])
    assert scored.decision == ("denies" if scored.score >= 0.40 else "pays")
    assert scored.vector_digest == compute_vector_digest(vector_of(scorer, feature_rows))
    again = project.load(project.releases.get(project.releases.list_ids()[0])).score(
        feature_rows, include_reasons=False
    )
    assert (again.score.hex(), again.vector_digest) == (scored.score.hex(), scored.vector_digest)
    assert again.reasons == ()


def test_threshold_and_labels_come_from_release(project: Released):
    release = project.train()
    strict = release.model_copy(update={"decision_rule": ThresholdRule(labels=("ok", "look"), threshold="0.000001")})
    assert project.load(strict).score(rows(project)).decision == "look"


def test_reasons_are_strongest_contributions_with_descriptions(project: Released, scorer: Scorer):
    for number in range(8):
        scored = scorer.score(rows(project, number))
        pushes = LightGBM.load_model(trees()).explain_row(vector_of(scorer, rows(project, number)), 0)
        assert 3 <= len(scored.reasons) <= 5
        result = [abs(reason.contribution) for reason in scored.reasons]
        assert result == sorted(map(abs, pushes), reverse=True)[: len(result)]
        words = {f"{feature.view}.{feature.name}": feature.description for feature in scorer.spec.features}
        assert all(words[reason.feature] == reason.description for reason in scored.reasons)


def test_entity_without_rows_has_vector_of_nan(scorer: Scorer):
    scored = scorer.score({"claim": None})
    assert scored.vector_digest == compute_vector_digest([math.nan] * len(scorer.spec.features))
    assert math.isfinite(scored.score)


def test_vector_digest_hashes_bits_and_normalizes_nan():
    second = struct.unpack("<d", struct.pack("<Q", 0xFFF8000000000123))[0]
    assert math.isnan(second)
    assert compute_vector_digest([1.0, second]) == compute_vector_digest([1.0, math.nan])
    assert compute_vector_digest([0.0]) != compute_vector_digest([-0.0])
    assert compute_vector_digest([1.0]) == hashlib.sha256(struct.pack("<d", 1.0)).hexdigest()
    assert compute_vector_digest([1.0, 2.0]) != compute_vector_digest([2.0, 1.0])


def test_model_signed_with_another_key_is_refused(project: Released):
    with pytest.raises(CorruptedError, match="not signed"):
        project.load(project.train(), key=Signer(b"\x01" * 32).verifier_key)


def test_changed_model_file_is_refused(project: Released):
    release = project.train()
    named = artifact.verify_artifact(
        release.artifact, paths=project.releases.paths, keys=(project.signer.verifier_key,)
    )
    digest = named[LightGBM.file_name]
    path = project.folder / "models" / "objects" / digest[:2] / digest[2:]
    path.write_bytes(path.read_bytes().replace(b"leaf_value=", b"leaf_value=9", 1))
    with pytest.raises(CorruptedError):
        project.load(release)


def test_release_with_other_spec_model_or_artifact_is_refused(project: Released):
    release = project.train()
    with pytest.raises(CorruptedError, match="different inference specs"):
        project.load(release.model_copy(update={"preprocessing": "0" * 64}))
    with pytest.raises(CorruptedError, match="is a release of other"):
        project.load(release.model_copy(update={"model": "other"}))
    with pytest.raises(NotFound):
        project.load(release.model_copy(update={"artifact": "0" * 64}))


def test_pickle_in_manifest_is_refused_before_read(project: Released):
    release = project.train()
    text = f"{'0' * 64} model.pkl\n".encode()
    digest = hashlib.sha256(text).hexdigest()
    line = artifact.notes.NoteSignature(
        project.signer.verifier_key.name, project.signer.verifier_key.key_id, project.signer.sign(text)
    ).to_line()
    project.releases.paths.write_once(f"manifests/{digest}", text + b"\n" + line)
    with pytest.raises(Refused, match="none was read"):
        project.load(release.model_copy(update={"artifact": digest}))
