"""One vector has one score, to the last bit, and nothing unsigned is ever scored with."""

from __future__ import annotations

import hashlib
import math
import struct
from pathlib import Path

import pytest

from tests.models.released import Released, recipe, trees
from tests.models.synthetic import token
from tests.models.test_artefact import Signer
from wellspring.errors import Broken, NotFound, Refused
from wellspring.models import artefact, lightgbm
from wellspring.models.predict import Scorer, vector_digest
from wellspring.records.data import FeatureRow


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
    booster = lightgbm.load(trees())
    assert scored.raw == lightgbm.raw_score(booster, scored.vector)
    assert scored.score == recipe().calibration.probability(scored.raw)
    assert scored.decision == ("denies" if scored.score >= 0.40 else "pays")
    assert len(scored.vector) == len(scorer.recipe.features)
    again = house.load(house.releases.get(house.releases.ids()[0])).score(given, reasons=False)
    assert (again.score.hex(), again.vector_digest) == (scored.score.hex(), scored.vector_digest)
    assert again.reasons == ()


def test_the_threshold_and_the_labels_are_those_of_the_release(house: Released):
    release = house.train()
    strict = release.model_copy(update={"threshold": "0.000001", "labels": ("ok", "look")})
    assert house.load(strict).score(rows(house)).decision == "look"


def test_reasons_are_the_strongest_pushes_in_the_features_own_words(house: Released, scorer: Scorer):
    for number in range(8):
        scored = scorer.score(rows(house, number))
        pushes = lightgbm.contributions(lightgbm.load(trees()), scored.vector)
        assert 3 <= len(scored.reasons) <= 5
        told = [abs(each.push) for each in scored.reasons]
        assert told == sorted(map(abs, pushes), reverse=True)[: len(told)]
        words = {f"{each.view}.{each.name}": each.what for each in scorer.recipe.features}
        assert all(words[each.feature] == each.what for each in scored.reasons)


def test_a_thing_of_which_nothing_is_known_has_a_vector_of_nothing(scorer: Scorer):
    scored = scorer.score({"claim": None})
    assert all(math.isnan(each) for each in scored.vector)
    assert math.isfinite(scored.score)


def test_a_vector_is_hashed_bit_by_bit_and_every_nan_is_one():
    other = struct.unpack("<d", struct.pack("<Q", 0xFFF8000000000123))[0]
    assert math.isnan(other)
    assert vector_digest([1.0, other]) == vector_digest([1.0, math.nan])
    assert vector_digest([0.0]) != vector_digest([-0.0])
    assert vector_digest([1.0]) == hashlib.sha256(struct.pack("<d", 1.0)).hexdigest()
    assert vector_digest([1.0, 2.0]) != vector_digest([2.0, 1.0])


def test_only_what_this_house_signed_is_scored_with(house: Released):
    with pytest.raises(Broken, match="not signed"):
        house.load(house.train(), key=Signer(b"\x01" * 32).key)


def test_a_changed_file_of_a_model_is_never_scored_with(house: Released):
    release = house.train()
    named = artefact.verify(release.artefact, paths=house.releases.paths, key=house.signer.key)
    digest = named[artefact.BOOSTER]
    path = house.folder / "models" / "objects" / digest[:2] / digest[2:]
    path.write_bytes(path.read_bytes().replace(b"leaf_value=", b"leaf_value=9", 1))
    with pytest.raises(Broken):
        house.load(release)


def test_a_release_of_other_preprocessing_another_model_or_nothing_is_refused(house: Released):
    release = house.train()
    with pytest.raises(Broken, match="another recipe"):
        house.load(release.model_copy(update={"preprocessing": "0" * 64}))
    with pytest.raises(Broken, match="is of other"):
        house.load(release.model_copy(update={"model": "other"}))
    with pytest.raises(NotFound):
        house.load(release.model_copy(update={"artefact": "0" * 64}))


def test_a_pickle_in_a_manifest_is_refused_before_it_is_read(house: Released):
    release = house.train()
    text = f"{'0' * 64} model.pkl\n".encode()
    digest = hashlib.sha256(text).hexdigest()
    line = artefact.notes.Signature(house.signer.key.name, house.signer.key.id, house.signer.sign(text)).line()
    house.releases.paths.write_once(f"manifests/{digest}", text + b"\n" + line)
    with pytest.raises(Refused, match="none was read"):
        house.load(release.model_copy(update={"artefact": digest}))
