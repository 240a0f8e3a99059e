"""A project with a trained, approved and served model, in memory and temporary files."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Coroutine, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from pydantic import JsonValue

from tests.builders import synthetic_world
from tests.builders.approvals import Books, Somebody
from tests.builders.leases import ScriptedFence
from tests.builders.model_files import Signer
from tests.builders.synthetic_world import table, token
from wellspring.data.features import views as views_module
from wellspring.errors import Unavailable
from wellspring.lake import editions
from wellspring.lake.editions import EditionStore
from wellspring.models.estimators.lightgbm import LightGBM
from wellspring.models.estimators.port import Estimator, FeatureColumns, FitSettings, LabeledRows, Objective
from wellspring.models.releases import candidates
from wellspring.models.releases.promotion import build_release
from wellspring.models.releases.release_context import ReleaseContext
from wellspring.models.releases.store import ReleaseStore
from wellspring.models.spec import artifact, inference_spec
from wellspring.models.spec.inference_spec import FeatureInput, InferenceSpec
from wellspring.models.tracking.mlflow import LiveVersion
from wellspring.records.clock import Clock
from wellspring.records.decisions import ThresholdRule
from wellspring.records.features import FeatureRow, FeatureViews, FeatureViewSpec
from wellspring.records.lake import Edition, TableSnapshot
from wellspring.records.models import Candidate, Release
from wellspring.records.observe import Recorder
from wellspring.records.trust import Ref
from wellspring.records.verdict import Verdict, VerdictOutcome
from wellspring.serving import loaded_release
from wellspring.serving.loaded_release import LoadedRelease
from wellspring.serving.policy_reloader import PolicyReloader
from wellspring.serving.prediction import PredictionResult
from wellspring.serving.release_cache import ReleaseCache
from wellspring.serving.scorer import Scorer
from wellspring.serving.service import PredictionService, ServiceDependencies
from wellspring.stores.locks.port import WriteFence
from wellspring.stores.objects.disk import DiskContentStore
from wellspring.stores.online.port import LiveMarker
from wellspring.trust.answer_signing import AnswerSigner
from wellspring.trust.approvals import record_approval, record_proposal
from wellspring.trust.changes.released_policies import ReleasedPolicies
from wellspring.trust.changes.store import ChangeStore
from wellspring.trust.identity.port import Principal
from wellspring.trust.policy import PolicySet
from wellspring_verify import notes

PORTAL = Principal("service:portal")
T = TypeVar("T")

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
ANYTHING = PolicySet({"a.cedar": "permit (principal, action, resource);"})
DOMAINS = {"claim_id": frozenset({"claim"}), "billing_npi": frozenset({"provider"})}
INPUTS = tuple(
    FeatureInput(
        view=view.name,
        name=feature.name,
        type=feature.type,
        categories=feature.categories or kinds,
        description=feature.description,
    )
    for view in synthetic_world.views().views
    for feature in view.features
    for kinds in [("professional", "institutional") if feature.name == "claim_type" else ()]
)


@functools.cache
def trees(seed: int = 1) -> bytes:
    """Train a few trees on random rows."""
    return fit_random_rows(LightGBM(), FitSettings({"learning_rate": 0.2, "num_leaves": 7}, 15, seed))


def fit_random_rows(estimator: Estimator, settings: FitSettings) -> bytes:
    """Train a model of any estimator on random rows, and return its file."""
    chance = np.random.default_rng(settings.seed)
    rows = chance.normal(size=(600, len(INPUTS)))
    rows[:, 0], rows[:, 2] = chance.integers(0, 2, 600), chance.integers(0, 3, 600)
    labels = rows[:, 1] + rows[:, 2] + rows[:, 4] + chance.normal(size=600) > 1.2
    columns = FeatureColumns(tuple(feature.name for feature in INPUTS), (0, 2))
    return estimator.fit(LabeledRows(rows, labels), columns, Objective("binary", 2), settings).dump()


def recipe(**changes: Any) -> InferenceSpec:
    fields: dict[str, Any] = {
        "model": "denials", "features": INPUTS, "task": "binary", "estimator": "lightgbm",
        "calibration": {"kind": "platt", "a": (1.1).hex(), "b": (-0.1).hex()},
        "decision_rule": ThresholdRule(labels=("pays", "denies"), threshold="0.40"), "seed": 1, "rounds": 15,
        "keys": {"claim": ("claim_id",), "provider_history": ("billing_npi",)},
    }  # fmt: skip
    return InferenceSpec(**{**fields, **changes})


def claim(number: int) -> dict[str, str]:
    """Return the keys of one claim, as tokens."""
    return {"claim_id": token("claim", number), "billing_npi": token("provider", number % 5)}


class Lake:
    """A lake with one built edition in memory; edition records are files, which the API reads."""

    def __init__(self, folder: Path, *, claims: int = 40) -> None:
        chance = np.random.default_rng(5)
        known_since = [NOW - timedelta(days=30) + timedelta(minutes=n) for n in range(claims)]
        self.tables = {
            "claim_features": table(
                {
                    "claim_id": [token("claim", n) for n in range(claims)],
                    "claim_type": chance.choice(["professional", "institutional"], claims).tolist(),
                    "charge_amount": chance.normal(size=claims),
                    "auth_state": chance.choice(["none", "valid", "expired", "unheard"], claims).tolist(),
                    "is_replacement": pa.array([None if n % 7 == 0 else bool(n % 2) for n in range(claims)]),
                },
                known_since,
            ),
            "provider_history": table(
                {
                    "billing_npi": [token("provider", n) for n in range(5)],
                    "denial_rate_30d": [0.1, float("nan"), 0.3, -0.0, 1.7],
                    "claims_30d": pa.array([1, 2, None, 4, 5], pa.int64()),
                },
                known_since[:5],
            ),
        }
        self.stored = EditionStore(folder / "editions")
        self.built = self.publish(NOW - timedelta(hours=2))

    def publish(self, instant: datetime) -> Edition:
        tables = [TableSnapshot(table=name, snapshot_id=1, rows=rows.num_rows) for name, rows in self.tables.items()]
        built = editions.build_edition(
            level="built", parent=None, tables=tables, drops=[], tenant="acme", known_since=instant
        )  # fmt: skip
        self.stored.save_edition(built)
        return built

    def get_edition(self, edition_id: str | None = None) -> Edition | None:
        return self.built if edition_id is None else self.stored.get_edition(edition_id)

    def open_table(self, edition: Edition, name: str) -> pa.Table:
        return self.tables[name]

    def row(self, view: FeatureViewSpec, key: tuple[str, ...]) -> FeatureRow | None:
        """Return the row of one key, as the online store has it."""
        for row in self.tables[view.table].to_pylist():
            if tuple(row[name] for name in view.keys) == key:
                values = {feature.name: row[feature.name] for feature in view.features}
                return FeatureRow(view.name, key, values, row["known_since"], row["sequence"], self.built.id)
        return None


class Online:
    """The online store in memory. live: its newest marker; markers: of other sets of views; broken: raised on reads."""

    def __init__(self, lake: Lake, views: FeatureViews) -> None:
        self.lake = lake
        self.defined = {view.name: view for view in views.views}
        self.live: LiveMarker | None = LiveMarker(lake.built.id, NOW - timedelta(hours=3), views.digest)
        self.markers: dict[str, LiveMarker] = {}
        self.broken: Unavailable | None = None
        self.rows: dict[tuple[str, tuple[str, ...]], FeatureRow | None] = {}
        self.trips = 0

    def reader(self, views: FeatureViews) -> Any:
        return _Reader(self, views.digest)


class _Reader:
    def __init__(self, store: Online, views: str) -> None:
        self._store, self._views = store, views

    async def get_with_marker(
        self, row_keys: Sequence[tuple[str, tuple[str, ...]]]
    ) -> tuple[LiveMarker | None, list[FeatureRow | None]]:
        store = self._store
        store.trips += 1
        if store.broken is not None:
            raise store.broken
        rows = [store.rows.get((view, key), store.lake.row(store.defined[view], key)) for view, key in row_keys]
        is_newest = store.live is not None and store.live.views == self._views
        return store.live if is_newest else store.markers.get(self._views), rows

    async def get_live(self) -> LiveMarker | None:
        await self.get_with_marker([])
        return self._store.live

    async def close(self) -> None:
        return


class Mlflow:
    """A model registry in memory. down: it is unavailable."""

    def __init__(self) -> None:
        self.shown: dict[str, LiveVersion | None] = {}
        self.staged: dict[str, str | None] = {}
        self.down = False
        self.requests: list[str] = []

    def get_run(self, run: str) -> object:
        self.requests.append(run)
        if self.down:
            raise Unavailable("MLflow did not answer", fix="start it")
        return run

    def reconcile(self, model: str, live: LiveVersion | None, challenger_run: str | None) -> tuple[str, ...]:
        if self.down:
            raise Unavailable("MLflow did not answer", fix="start it")
        changed = self.shown.get(model) != live or self.staged.get(model) != challenger_run
        self.shown[model], self.staged[model] = live, challenger_run
        return ("production",) if changed else ()


class Released:
    """A project with releases. ana proposes, bo approves, cy may approve too."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ana, self.bo = Somebody("ana", "owner"), Somebody("bo", "approver")
        self.cy = Somebody("cy", "approver")
        self.books = Books(self.ana, self.bo, self.cy)
        self.step = self.books.step
        self.clock: Any = self.step.clock
        self.clock.at = NOW
        self.signer = Signer()
        self.releases = ReleaseStore(folder / "models")
        self.objects = DiskContentStore(folder / "models" / "objects")
        self.views = synthetic_world.views()
        self.domains: loaded_release.TokenDomains = DOMAINS
        views_module.save_views(self.views, folder / "lake" / "views")
        self.lake = Lake(folder / "lake")
        self.online = Online(self.lake, self.views)
        self.mlflow = Mlflow()
        self.fence: WriteFence = ScriptedFence()

    @property
    def project(self) -> ReleaseContext:
        return ReleaseContext(self.releases, self.books, self.lake, self.mlflow, self.served, self.fence)

    def served(self, release: Release) -> LoadedRelease:
        return loaded_release.load_release(
            release, scorer=self.load, views=lambda digest: self.kept_views(digest), token_domains=lambda: self.domains
        )

    def load(self, release: Release, key: notes.VerifierKey | None = None) -> Scorer:
        return Scorer.load(
            release, objects=self.objects, paths=self.releases.paths, keys=(key or self.signer.verifier_key,)
        )

    def train(
        self,
        seed: int = 1,
        *,
        outcome: VerdictOutcome = "pass",
        built: InferenceSpec | None = None,
        estimator: Estimator | None = None,
    ) -> Release:
        """Store a candidate and its release, which is not proposed yet. estimator: LightGBM unless another is named."""
        built = built or recipe(**({} if estimator is None else {"estimator": estimator.name, "rounds": 0}))
        file_name = LightGBM.file_name if estimator is None else estimator.file_name
        content = trees(seed) if estimator is None else fit_random_rows(estimator, FitSettings({}, 0, seed))
        digest = artifact.write_artifact(
            {inference_spec.SPEC_FILE: built.encode(), file_name: content},
            objects=self.objects, paths=self.releases.paths, keys=(self.signer.verifier_key,), signer=self.signer,
        )  # fmt: skip
        run = f"{seed:032x}"
        candidate = synthetic_world.candidate(
            run=run, artifact=digest, estimator=built.estimator, views=self.views.digest, edition=self.lake.built.id,
            verdict=Verdict(subject=f"run:{run}", outcome=outcome),
        )  # fmt: skip
        candidates.save_candidate(candidate, paths=self.releases.paths)
        refs = [Ref(name=f"run:{run}"), Ref(name="artifact:denials", digest=digest)]
        live = self.releases.get_live("denials")
        facts: dict[str, JsonValue] = {"outcome": outcome, "live": live.candidate if live is not None else ""}
        with self.step("gate", candidate.subject, inputs=refs, outputs=[self.pinned(candidate)], facts=facts):
            pass
        read = artifact.read_artifact(
            digest, objects=self.objects, paths=self.releases.paths, keys=(self.signer.verifier_key,)
        )
        return self.releases.save(build_release(candidate, read, ANYTHING.digest))

    @staticmethod
    def pinned(candidate: Candidate) -> Ref:
        return Ref(name=candidate.subject, digest=candidates.candidate_digest(candidate))

    def propose(self, release: Release) -> None:
        candidate = candidates.read_candidate(release.candidate, paths=self.releases.paths)
        record_proposal(release, self.pinned(candidate), self.ana, ledger=self.books, policies=ANYTHING, step=self.step)

    def approve(self, release: Release) -> None:
        self.propose(release)
        record_approval(release, self.bo, self.books, ANYTHING, step=self.step)

    def released(self, seed: int = 1, *, estimator: Estimator | None = None) -> Release:
        """Train, approve and promote."""
        from wellspring.models.releases.promotion import promote_release

        release = self.train(seed, estimator=estimator)
        self.approve(release)
        promote_release(release, "user:bo", self.project, step=self.step)
        return release

    def model_store(self, *, step: Recorder | None = None) -> ReleaseCache:
        return ReleaseCache(
            self.releases,
            load_release=lambda release: self.served(release),
            log=self.books,
            step=step or self.step,
            clock=self.clock,
        )

    def kept_views(self, digest: str) -> FeatureViews:
        return views_module.load_views_by_digest(self.folder / "lake" / "views", digest)

    def service(
        self, *, step: Recorder | None = None, clock: Clock | None = None, policies: str = ""
    ) -> tuple[PredictionService, ServiceDependencies]:
        folder = self.folder / "policies"
        folder.mkdir(exist_ok=True)
        (folder / "a.cedar").write_text(policies or "permit (principal, action, resource);")
        step = step or self.step
        clock = self.clock if clock is None else clock
        assert clock is not None
        ports = ServiceDependencies(
            project_name="tiny",
            release_cache=self.model_store(step=step),
            policy_reloader=PolicyReloader(
                ReleasedPolicies(ChangeStore(self.folder / "changes"), folder, self.books), clock
            ),
            answer_signer=AnswerSigner(step=step, clock=clock),
            editions=EditionStore(self.folder / "lake" / "editions"),
            load_views=self.kept_views,
            open_reader=self.online.reader,
            load_token_domains=lambda: self.domains,
            step=step,
            clock=clock,
        )
        return PredictionService(ports), ports


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine of the service to its end."""
    return asyncio.run(coroutine)


def ask(project: Released, arguments: dict[str, str] | None = None, **service: Any) -> PredictionResult:
    """Request one prediction from a new service, as the portal."""

    async def request() -> PredictionResult:
        service_, _ = project.service(**service)
        try:
            return await service_.predict("denials", arguments or claim(3), include_reasons=True, principal=PORTAL)
        finally:
            await service_.close()

    return run(request())
