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
def house(tmp_path: Path) -> Released:
    return Released(tmp_path)


@pytest.fixture
def scorer(house: Released) -> Scorer:
    return house.load(house.train())


def rows(house: Released, number: int = 3) -> dict[str, FeatureRow | None]:
    claim, history = house.views.views
    return {
        "claim": house.lake.row(claim, (token("claim", number),)),
        "provider_history": house.lake.row(history, (token("provider", number % 5),)),
    }


def test_a_score_is_the_calibrated_raw_score_and_says_the_same_each_time(house: Released, scorer: Scorer):
    given = rows(house)
    scored = scorer.score(given)
    booster = lightgbm.load_booster(trees())
    assert scored.raw_score == lightgbm.predict_raw_score(booster, scored.vector)
    assert scored.score == recipe().calibration.calibrate_score(scored.raw_score)
    assert scored.decision == ("denies" if scored.score >= 0.40 else "pays")
    assert len(scored.vector) == len(scorer.spec.features)
    again = house.load(house.releases.get(house.releases.list_ids()[0])).score(given, include_reasons=False)
    assert (again.score.hex(), again.vector_digest) == (scored.score.hex(), scored.vector_digest)
    assert again.reasons == ()


def test_the_threshold_and_the_labels_are_those_of_the_release(house: Released):
    release = house.train()
    strict = release.model_copy(update={"threshold": "0.000001", "labels": ("ok", "look")})
    assert house.load(strict).score(rows(house)).decision == "look"


def test_reasons_are_the_strongest_pushes_in_the_features_own_words(house: Released, scorer: Scorer):
    for number in range(8):
        scored = scorer.score(rows(house, number))
        pushes = lightgbm.compute_contributions(lightgbm.load_booster(trees()), scored.vector)
        assert 3 <= len(scored.reasons) <= 5
        told = [abs(reason.contribution) for reason in scored.reasons]
        assert told == sorted(map(abs, pushes), reverse=True)[: len(told)]
        words = {f"{feature.view}.{feature.name}": feature.description for feature in scorer.spec.features}
        assert all(words[reason.feature] == reason.description for reason in scored.reasons)


def test_a_thing_of_which_nothing_is_known_has_a_vector_of_nothing(scorer: Scorer):
    scored = scorer.score({"claim": None})
    assert all(math.isnan(item) for item in scored.vector)
    assert math.isfinite(scored.score)


def test_a_vector_is_hashed_bit_by_bit_and_every_nan_is_one():
    other = struct.unpack("<d", struct.pack("<Q", 0xFFF8000000000123))[0]
    assert math.isnan(other)
    assert compute_vector_digest([1.0, other]) == compute_vector_digest([1.0, math.nan])
    assert compute_vector_digest([0.0]) != compute_vector_digest([-0.0])
    assert compute_vector_digest([1.0]) == hashlib.sha256(struct.pack("<d", 1.0)).hexdigest()
    assert compute_vector_digest([1.0, 2.0]) != compute_vector_digest([2.0, 1.0])


def test_only_what_this_house_signed_is_scored_with(house: Released):
    with pytest.raises(CorruptedError, match="not signed"):
        house.load(house.train(), key=Signer(b"\x01" * 32).key_id)


def test_a_changed_file_of_a_model_is_never_scored_with(house: Released):
    release = house.train()
    named = artifact.verify_artifact(release.artifact, paths=house.releases.paths, key=house.signer.key_id)
    digest = named[artifact.BOOSTER_FILE]
    path = house.folder / "models" / "objects" / digest[:2] / digest[2:]
    path.write_bytes(path.read_bytes().replace(b"leaf_value=", b"leaf_value=9", 1))
    with pytest.raises(CorruptedError):
        house.load(release)


def test_a_release_of_other_preprocessing_another_model_or_nothing_is_refused(house: Released):
    release = house.train()
    with pytest.raises(CorruptedError, match="another recipe"):
        house.load(release.model_copy(update={"preprocessing": "0" * 64}))
    with pytest.raises(CorruptedError, match="is of other"):
        house.load(release.model_copy(update={"model": "other"}))
    with pytest.raises(NotFound):
        house.load(release.model_copy(update={"artifact": "0" * 64}))


def test_a_pickle_in_a_manifest_is_refused_before_it_is_read(house: Released):
    release = house.train()
    text = f"{'0' * 64} model.pkl\n".encode()
    digest = hashlib.sha256(text).hexdigest()
    line = artifact.notes.NoteSignature(
        house.signer.key_id.name, house.signer.key_id.key_id, house.signer.sign(text)
    ).to_line()
    house.releases.paths.write_once(f"manifests/{digest}", text + b"\n" + line)
    with pytest.raises(Refused, match="none was read"):
        house.load(release.model_copy(update={"artifact": digest}))
