"""What an answer says, and that nothing of what a caller sent is ever said back."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from pathlib import Path

import pytest

from tests.models.released import DOMAINS, NOW, Released, claim
from tests.models.synthetic import token
from wellspring.data import editions
from wellspring.errors import NotFound, ProjectError, Refused, Unavailable
from wellspring.models import answer
from wellspring.records.data import FeatureRow

RAW = ("900-12-3456", "9001234561", "MBR-0001", "1EG4TE5MK73", "", "claim_k1_short", "Jane Roe", "claim_k1_" + "A" * 26)


@pytest.fixture
def house(tmp_path: Path) -> Released:
    return Released(tmp_path)


def rows(house: Released, number: int) -> dict[str, FeatureRow | None]:
    asked = answer.wanted(house.views.views, claim(number), DOMAINS)
    return {view: house.lake.row(house.online.defined[view], key) for view, key in asked}


def known(house: Released, number: int = 3) -> answer.Knowledge:
    built = house.lake.built
    return answer.known(
        rows(house, number), house.views.views, built, editions.digest(built), NOW - timedelta(hours=3), NOW
    )


def test_tokens_are_turned_into_the_rows_to_read(house: Released):
    given = claim(3)
    assert answer.wanted(house.views.views, given, DOMAINS) == [
        ("claim", (given["claim_id"],)),
        ("provider_history", (given["billing_npi"],)),
    ]


@pytest.mark.parametrize("raw", RAW)
def test_a_raw_identifier_is_refused_and_never_said_back(house: Released, raw: str):
    with pytest.raises(Refused) as wrong:
        answer.wanted(house.views.views, {**claim(3), "claim_id": raw}, DOMAINS)
    assert wrong.value.verdict is not None
    assert wrong.value.verdict.outcome == "invalid"
    said = wrong.value.what + wrong.value.fix + wrong.value.verdict.model_dump_json()
    assert not raw or raw not in said


def test_a_token_of_another_domain_is_refused(house: Released):
    with pytest.raises(Refused, match="not a token of its domain"):
        answer.wanted(house.views.views, {**claim(3), "claim_id": token("member", 3)}, DOMAINS)
    assert not answer.is_token(token("claim", 1), frozenset())
    assert answer.is_token("prior_auth_k12_" + "a" * 26, frozenset({"prior_auth"}))


def test_no_token_passes_for_a_key_whose_domain_nobody_knows(house: Released):
    for domains in ({}, {**DOMAINS, "billing_npi": frozenset[str]()}, {"claim_id": DOMAINS["claim_id"]}):
        with pytest.raises(ProjectError, match="has no token domain"):
            answer.wanted(house.views.views, claim(3), domains)


def test_a_question_has_one_name_whatever_the_order_of_its_keys():
    given = claim(3)
    text = f'{{"billing_npi":"{given["billing_npi"]}","claim_id":"{given["claim_id"]}"}}'
    turned = dict(reversed(given.items()))
    assert answer.asked(given) == answer.asked(turned) == hashlib.sha256(text.encode()).hexdigest()
    assert answer.asked(claim(4)) != answer.asked(given)


def test_an_unknown_or_missing_key_is_told_by_the_names_that_there_are(house: Released):
    with pytest.raises(NotFound) as wrong:
        answer.wanted(house.views.views, {**claim(3), "claim_di": token("claim", 1)}, DOMAINS)
    assert wrong.value.fix == "did you mean 'claim_id'?"
    assert "claim_di" not in wrong.value.what
    with pytest.raises(Refused, match="billing_npi is missing"):
        answer.wanted(house.views.views, {"claim_id": token("claim", 1)}, DOMAINS)


def test_what_is_known_is_judged_and_nothing_missing_is_answered(house: Released):
    found = known(house)
    assert (found.state, found.age_seconds) == ("fresh", 3 * 3600)
    view = house.views.views[0].model_copy(update={"max_age_seconds": 60})
    told = answer.known(found.rows, (view,), found.edition, found.digest, found.as_of, NOW)
    assert told.state == "stale"
    with pytest.raises(Refused, match="nothing is known of this in claim") as wrong:
        answer.known({**found.rows, "claim": None}, house.views.views, found.edition, found.digest, NOW, NOW)
    assert wrong.value.verdict is not None
    assert wrong.value.verdict.outcome == "inconclusive"


def test_a_row_that_the_newest_edition_no_longer_has_is_last_good(house: Released):
    found = known(house)
    live = found.edition.known_since
    assert answer.older(found, {house.lake.built.id: live}).state == "fresh"
    assert answer.older(found, {house.lake.built.id: live + timedelta(hours=1)}).state == "fresh"
    assert answer.older(found, {house.lake.built.id: live - timedelta(hours=1)}).state == "last_good"


def test_rows_of_a_new_definition_are_not_mixed_with_an_old_release(house: Released):
    house.released()
    served = house.shelf().get("denials")
    answer.compatible(served, house.views)
    first, second = house.views.views
    words = first.model_copy(
        update={"features": tuple(each.model_copy(update={"what": "x"}) for each in first.features)}
    )
    answer.compatible(served, house.views.model_copy(update={"views": (words, second)}))
    kinds = first.model_copy(
        update={"features": (*first.features[:2], first.features[2].model_copy(update={"categories": ("a",)}))}
    )
    for views in ((second,), (kinds, second), (first.model_copy(update={"table": "other"}), second)):
        with pytest.raises(Unavailable, match="defined anew"):
            answer.compatible(served, house.views.model_copy(update={"views": views}))


def test_a_line_says_all_that_it_takes_to_answer_again_and_no_value(house: Released):
    release = house.released()
    served = house.shelf().get("denials")
    found = known(house)
    scored = served.scorer.score(found.rows)
    given = answer.answer(served, scored, found, prediction="p1", given=claim(3), at=NOW)
    line = answer.line(given, b"text", served, found, key="ab" * 8, by="service:portal", policy="9" * 64)
    assert [each.name for each in line.inputs] == [
        release.subject, house.lake.built.subject, "key:" + "ab" * 8, "vector:p1",
    ]  # fmt: skip
    assert line.inputs[3].digest == scored.vector_digest
    assert (line.outputs[0].name, line.outputs[0].digest) == ("answer:p1", hashlib.sha256(b"text").hexdigest())
    assert line.facts["score"] == scored.score.hex()
    assert line.facts["asked"] == given.asked == answer.asked(claim(3))
    assert "instead_of" not in line.facts
    views = line.facts["views"]
    assert isinstance(views, dict)
    row = found.rows["claim"]
    assert row is not None
    assert views["claim"] == ["2026-10-26T12:03:00.000000Z", 3, token("claim", 3)]
    assert line.facts["editions"] == {}
    told = repr(line)
    assert all(str(value) not in told for value in row.values.values() if isinstance(value, float))
