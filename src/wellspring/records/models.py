"""Define the records of models: evaluations, candidates, releases, predictions and their signatures."""

from __future__ import annotations

from typing import Literal

from pydantic import SerializerFunctionWrapHandler, model_serializer

from wellspring.records.decisions import DecisionRule
from wellspring.records.deployments import DeploymentRole
from wellspring.records.record import Digest, Frozen, Instant, Record
from wellspring.records.trust import ProjectMode, Ref
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
    """Metrics of one subgroup of the test rows. enough_rows: whether acceptance criteria apply to it.

    metrics: by name, such as auc; figures: numbers without an interval, such as calibration_gap.
    """

    column: str
    value: str
    rows: int
    enough_rows: bool
    metrics: dict[str, Estimate] = {}
    figures: dict[str, float] = {}


class EvaluationReport(Frozen):
    """The evaluation of one candidate. task, main_metric: what is predicted, and the metric of baselines.

    since, until: days (UTC; until is excluded) of the query times of the test rows.
    trained_until: query time of the newest training row; '' for a candidate that does not record it.

    metrics: by name. baselines: the main metric of reference models by name, on the same rows. class_rows: test rows by
    class; empty for a regression. leaks: features that use future data. reason_microseconds: median time to compute the
    reasons of one prediction, on this machine; 0 without reasons. size: size figures of the estimator, such as trees.
    """

    task: str
    main_metric: str
    metrics: dict[str, Estimate]
    baselines: dict[str, Estimate]
    subgroups: tuple[SubgroupMetrics, ...] = ()
    leaks: tuple[str, ...] = ()
    class_rows: dict[str, int] = {}
    train_rows: int
    test_rows: int
    trained_until: str = ""
    since: str = ""
    until: str = ""
    reason_microseconds: float
    size: dict[str, int] = {}

    @model_serializer(mode="wrap")
    def _serialize_report(self, serialize: SerializerFunctionWrapHandler) -> dict[str, object]:
        """Omit an empty `trained_until`, so that a candidate without it still hashes to its id."""
        fields: dict[str, object] = serialize(self)
        if not self.trained_until:
            del fields["trained_until"]
        return fields


class Candidate(Record):
    """A trained model that can be released. id: 12 hex of the SHA-256 of its own JSON; run: the MLflow run id.

    artifact: digest of the signed manifest of its files. transform: digest of the dbt project that built the edition.
    code: digest of the model file, the feature definitions and
    the dbt project. environment: digest of the installed distributions. contracts: contracts of its training data.
    verdict: verdict of the acceptance gate. task, estimator: registered names. git_commit: the commit of the project's
    repository, '' without one; git_dirty: whether files of the project differed from it.
    """

    id: str
    model: str
    task: str
    estimator: str
    run: str
    edition: str
    artifact: Digest
    views: Digest
    transform: Digest
    code: Digest
    environment: Digest
    git_commit: str = ""
    git_dirty: bool = False
    contracts: tuple[Ref, ...]
    scores: EvaluationReport
    verdict: Verdict

    @property
    def subject(self) -> str:
        return f"candidate:{self.id}"


class Release(Record):
    """An approved, immutable combination of model, features, decision rule and policy; a change needs a new release.

    id: 12 hex of `digest`, the SHA-256 of the canonical JSON of the other fields without tenant and known_since.
    task: its registered name. decision_rule: how a score becomes a decision. policy: digest of the policies.
    views: digest of the views, each with its version; transform: digest of the dbt project that builds them.
    preprocessing: digest of the artifact's `model.json` (order of features, categories, calibration).
    """

    id: str
    digest: Digest
    model: str
    task: str
    candidate: str
    artifact: Digest
    views: Digest
    transform: Digest
    preprocessing: Digest
    decision_rule: DecisionRule
    edition: str
    policy: Digest

    @property
    def subject(self) -> str:
        return f"release:{self.id}"

    @property
    def signed_name(self) -> str:
        """What the release changes, as the notes of its users name it: the model."""
        return self.model


class FeatureAttribution(Frozen):
    """One reason of a prediction: a feature, its description and its contribution to the raw output."""

    feature: str
    description: str
    contribution: float


class AnswerSignature(Frozen):
    """Ed25519 signature (base64) of the API process over the canonical JSON of the prediction without this field.

    key_id: 16 hex of the SHA-256 of the public key, whose ledger entry holds its expiry.
    """

    key_id: str
    value: str


class ClassProbability(Frozen):
    """The probability of one class."""

    label: str
    probability: float


class Prediction(Frozen):
    """One prediction. reasons: strongest first; vector_digest: of the features used.

    score: binary: the calibrated probability of the second label; multiclass: that of the decision; regression: the
    value. decision: a label, or '' for a rule that decides nothing. threshold: if the rule has one. interval: of a
    regression. probabilities: of the most likely classes, the first first. A field that does not apply is left out.
    request_digest: SHA-256 of the canonical JSON of the requested tokens by key column. role: of the release.
    as_of: instant up to which data is included; age_seconds: time since then. mode: of the project.
    """

    id: str
    mode: ProjectMode = "governed"
    model: str
    request_digest: Digest
    release: str
    role: DeploymentRole
    edition: str
    score: float
    threshold: str | None = None
    interval: tuple[float, float] | None = None
    probabilities: tuple[ClassProbability, ...] | None = None
    decision: str
    reasons: tuple[FeatureAttribution, ...]
    freshness: FreshnessState
    as_of: Instant
    age_seconds: int
    vector_digest: Digest
    answered_at: Instant
    signature: AnswerSignature | None = None

    @model_serializer(mode="wrap")
    def _serialize_prediction(self, serialize: SerializerFunctionWrapHandler):
        """Leave out the fields that do not apply to the task.

        Without a return type, so that the JSON schema, and with it the API's OpenAPI document, has the fields.
        """
        fields: dict[str, object] = serialize(self)
        return {name: value for name, value in fields.items() if value is not None or name not in _TASK_FIELDS}

    @property
    def subject(self) -> str:
        return f"prediction:{self.id}"


_TASK_FIELDS = frozenset({"threshold", "interval", "probabilities"})
