"""The words of the models wing: from a trained candidate to the answer that names its release."""

from __future__ import annotations

from typing import Literal

from pydantic import SerializerFunctionWrapHandler, model_serializer

from wellspring.records.record import Digest, Frozen, Instant, Record
from wellspring.records.trust import Ref
from wellspring.records.verdict import Verdict

FreshnessState = Literal["fresh", "stale", "last_good", "missing", "refused"]
"""Of an answer: how far the knowledge that it rests on can be trusted to be the newest."""


class Estimate(Frozen):
    """A figure with its 95 % interval, on data that the model never saw. rows: how many it was measured on."""

    value: float
    low: float
    high: float
    rows: int


class SubgroupMetrics(Frozen):
    """One subgroup of the test rows. judged: whether it is large enough to be held against a bar."""

    column: str
    value: str
    rows: int
    enough_rows: bool
    auc: Estimate | None = None
    calibration_gap: float | None = None
    positive_share: float | None = None


class EvaluationReport(Frozen):
    """What one candidate measured. baselines: the three that are always told, by name, on the same rows.

    since, until: the days (UTC, the second not included) between which the test rows were asked about.
    learned_until: when the newest row that it learned from was asked about; '' where a candidate is too old to say.

    figures: auc, average_precision, brier, calibration_error ... by name. leaks: features that knew the future.
    reason_microseconds: the median of one answer's reasons, on this machine.
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
        """Leave out what an old candidate never said: it hashes to its name."""
        fields: dict[str, object] = serialize(self)
        return (
            fields if self.trained_until else {name: item for name, item in fields.items() if name != "trained_until"}
        )


class Candidate(Record):
    """A trained model that asks to be released. id: 12 hex of the SHA-256 of its own JSON; run: MLflow's.

    artefact: digest of the signed manifest of its files. code: digest of the model file, the feature definitions and
    the dbt project. environment: digest of the installed distributions. contracts: those that its data kept.
    verdict: the gate's.
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
    """What is approved and served, whole or not at all; any change of one part is another release.

    id: 12 hex of `digest`, the SHA-256 of the canonical JSON of the other fields without tenant and known_since.
    threshold: decimal text. labels: what each side of it is called. policy: digest of the project's policies.
    preprocessing: digest of the artefact's `model.json` (order of features, categories, calibration).
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
    """One reason of an answer: a feature, what it means, and whether it pushed the score up or down (log odds)."""

    feature: str
    description: str
    contribution: float


class AnswerSignature(Frozen):
    """The API process's signature (Ed25519, base64) over the canonical JSON of the answer without it.

    key: 16 hex of the SHA-256 of the public half, whose ledger entry says until when it holds.
    """

    key_id: str
    value: str


class Prediction(Frozen):
    """One answer. score: calibrated probability; reasons: strongest first; vector: digest of the features used.

    asked: SHA-256 of the canonical JSON of the tokens that it was asked by, by key column: to which question it is one.
    as_of: up to when knowledge is included; age_seconds: since then. entry: its line in the ledger, `api:SEQUENCE`.
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
