"""A small synthetic data set for model tests: history matters, labels come late, and the true probabilities are known.

It is not the process of the reference project.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from wellspring.data.features import views as views_module
from wellspring.lake import editions
from wellspring.models.datasets.training_set import TrainingSource
from wellspring.models.estimators.lightgbm import LightGBM
from wellspring.models.estimators.search import HyperparameterSearch
from wellspring.models.releases.candidates import assign_candidate_id
from wellspring.models.spec.baselines import Baseline
from wellspring.models.spec.definition import Label, ModelDefinition, Subgroup, TimeSplit
from wellspring.models.tasks.binary import Binary, BinaryCriteria
from wellspring.models.tasks.threshold import Threshold
from wellspring.query.duckdb.engine import DuckDbEngine
from wellspring.records.features import FeatureSpec, FeatureViews, FeatureViewSpec
from wellspring.records.lake import Edition, TableSnapshot
from wellspring.records.models import Candidate, Estimate, EvaluationReport
from wellspring.records.trust import Ref
from wellspring.records.verdict import Verdict

START = datetime(2026, 1, 1, tzinfo=UTC)
DAYS = 300
COLUMNS = ("claim:claim_type", "claim:charge_amount", "claim:auth_state", "claim:is_replacement")


def token(domain: str, number: int) -> str:
    """Make a text with the shape of an enclave token."""
    digest = hashlib.sha256(f"{domain}{number}".encode()).digest()[:16]
    return f"{domain}_k1_{base64.b32encode(digest).decode().lower().rstrip('=')}"


class World:
    """A lake with one built edition. true: the probability of each claim, by row."""

    def __init__(self, claims: int = 4000, *, seed: int = 1, providers: int = 60) -> None:
        chance = np.random.default_rng(seed)
        day = np.sort(chance.integers(0, DAYS, claims))
        provider = chance.integers(0, providers, claims)
        habit = chance.normal(0, 1.0, providers)
        kind = chance.choice(["professional", "institutional"], claims, p=[0.7, 0.3])
        amount = np.exp(chance.normal(5, 1, claims))
        proof = chance.choice(["none", "valid", "expired"], claims, p=[0.5, 0.4, 0.1])
        z = (
            -1.6
            + habit[provider]
            + 1.5 * (proof == "expired")
            + 0.5 * (kind == "institutional")
            + 0.2 * (np.log(amount) - 5)
        )
        self.true = 1 / (1 + np.exp(-z))
        denied = chance.random(claims) < self.true
        asked_at = [
            START + timedelta(days=int(d), minutes=int(m))
            for d, m in zip(day, chance.integers(0, 1440, claims), strict=True)
        ]
        delay = chance.integers(3, 25, claims)
        decided_at = [instant + timedelta(days=int(late)) for instant, late in zip(asked_at, delay, strict=True)]
        keys = [token("claim", n) for n in range(claims)]
        billing = [token("provider", int(n)) for n in provider]
        self.tables: dict[str, pa.Table] = {
            "claim_features": table(
                {
                    "claim_id": keys,
                    "billing_npi": billing,
                    "claim_type": kind.tolist(),
                    "charge_amount": amount,
                    "auth_state": proof.tolist(),
                    "is_replacement": (chance.random(claims) < 0.1),
                },
                asked_at,
            ),
            "claim_label": table({"claim_id": keys, "is_denied": denied}, decided_at),
            "provider_history": self._history(billing, decided_at, denied),
        }
        self.edition = editions.build_edition(
            level="built",
            parent=None,
            tables=[
                TableSnapshot(table=name, snapshot_id=number + 1, rows=rows.num_rows)
                for number, (name, rows) in enumerate(self.tables.items())
            ],
            drops=[],
            tenant="acme",
            known_since=START + timedelta(days=DAYS + 40),
        )

    @property
    def source(self) -> TrainingSource:
        return TrainingSource(self, DuckDbEngine())

    def read_table(self, edition: Edition, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Read a table as the lake does."""
        assert edition == self.edition
        return self.tables[name].select(list(columns)) if columns is not None else self.tables[name]

    def find(self, edition_id: str) -> Edition:
        """Return the only edition."""
        assert edition_id == self.edition.id
        return self.edition

    @staticmethod
    def _history(billing: list[str], decided_at: list[datetime], denied: Any) -> pa.Table:
        """Build the running share of denials of each provider, known from the instant of each outcome."""
        order = sorted(range(len(billing)), key=lambda n: (decided_at[n], n))
        observed: dict[str, list[bool]] = {}
        rows: dict[str, list[Any]] = {"billing_npi": [], "denial_rate_30d": [], "claims_30d": []}
        instant: list[datetime] = []
        for n in order:
            past = observed.setdefault(billing[n], [])
            past.append(bool(denied[n]))
            rows["billing_npi"].append(billing[n])
            rows["denial_rate_30d"].append(float(np.mean(past[-30:])))
            rows["claims_30d"].append(len(past[-30:]))
            instant.append(decided_at[n])
        return table(rows, instant)


def table(columns: Mapping[str, Any], known_since: Sequence[datetime]) -> pa.Table:
    """Make a built table: the columns, known_since and sequence."""
    rows = pa.table(dict(columns))
    rows = rows.append_column("known_since", pa.array(known_since, pa.timestamp("us", "UTC")))
    return rows.append_column("sequence", pa.array(range(len(known_since)), pa.int64()))


