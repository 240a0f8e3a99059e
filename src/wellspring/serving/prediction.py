"""Build a prediction and its ledger record from the rows that were read. Pure functions."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from pydantic import JsonValue

from wellspring.data.features.freshness import freshness_state
from wellspring.errors import NotFound, Refused, suggest_name
from wellspring.models.releases.release_context import build_release_ref
from wellspring.models.tasks.port import DecodedOutput
from wellspring.records.decisions import DecisionRule, ThresholdRule, ValueRule
from wellspring.records.features import FeatureRow, FeatureViewSpec
from wellspring.records.lake import Edition
from wellspring.records.models import ClassProbability, FreshnessState, Prediction
from wellspring.records.record import Digest, format_instant
from wellspring.records.tokens import token_domain
from wellspring.records.trust import Ref
from wellspring.records.verdict import Reason, Verdict, VerdictOutcome
from wellspring.serving.loaded_release import AnsweringRelease, TokenDomains, require_token_domains
from wellspring.serving.scorer import ScoredRow
from wellspring_verify import answer_signature, canonical

RowsByView = Mapping[str, FeatureRow | None]


class FeatureContext(NamedTuple):
    """The rows behind a prediction, and the live edition. as_of: knowledge time up to which the edition is complete."""

    rows: RowsByView
    edition: Edition
    edition_digest: Digest
    as_of: datetime
    freshness: FreshnessState
    age_seconds: int


class PredictionResult(NamedTuple):
    """A signed prediction and the id of its ledger entry (`api:SEQUENCE`)."""

    prediction: Prediction
    ledger_entry: str


class FeatureLookup(NamedTuple):
    """The current features of one entity in one view, and the id of the ledger entry of this read."""

    view: str
    values: Mapping[str, JsonValue]
    known_since: datetime
    context: FeatureContext
    ledger_entry: str


def lookup_keys(
    views: tuple[FeatureViewSpec, ...], entity_keys: Mapping[str, str], token_domains: TokenDomains
) -> list[tuple[str, tuple[str, ...]]]:
    """Map the caller's tokens by key column to the row keys to read, one (view, key) for each view.

    Raises NotFound for an unknown column, Refused (verdict `invalid`) for a missing column or a value that is not a
    token of the column's domain, and ProjectError for a key column without a token domain. No error repeats a value.
    """
    for view in views:
        require_token_domains(view, token_domains)
    key_columns = list(dict.fromkeys(column for view in views for column in view.keys))
    for column in entity_keys:
        if column not in key_columns:
            raise NotFound(
                "the request has a key column that this model does not use", fix=suggest_name(column, key_columns)
            )
    for column in key_columns:
        if column not in entity_keys:
            raise build_rejection(
                "missing_key", f"the key {column} is missing", fix=f"send tokens for: {', '.join(key_columns)}"
            )
        if not is_token(entity_keys[column], token_domains[column]):
            raise build_rejection(
                "not_a_token",
                f"the value of {column} is not a token of its domain",
                fix="request a token from the enclave and send it instead",
            )
    return [(view.name, tuple(entity_keys[column] for column in view.keys)) for view in views]


def is_token(text: str, domains: frozenset[str]) -> bool:
    """Check whether a text is a token of one of these domains."""
    return token_domain(text) in domains


def compute_request_digest(entity_keys: Mapping[str, str]) -> Digest:
    """Compute the SHA-256 (hex) of the canonical JSON of the request's tokens by key column."""
    return hashlib.sha256(canonical.dumps_canonical(dict(entity_keys))).hexdigest()


def build_feature_context(
    rows: RowsByView,
    views: tuple[FeatureViewSpec, ...],
    edition: Edition,
    edition_digest: Digest,
    as_of: datetime,
    now: datetime,
) -> FeatureContext:
    """Combine the rows with their freshness. Raises Refused (verdict `inconclusive`) if a view has no row.

    as_of: the knowledge time up to which the live edition is complete.
    """
    freshness, age_seconds = freshness_state(rows, views, as_of, now)
    if missing := [view.name for view in views if rows.get(view.name) is None]:
        raise build_rejection(
            "missing", f"no features for these keys in {', '.join(missing)}", fix=_RETRY_FIX, outcome="inconclusive"
        )
    return FeatureContext(rows, edition, edition_digest, as_of, freshness, age_seconds)


def mark_last_good(context: FeatureContext, published_at: Mapping[str, datetime]) -> FeatureContext:
    """Set `last_good` on a fresh context if a row comes from an edition published before the live one.

    published_at: publication instant by edition id.
    """
    live_published_at = context.edition.known_since
    superseded_rows = [
        row for row in context.rows.values() if row is not None and published_at[row.edition] < live_published_at
    ]
    return context._replace(freshness="last_good") if superseded_rows and context.freshness == "fresh" else context


