"""A small house in which a model is trained, judged, approved and served: for tests of what comes after training."""

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

from tests.models import synthetic
from tests.models.synthetic import table, token
from tests.models.test_artefact import Signer
from tests.trust.test_approvals import Books, Somebody
from wellspring.data import editions, features
from wellspring.data.editions import Editions
from wellspring.errors import Unavailable
from wellspring.models import artefact, lightgbm, serving
from wellspring.models.artefact import Input, Platt, Recipe
from wellspring.models.desk import Answered, Desk, Law, Ports
from wellspring.models.predict import Scorer
from wellspring.models.registry import Live as Shown
from wellspring.models.release import House, Releases, compose
from wellspring.models.serving import Served, Shelf
from wellspring.records.clock import Clock
from wellspring.records.data import Edition, FeatureRow, Snapshot, View, Views
from wellspring.records.models import Candidate, Release
from wellspring.records.observe import Step
from wellspring.records.trust import Ref
from wellspring.records.verdict import Outcome, Verdict
from wellspring.stores.objects.disk import DiskObjects
from wellspring.stores.online import Live
from wellspring.trust.approvals import approve, propose
from wellspring.trust.identity.port import Principal
from wellspring.trust.policy import Policies
from wellspring.trust.promise import Promises
from wellspring_verify import notes

PORTAL = Principal("service:portal")
T = TypeVar("T")

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
ANYTHING = Policies({"a.cedar": "permit (principal, action, resource);"})
DOMAINS = {"claim_id": frozenset({"claim"}), "billing_npi": frozenset({"provider"})}
INPUTS = tuple(
    Input(view=view.name, name=each.name, type=each.type, categories=each.categories or kinds, what=each.what)
    for view in synthetic.views().views
    for each in view.features
    for kinds in [("professional", "institutional") if each.name == "claim_type" else ()]
)


@functools.cache
def trees(seed: int = 1) -> str:
    """Grow a few trees on made-up rows."""
    chance = np.random.default_rng(seed)
    rows = chance.normal(size=(600, len(INPUTS)))
    rows[:, 0], rows[:, 2] = chance.integers(0, 2, 600), chance.integers(0, 3, 600)
    truth = rows[:, 1] + rows[:, 2] + rows[:, 4] + chance.normal(size=600) > 1.2
    settings = {"learning_rate": 0.2, "num_leaves": 7}
    names = [each.name for each in INPUTS]
    return lightgbm.text(
        lightgbm.fit(rows, truth, names=names, categorical=[0, 2], settings=settings, rounds=15, seed=seed)
    )


def recipe(**changes: Any) -> Recipe:
    said: dict[str, Any] = {
        "model": "denials", "features": INPUTS, "calibration": Platt(a=(1.1).hex(), b=(-0.1).hex()),
        "threshold": "0.40", "labels": ("pays", "denies"), "seed": 1, "rounds": 15,
        "keys": {"claim": ("claim_id",), "provider_history": ("billing_npi",)},
    }  # fmt: skip
    return Recipe(**{**said, **changes})


def claim(number: int) -> dict[str, str]:
    """The tokens that a caller brings for one claim."""
    return {"claim_id": token("claim", number), "billing_npi": token("provider", number % 5)}


