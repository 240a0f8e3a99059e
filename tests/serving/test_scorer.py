"""One vector has one score, to the last bit, and nothing unsigned is ever scored with."""

from __future__ import annotations

import hashlib
import math
import struct
from pathlib import Path

import pytest

from tests.builders.released_model import Released, recipe, trees
from tests.builders.synthetic_world import token
from tests.models.spec.test_artifact import Signer
from wellspring.errors import CorruptedError, NotFound, Refused
from wellspring.models.estimators import lightgbm
from wellspring.models.spec import artifact
from wellspring.records.data import FeatureRow
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


def test_a_score_is_the_calibrated_raw_score_and_says_the_same_each_time(project: Released, scorer: Scorer):
    arguments = rows(project)
    scored = scorer.score(arguments)
    booster = lightgbm.load_booster(trees())
    assert scored.raw_score == lightgbm.predict_raw_score(booster, scored.vector)
    assert scored.score == recipe().calibration.calibrate_score(scored.raw_score)
    assert scored.decision == ("denies" if scored.score >= 0.40 else "pays")
    assert len(scored.vector) == len(scorer.spec.features)
    again = project.load(project.releases.get(project.releases.list_ids()[0])).score(arguments, include_reasons=False)
    assert (again.score.hex(), again.vector_digest) == (scored.score.hex(), scored.vector_digest)
    assert again.reasons == ()


def test_the_threshold_and_the_labels_are_those_of_the_release(project: Released):
    release = project.train()
    strict = release.model_copy(update={"threshold": "0.000001", "labels": ("ok", "look")})
    assert project.load(strict).score(rows(project)).decision == "look"


def test_reasons_are_the_strongest_pushes_in_the_features_own_words(project: Released, scorer: Scorer):
    for number in range(8):
        scored = scorer.score(rows(project, number))
        pushes = lightgbm.compute_contributions(lightgbm.load_booster(trees()), scored.vector)
        assert 3 <= len(scored.reasons) <= 5
        result = [abs(reason.contribution) for reason in scored.reasons]
        assert result == sorted(map(abs, pushes), reverse=True)[: len(result)]
        words = {f"{feature.view}.{feature.name}": feature.description for feature in scorer.spec.features}
        assert all(words[reason.feature] == reason.description for reason in scored.reasons)


def test_a_thing_of_which_nothing_is_known_has_a_vector_of_nothing(scorer: Scorer):
    scored = scorer.score({"claim": None})
    assert all(math.isnan(item) for item in scored.vector)
    assert math.isfinite(scored.score)


def test_a_vector_is_hashed_bit_by_bit_and_every_nan_is_one():
    second = struct.unpack("<d", struct.pack("<Q", 0xFFF8000000000123))[0]
    assert math.isnan(second)
    assert compute_vector_digest([1.0, second]) == compute_vector_digest([1.0, math.nan])
    assert compute_vector_digest([0.0]) != compute_vector_digest([-0.0])
    assert compute_vector_digest([1.0]) == hashlib.sha256(struct.pack("<d", 1.0)).hexdigest()
    assert compute_vector_digest([1.0, 2.0]) != compute_vector_digest([2.0, 1.0])


def test_only_what_this_house_signed_is_scored_with(project: Released):
    with pytest.raises(CorruptedError, match="not signed"):
        project.load(project.train(), key=Signer(b"\x01" * 32).key_id)


def test_a_changed_file_of_a_model_is_never_scored_with(project: Released):
    release = project.train()
    named = artifact.verify_artifact(release.artifact, paths=project.releases.paths, key=project.signer.verifier_key)
    digest = named[artifact.BOOSTER_FILE]
    path = project.folder / "models" / "objects" / digest[:2] / digest[2:]
    path.write_bytes(path.read_bytes().replace(b"leaf_value=", b"leaf_value=9", 1))
    with pytest.raises(CorruptedError):
        project.load(release)


def test_a_release_of_other_preprocessing_another_model_or_nothing_is_refused(project: Released):
    release = project.train()
    with pytest.raises(CorruptedError, match="another recipe"):
        project.load(release.model_copy(update={"preprocessing": "0" * 64}))
    with pytest.raises(CorruptedError, match="is of other"):
        project.load(release.model_copy(update={"model": "other"}))
    with pytest.raises(NotFound):
        project.load(release.model_copy(update={"artifact": "0" * 64}))


def test_a_pickle_in_a_manifest_is_refused_before_it_is_read(project: Released):
    release = project.train()
    text = f"{'0' * 64} model.pkl\n".encode()
    digest = hashlib.sha256(text).hexdigest()
    line = artifact.notes.NoteSignature(
        project.signer.verifier_key.name, project.signer.verifier_key.key_id, project.signer.sign(text)
    ).to_line()
    project.releases.paths.write_once(f"manifests/{digest}", text + b"\n" + line)
    with pytest.raises(Refused, match="none was read"):
        project.load(release.model_copy(update={"artifact": digest}))