def build_prediction(
    answering: AnsweringRelease,
    scored_row: ScoredRow,
    context: FeatureContext,
    *,
    prediction_id: str,
    request_digest: Digest,
    answered_at: datetime,
) -> Prediction:
    """Build an unsigned prediction. request_digest: of the tokens of the request (`compute_request_digest`)."""
    served = answering.served
    return Prediction(
        id=prediction_id,
        mode=served.mode,
        model=served.release.model,
        request_digest=request_digest,
        release=served.release.id,
        role=answering.role,
        edition=context.edition.id,
        score=scored_row.score,
        threshold=_threshold_text(served.release.decision_rule),
        interval=scored_row.output.interval,
        probabilities=_class_probabilities(scored_row),
        decision=scored_row.decision,
        reasons=scored_row.reasons,
        freshness=context.freshness,
        as_of=context.as_of,
        age_seconds=context.age_seconds,
        vector_digest=scored_row.vector_digest,
        answered_at=answered_at,
    )


def _threshold_text(rule: DecisionRule) -> str | None:
    return rule.threshold if isinstance(rule, ThresholdRule | ValueRule) else None


def _class_probabilities(scored_row: ScoredRow) -> tuple[ClassProbability, ...] | None:
    if scored_row.output.probabilities is None:
        return None
    return tuple(
        ClassProbability(label=label, probability=probability) for label, probability in scored_row.output.probabilities
    )


class LedgerRecord(NamedTuple):
    """The content of one ledger entry; the journal must hold it before the response is sent."""

    subject: str
    inputs: tuple[Ref, ...]
    outputs: tuple[Ref, ...]
    facts: dict[str, JsonValue]


def build_ledger_record(
    prediction: Prediction,
    output: DecodedOutput,
    signed_text: bytes,
    answering: AnsweringRelease,
    context: FeatureContext,
    *,
    key_id: str,
    principal: str,
    policy_digest: Digest,
) -> LedgerRecord:
    """Build the ledger record of a prediction: all that a replay needs, and no feature value.

    output: of the model, from which the prediction was built.
    """
    served = answering.served
    return LedgerRecord(
        prediction.subject,
        inputs=(
            build_release_ref(served.release),
            Ref(name=context.edition.subject, digest=context.edition_digest),
            Ref(name=f"key:{key_id}"),
            Ref(name=f"vector:{prediction.id}", digest=prediction.vector_digest),
        ),
        outputs=(Ref(name=f"answer:{prediction.id}", digest=hashlib.sha256(signed_text).hexdigest()),),
        facts={
            "mode": prediction.mode,
            "model": prediction.model,
            "role": prediction.role,
            "request_digest": prediction.request_digest,
            **encode_output_facts(output),
            "decision": prediction.decision,
            "freshness": prediction.freshness,
            "principal": principal,
            "policy_digest": policy_digest,
            "views": {name: build_row_reference(row) for name, row in context.rows.items() if row is not None},
            "editions": {
                name: row.edition
                for name, row in context.rows.items()
                if row is not None and row.edition != context.edition.id
            },
            **({"superseded_by": served.superseded_by} if served.superseded_by else {}),
            **({"missing_challenger": answering.missing_challenger} if answering.missing_challenger else {}),
        },
    )


def encode_output_facts(output: DecodedOutput) -> dict[str, JsonValue]:
    """Encode the numbers of a prediction exactly, as float.hex; a number that does not apply is left out."""
    facts: dict[str, JsonValue] = {"score": answer_signature.float_hex(output.score)}
    if output.interval is not None:
        facts["interval"] = [answer_signature.float_hex(end) for end in output.interval]
    if output.probabilities is not None:
        facts["probabilities"] = [
            [label, answer_signature.float_hex(probability)] for label, probability in output.probabilities
        ]
    return facts


def build_row_reference(row: FeatureRow) -> list[JsonValue]:
    """Encode the reference of a row as [known_since, sequence, *key tokens]."""
    return [format_instant(row.known_since), row.sequence, *row.key]


def build_rejection(code: str, message: str, *, fix: str, outcome: VerdictOutcome = "invalid") -> Refused:
    """Build a Refused error whose verdict outcome differs from `fail`, the outcome of a policy refusal."""
    verdict = Verdict(subject="request", outcome=outcome, reasons=(Reason(code=code, message=message),))
    return Refused(message, fix=fix, verdict=verdict)


_RETRY_FIX = "check the tokens, or retry after the next edition"