class Lake:
    """A lake of one built edition, in memory; its editions lie in files, where the API reads them."""

    def __init__(self, folder: Path, *, claims: int = 40) -> None:
        chance = np.random.default_rng(5)
        known = [NOW - timedelta(days=30) + timedelta(minutes=n) for n in range(claims)]
        self.tables = {
            "claim_features": table(
                {
                    "claim_id": [token("claim", n) for n in range(claims)],
                    "claim_type": chance.choice(["professional", "institutional"], claims).tolist(),
                    "charge_amount": chance.normal(size=claims),
                    "auth_state": chance.choice(["none", "valid", "expired", "unheard"], claims).tolist(),
                    "is_replacement": pa.array([None if n % 7 == 0 else bool(n % 2) for n in range(claims)]),
                },
                known,
            ),
            "provider_history": table(
                {
                    "billing_npi": [token("provider", n) for n in range(5)],
                    "denial_rate_30d": [0.1, float("nan"), 0.3, -0.0, 1.7],
                    "claims_30d": pa.array([1, 2, None, 4, 5], pa.int64()),
                },
                known[:5],
            ),
        }
        self.kept = Editions(folder / "editions")
        self.built = self.publish(NOW - timedelta(hours=2))

    def publish(self, at: datetime) -> Edition:
        tables = [Snapshot(table=name, snapshot_id=1, rows=rows.num_rows) for name, rows in self.tables.items()]
        made = editions.compose(
            level="built", parent=None, tables=tables, drops=[], tenant="acme", known_since=at
        )  # fmt: skip
        self.kept.keep(made)
        return made

    def edition(self, edition_id: str | None = None) -> Edition | None:
        return self.built if edition_id is None else self.kept.get(edition_id)

    def files(self, edition: Edition, name: str) -> list[str]:
        return []

    def table(self, edition: Edition, name: str) -> pa.Table:
        return self.tables[name]

    def row(self, view: View, key: tuple[str, ...]) -> FeatureRow | None:
        """Find the row of one thing, as the online store would hold it."""
        for row in self.tables[view.table].to_pylist():
            if tuple(row[name] for name in view.keys) == key:
                values = {each.name: row[each.name] for each in view.features}
                return FeatureRow(view.name, key, values, row["known_since"], row["sequence"], self.built.id)
        return None


class Online:
    """The online store in memory. live: what its marker says; broken: raised instead of an answer."""

    def __init__(self, lake: Lake, views: Views) -> None:
        self.lake = lake
        self.defined = {each.name: each for each in views.views}
        self.live: Live | None = Live(lake.built.id, NOW - timedelta(hours=3), views.digest)
        self.broken: Unavailable | None = None
        self.rows: dict[tuple[str, tuple[str, ...]], FeatureRow | None] = {}
        self.trips = 0

    def reader(self, _: Views) -> Any:
        return _Reader(self)


class _Reader:
    def __init__(self, store: Online) -> None:
        self._store = store

    async def look(self, wanted: Sequence[tuple[str, tuple[str, ...]]]) -> tuple[Live | None, list[FeatureRow | None]]:
        store = self._store
        store.trips += 1
        if store.broken is not None:
            raise store.broken
        rows = [store.rows.get((view, key), store.lake.row(store.defined[view], key)) for view, key in wanted]
        return store.live, rows

    async def live(self) -> Live | None:
        return (await self.look([]))[0]

    async def close(self) -> None:
        return


class Mlflow:
    """What MLflow shows. down: it does not answer."""

    def __init__(self) -> None:
        self.shown: dict[str, Shown | None] = {}
        self.down = False
        self.asked: list[str] = []

    def told(self, run: str) -> object:
        self.asked.append(run)
        if self.down:
            raise Unavailable("MLflow did not answer", fix="start it")
        return run

    def reconcile(self, model: str, live: Shown | None) -> tuple[str, ...]:
        if self.down:
            raise Unavailable("MLflow did not answer", fix="start it")
        changed = self.shown.get(model) != live
        self.shown[model] = live
        return ("production",) if changed else ()


