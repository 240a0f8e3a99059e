"""Define the records of models: evaluations, candidates, releases, predictions and their signatures."""

from __future__ import annotations

from typing import Literal

from pydantic import SerializerFunctionWrapHandler, model_serializer

from wellspring.records.record import Digest, Frozen, Instant, Record
from wellspring.records.trust import Ref
from wellspring.records.verdict import Verdict

FreshnessState = Literal["fresh", "stale", "last_good", "missing", "refused"]
"""How current the features of a prediction are."""


class Estimate(Frozen):
    """A metric with its 95 % interval, measured on test rows. rows: the number of those rows."""

    value: float
    low: float
    high: float
    rows: int


class SubgroupMetrics(Frozen):
    """Metrics of one subgroup of the test rows. enough_rows: whether acceptance criteria apply to it."""

    column: str
    value: str
    rows: int
    enough_rows: bool
    auc: Estimate | None = None
    calibration_gap: float | None = None
    positive_share: float | None = None


class EvaluationReport(Frozen):
    """The evaluation of one candidate. baselines: three reference models by name, on the same rows.

    since, until: days (UTC; until is excluded) of the query times of the test rows.
    trained_until: query time of the newest training row; '' for a candidate that does not record it.

    metrics: auc, average_precision, brier, calibration_error ... by name. leaks: features that use future data.
    reason_microseconds: median time to compute the reasons of one prediction, on this machine.
    """

    metrics: dict[str, Estimate]
    baselines: dict[str, Estimate]
    subgroups: tuple[SubgroupMetrics, ...] = ()
    leaks: tuple[str, ...] = ()
    train_rows: int
    test_rows: int
    trained_until: str = ""
    since: str = ""
    until: str = ""
    reason_microseconds: float
    trees: int
    leaves: int

    @model_serializer(mode="wrap")
    def _serialize_report(self, serialize: SerializerFunctionWrapHandler) -> dict[str, object]:
        """Omit an empty `trained_until`, so that a candidate without it still hashes to its id."""
        fields: dict[str, object] = serialize(self)
        if not self.trained_until:
            del fields["trained_until"]
        return fields


class Candidate(Record):
    """A trained model that can be released. id: 12 hex of the SHA-256 of its own JSON; run: the MLflow run id.

    artifact: digest of the signed manifest of its files. code: digest of the model file, the feature definitions and
    the dbt project. environment: digest of the installed distributions. contracts: contracts of its training data.
    verdict: verdict of the acceptance gate.
    """

    id: str
    model: str
    run: str
    edition: str
    artifact: Digest
    views: Digest
    code: Digest
    environment: Digest
    contracts: tuple[Ref, ...]
    scores: EvaluationReport
    verdict: Verdict

    @property
    def subject(self) -> str:
        return f"candidate:{self.id}"


class Release(Record):
    """An approved, immutable combination of model, features, threshold and policy; a change needs a new release.

    id: 12 hex of `digest`, the SHA-256 of the canonical JSON of the other fields without tenant and known_since.
    threshold: decimal text. labels: names of the decisions below and above it. policy: digest of the policies.
    preprocessing: digest of the artifact's `model.json` (order of features, categories, calibration).
    """

    id: str
    digest: Digest
    model: str
    candidate: str
    artifact: Digest
    views: Digest
    preprocessing: Digest
    threshold: str
    labels: tuple[str, str]
    edition: str
    policy: Digest

    @property
    def subject(self) -> str:
        return f"release:{self.id}"


class FeatureAttribution(Frozen):
    """One reason of a prediction: a feature, its description and its contribution to the score (log odds)."""

    feature: str
    description: str
    contribution: float


class AnswerSignature(Frozen):
    """Ed25519 signature (base64) of the API process over the canonical JSON of the prediction without this field.

    key_id: 16 hex of the SHA-256 of the public key, whose ledger entry holds its expiry.
    """

    key_id: str
    value: str


class Prediction(Frozen):
    """One prediction. score: calibrated probability; reasons: strongest first; vector_digest: of the features used.

    request_digest: SHA-256 of the canonical JSON of the requested tokens by key column.
    as_of: instant up to which data is included; age_seconds: time since then.
    """

    id: str
    model: str
    request_digest: Digest
    release: str
    edition: str
    score: float
    threshold: str
    decision: str
    reasons: tuple[FeatureAttribution, ...]
    freshness: FreshnessState
    as_of: Instant
    age_seconds: int
    vector_digest: Digest
    answered_at: Instant
    signature: AnswerSignature | None = None

    @property
    def subject(self) -> str:
        return f"prediction:{self.id}"
