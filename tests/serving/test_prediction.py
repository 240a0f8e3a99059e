"""Contents of a prediction and its ledger record; no error repeats a value of the request."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from pathlib import Path

import pytest

from tests.builders.released_model import DOMAINS, NOW, Released, claim
from tests.builders.synthetic_world import token
from wellspring.errors import NotFound, ProjectError, Refused
from wellspring.lake import editions
from wellspring.records.features import FeatureRow
from wellspring.serving import prediction

RAW_IDENTIFIERS = (
    "900-12-3456",
    "9001234561",
    "MBR-0001",
    "1EG4TE5MK73",
    "",
    "claim_k1_short",
    "Jane Roe",
    "claim_k1_" + "A" * 26,
)


@pytest.fixture
def project(tmp_path: Path) -> Released:
    return Released(tmp_path)


def rows(project: Released, number: int) -> dict[str, FeatureRow | None]:
    row_keys = prediction.lookup_keys(project.views.views, claim(number), DOMAINS)
    return {view: project.lake.row(project.online.defined[view], key) for view, key in row_keys}


def build_context(project: Released, number: int = 3) -> prediction.FeatureContext:
    built = project.lake.built
    return prediction.build_feature_context(
        rows(project, number), project.views.views, built, editions.edition_digest(built), NOW - timedelta(hours=3), NOW
    )


def test_tokens_map_to_row_keys(project: Released):
    keys = claim(3)
    assert prediction.lookup_keys(project.views.views, keys, DOMAINS) == [
        ("claim", (keys["claim_id"],)),
        ("provider_history", (keys["billing_npi"],)),
    ]


@pytest.mark.parametrize("raw", RAW_IDENTIFIERS)
def test_raw_identifier_is_refused_and_not_repeated(project: Released, raw: str):
    with pytest.raises(Refused) as error:
        prediction.lookup_keys(project.views.views, {**claim(3), "claim_id": raw}, DOMAINS)
    assert error.value.verdict is not None
    assert error.value.verdict.outcome == "invalid"
    output = error.value.what + error.value.fix + error.value.verdict.model_dump_json()
    assert not raw or raw not in output


def test_token_of_another_domain_is_refused(project: Released):
    with pytest.raises(Refused, match="not a token of its domain"):
        prediction.lookup_keys(project.views.views, {**claim(3), "claim_id": token("member", 3)}, DOMAINS)
    assert not prediction.is_token(token("claim", 1), frozenset())
    assert prediction.is_token("prior_auth_k12_" + "a" * 26, frozenset({"prior_auth"}))


def test_key_without_token_domain_accepts_no_token(project: Released):
    for domains in ({}, {**DOMAINS, "billing_npi": frozenset[str]()}, {"claim_id": DOMAINS["claim_id"]}):
        with pytest.raises(ProjectError, match="has no token domain"):
            prediction.lookup_keys(project.views.views, claim(3), domains)


def test_request_digest_does_not_depend_on_key_order():
    keys = claim(3)
    text = f'{{"billing_npi":"{keys["billing_npi"]}","claim_id":"{keys["claim_id"]}"}}'
    reversed_keys = dict(reversed(keys.items()))
    assert (
        prediction.compute_request_digest(keys)
        == prediction.compute_request_digest(reversed_keys)
        == hashlib.sha256(text.encode()).hexdigest()
    )
    assert prediction.compute_request_digest(claim(4)) != prediction.compute_request_digest(keys)


def test_unknown_or_missing_key_error_names_existing_keys(project: Released):
    with pytest.raises(NotFound) as error:
        prediction.lookup_keys(project.views.views, {**claim(3), "claim_di": token("claim", 1)}, DOMAINS)
    assert error.value.fix == "did you mean 'claim_id'?"
    assert "claim_di" not in error.value.what
    with pytest.raises(Refused, match="billing_npi is missing"):
        prediction.lookup_keys(project.views.views, {"claim_id": token("claim", 1)}, DOMAINS)


def test_feature_context_marks_stale_and_refuses_missing_rows(project: Released):
    context = build_context(project)
    assert (context.freshness, context.age_seconds) == ("fresh", 3 * 3600)
    view = project.views.views[0].model_copy(update={"max_age_seconds": 60})
    result = prediction.build_feature_context(
        context.rows, (view,), context.edition, context.edition_digest, context.as_of, NOW
    )
    assert result.freshness == "stale"
    with pytest.raises(Refused, match="no features for these keys in claim") as error:
        prediction.build_feature_context(
            {**context.rows, "claim": None}, project.views.views, context.edition, context.edition_digest, NOW, NOW
        )
    assert error.value.verdict is not None
    assert error.value.verdict.outcome == "inconclusive"


def test_row_of_older_edition_is_last_good(project: Released):
    context = build_context(project)
    live = context.edition.known_since
    assert prediction.mark_last_good(context, {project.lake.built.id: live}).freshness == "fresh"
    assert prediction.mark_last_good(context, {project.lake.built.id: live + timedelta(hours=1)}).freshness == "fresh"
    assert (
        prediction.mark_last_good(context, {project.lake.built.id: live - timedelta(hours=1)}).freshness == "last_good"
    )


def test_ledger_record_holds_replay_references_and_no_value(project: Released):
    release = project.released()
    request_digest = prediction.compute_request_digest(claim(3))
    answering = project.model_store().get("denials").choose_release(request_digest)
    context = build_context(project)
    scored = answering.served.scorer.score(context.rows)
    signed = prediction.build_prediction(
        answering, scored, context, prediction_id="p1", request_digest=request_digest, answered_at=NOW
    )
    record = prediction.build_ledger_record(
        signed,
        scored.output,
        b"text",
        answering,
        context,
        key_id="ab" * 8,
        principal="service:portal",
        policy_digest="9" * 64,
    )
    assert [ref.name for ref in record.inputs] == [
        release.subject, project.lake.built.subject, "key:" + "ab" * 8, "vector:p1",
    ]  # fmt: skip
    assert record.inputs[3].digest == scored.vector_digest
    assert (record.outputs[0].name, record.outputs[0].digest) == ("answer:p1", hashlib.sha256(b"text").hexdigest())
    assert record.facts["score"] == scored.score.hex()
    assert record.facts["request_digest"] == signed.request_digest == request_digest
    assert record.facts["role"] == signed.role == "stable"
    assert "superseded_by" not in record.facts
    views = record.facts["views"]
    assert isinstance(views, dict)
    row = context.rows["claim"]
    assert row is not None
    assert views["claim"] == ["2026-10-26T12:03:00.000000Z", 3, token("claim", 3)]
    assert record.facts["editions"] == {}
    output = repr(record)
    assert all(str(value) not in output for value in row.values.values() if isinstance(value, float))