class Released:
    """All of it. ana proposes, bo approves, cy is another who might."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ana, self.bo = Somebody("ana", "owner"), Somebody("bo", "approver")
        self.cy = Somebody("cy", "approver")
        self.books = Books(self.ana, self.bo, self.cy)
        self.step = self.books.step
        self.clock: Any = self.step.clock
        self.clock.at = NOW
        self.signer = Signer()
        self.releases = Releases(folder / "models")
        self.objects = DiskObjects(folder / "models" / "objects")
        self.views = synthetic.views()
        self.domains: serving.Domains = DOMAINS
        features.keep(self.views, folder / "lake" / "views")
        self.lake = Lake(folder / "lake")
        self.online = Online(self.lake, self.views)
        self.mlflow = Mlflow()

    @property
    def house(self) -> House:
        return House(self.releases, self.books, self.lake, self.mlflow, self.served)

    def served(self, release: Release) -> Served:
        return serving.load(
            release, scorer=self.load, views=lambda digest: self.kept_views(digest), domains=lambda: self.domains
        )

    def load(self, release: Release, key: notes.Key | None = None) -> Scorer:
        return Scorer.load(release, objects=self.objects, paths=self.releases.paths, key=key or self.signer.key)

    def train(self, seed: int = 1, *, outcome: Outcome = "pass", made: Recipe | None = None) -> Release:
        """Train, judge beside what is live, and keep; nobody has asked for it yet."""
        made = made or recipe()
        digest = artefact.write(
            {artefact.RECIPE: made.encode(), artefact.BOOSTER: trees(seed).encode()},
            objects=self.objects, paths=self.releases.paths, key=self.signer.key, signer=self.signer,
        )  # fmt: skip
        run = f"{seed:032x}"
        known = synthetic.candidate(
            run=run, artefact=digest, views=self.views.digest, edition=self.lake.built.id,
            verdict=Verdict(subject=f"run:{run}", outcome=outcome),
        )  # fmt: skip
        artefact.keep_candidate(known, paths=self.releases.paths)
        refs = [Ref(name=f"run:{run}"), Ref(name="artefact:denials", digest=digest)]
        live = self.releases.live("denials")
        said: dict[str, JsonValue] = {"outcome": outcome, "live": live.candidate if live is not None else ""}
        with self.step("gate", known.subject, inputs=refs, outputs=[self.pinned(known)], facts=said):
            pass
        read = artefact.read(digest, objects=self.objects, paths=self.releases.paths, key=self.signer.key)
        return self.releases.keep(compose(known, read, ANYTHING.digest))

    @staticmethod
    def pinned(known: Candidate) -> Ref:
        return Ref(name=known.subject, digest=artefact.candidate_digest(known))

    def propose(self, release: Release) -> None:
        known = artefact.read_candidate(release.candidate, paths=self.releases.paths)
        propose(release, self.pinned(known), self.ana, index=self.books, policies=ANYTHING, step=self.step)

    def approve(self, release: Release) -> None:
        self.propose(release)
        approve(release, self.bo, self.books, ANYTHING, step=self.step)

    def released(self, seed: int = 1) -> Release:
        """Train, approve and promote."""
        from wellspring.models.release import promote

        made = self.train(seed)
        self.approve(made)
        promote(made, "user:bo", self.house, step=self.step)
        return made

    def shelf(self, *, step: Step | None = None) -> Shelf:
        return Shelf(
            self.releases,
            load=lambda release: self.served(release),
            index=self.books,
            step=step or self.step,
            clock=self.clock,
        )

    def kept_views(self, digest: str) -> Views:
        return features.load_kept(self.folder / "lake" / "views", digest)

    def desk(self, *, step: Step | None = None, clock: Clock | None = None, policies: str = "") -> tuple[Desk, Ports]:
        folder = self.folder / "policies"
        folder.mkdir(exist_ok=True)
        (folder / "a.cedar").write_text(policies or "permit (principal, action, resource);")
        step = step or self.step
        clock = self.clock if clock is None else clock
        assert clock is not None
        ports = Ports(
            project="tiny",
            shelf=self.shelf(step=step),
            law=Law(folder, clock),
            promises=Promises(step=step, clock=clock),
            editions=Editions(self.folder / "lake" / "editions"),
            views=self.kept_views,
            reader=self.online.reader,
            domains=lambda: self.domains,
            step=step,
            clock=clock,
        )
        return Desk(ports), ports


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run something of a desk's to its end."""
    return asyncio.run(coroutine)


def ask(house: Released, given: dict[str, str] | None = None, **desk: Any) -> Answered:
    """Ask a fresh desk of a house one question, as the portal."""

    async def asked() -> Answered:
        made, _ = house.desk(**desk)
        try:
            return await made.predict("denials", given or claim(3), reasons=True, by=PORTAL)
        finally:
            await made.close()

    return run(asked())