def views() -> FeatureViews:
    """Build the feature views of this data set."""
    return views_module.build_views(
        "tiny",
        [
            FeatureViewSpec(
                name="claim",
                entity="claim",
                keys=("claim_id",),
                table="claim_features",
                owner="claims",
                features=(
                    FeatureSpec(name="claim_type", type="string", description="the type of the claim"),
                    FeatureSpec(name="charge_amount", type="float64", description="the amount charged"),
                    FeatureSpec(
                        name="auth_state",
                        type="string",
                        description="the state of the authorisation",
                        categories=("none", "valid", "expired"),
                    ),
                    FeatureSpec(name="is_replacement", type="bool", description="whether it replaces an earlier claim"),
                ),
            ),
            FeatureViewSpec(
                name="provider_history",
                entity="provider",
                keys=("billing_npi",),
                table="provider_history",
                owner="network",
                features=(
                    FeatureSpec(name="denial_rate_30d", type="float64", description="the provider's share of denials"),
                    FeatureSpec(name="claims_30d", type="int64", description="the provider's answered claims"),
                ),
            ),
        ],
    )


def binary_task(**changes: Any) -> Binary:
    """Build the task of this data set's model."""
    criteria = BinaryCriteria(
        auc=0.6,
        calibration_error=0.1,
        test_rows=500,
        test_positives=50,
        subgroup_auc=0.5,
        subgroup_calibration_gap=0.2,
    )
    fields: dict[str, Any] = {
        "labels": ("pays", "denies"), "threshold": Threshold(recall="0.80"), "acceptance": criteria,
    }  # fmt: skip
    return Binary(**{**fields, **changes})


def model(**changes: Any) -> ModelDefinition:
    """Make a model definition for this data set."""
    fields: dict[str, Any] = {
        "name": "denials",
        "question": "Will this claim be denied as submitted?",
        "label": Label(table="claim_label", column="is_denied"),
        "keys": ("claim_id",),
        "spine": "claim_features",
        "features": ("claim:*", "provider_history:*"),
        "split": TimeSplit(test_days=90, gap_days=25, label_maturity_days=25),
        "estimator": LightGBM(search=HyperparameterSearch(trials=2, seed=7, rows=1500, rounds=60)),
        "task": binary_task(),
        "subgroups": (Subgroup(feature="claim:claim_type", min_rows=100),),
        "baselines": (
            Baseline.columns(*COLUMNS),
            Baseline.with_entity("billing_npi", *COLUMNS),
            Baseline.heuristic("provider_history:denial_rate_30d"),
        ),
    }
    return ModelDefinition.model_validate({**fields, **changes})


class LoggedRun(NamedTuple):
    """The content of a run."""

    params: dict[str, str]
    tags: dict[str, str]
    metrics: dict[str, float]
    files: dict[str, bytes]


class MemoryRuns:
    """An experiment tracker in memory."""

    def __init__(self) -> None:
        self.runs: dict[str, LoggedRun] = {}
        self.ended: dict[str, str] = {}
        self.curves: dict[str, dict[str, list[float]]] = {}
        self.versions: list[str] = []

    def start_run(self, model: str) -> str:
        run = f"{len(self.runs):032x}"
        self.runs[run] = LoggedRun({}, {}, {}, {})
        return run

    def log_run(
        self,
        run: str,
        *,
        edition: Edition,
        params: Mapping[str, str],
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        files: Mapping[str, bytes],
    ) -> None:
        self.runs[run] = LoggedRun(dict(params), dict(tags), dict(metrics), dict(files))

    def log_curves(self, run: str, curves: Mapping[str, Sequence[float]], *, edition: Edition) -> None:
        self.curves[run] = {name: list(values) for name, values in curves.items()}

    def end_run(self, run: str, *, failed: bool = False) -> None:
        self.ended[run] = "FAILED" if failed else "FINISHED"

    def register_version(self, model: str, run: str, *, tags: Mapping[str, str]) -> str:
        self.versions.append(run)
        return str(len(self.versions))

    def get_run(self, run: str) -> Any:
        from wellspring.models.tracking.mlflow import RunRecord

        return RunRecord(run, self.runs[run].params, self.runs[run].tags)


def scores(**changes: Any) -> EvaluationReport:
    """Make a report that meets the default criteria."""

    def measured(value: float, by: float = 0.01) -> Estimate:
        return Estimate(value=value, low=value - by, high=value + by, rows=2000)

    fields: dict[str, Any] = {
        "metrics": {"auc": measured(0.7), "brier": measured(0.15), "calibration_error": measured(0.02, 0.005)},
        "baselines": {"columns": measured(0.6), "columns_plus_entity": measured(0.65), "heuristic": measured(0.62)},
        "train_rows": 5000,
        "test_rows": 2000,
        "reason_microseconds": 900.0,
        "task": "binary",
        "main_metric": "auc",
        "class_rows": {"pays": 1700, "denies": 300},
        "size": {"trees": 200, "leaves": 31},
    }
    return EvaluationReport(**{**fields, **changes})


def candidate(**changes: Any) -> Candidate:
    """Make a candidate that passed the gate."""
    fields: dict[str, Any] = {
        "id": "", "tenant": "acme", "known_since": START, "model": "denials", "task": "binary",
        "estimator": "lightgbm", "run": "f" * 32, "edition": "e" * 12,
        "artifact": "a" * 64, "views": "b" * 64, "transform": "7" * 64, "code": "c" * 64, "environment": "d" * 64,
        "contracts": (Ref(name="contract:medical_claim@1.0.0", digest="1" * 64),), "scores": scores(),
        "verdict": Verdict(subject=f"run:{'f' * 32}", outcome="pass"),
    }  # fmt: skip
    return assign_candidate_id(Candidate(**{**fields, **changes}))
