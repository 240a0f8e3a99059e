"""The denials process: months of claims, each decided by what the payer knows when it is recorded, in six tables.

Version 2 of the population, frozen before the first model. docs/decisions/0014-the-denials-process.md describes it and
how to read the ceiling. Claims are decided in steps of five days, the shortest time in which any
outcome is known: so every claim sees all that was known before it, and no claim sees more.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from examples.health_plan import adjudication, care, draws, offices, population, returning, settlement
    from examples.health_plan.adjudication import Facts, Interact, Weights
    from examples.health_plan.draws import Draw, Ints
    from examples.health_plan.returning import Coming, Past
    from examples.health_plan.settlement import Outcome
else:
    adjudication, care, draws, offices, population, returning, settlement = (
        importlib.import_module(f"{__package__}.{name}" if __package__ else name)
        for name in ("adjudication", "care", "draws", "offices", "population", "returning", "settlement")
    )
    Weights, Facts, Past, Outcome = (
        *(adjudication.Weights, adjudication.Facts),
        *(returning.Past, settlement.Outcome),
    )

OVERTURNED, REVERSED = 40, 4
"""Of a thousand denials, how many an appeal undoes; of a thousand payments, how many an audit takes back."""
STEP = 5
"""Days: no outcome is known sooner after a claim is recorded."""
TRUTH = pa.schema(
    {"claim_id": pa.string(), "probability": pa.float64(), "denied": pa.bool_(), "received_date": pa.date32()}
)
_MORE = 0.105
"""What comes again in each month but the first, beside what is new."""
_UNFIT = adjudication.table(adjudication.UNFIT, care.DIAGNOSES)
_EXCLUDED = adjudication.table(adjudication.EXCLUDED, care.PLANS)


class History(NamedTuple):
    """Six tables as the payer's system came to know them, in the order of their contracts, and the truth.

    truth never goes into a drop. It has each claim's true probability of ending up denied, whether it does (once all is
    known, an appeal or an audit included), and the day it was received.
    """

    eligibility: pa.Table
    medical_claim: pa.Table
    remittance: pa.Table
    claim_adjustment: pa.Table
    prior_authorization: pa.Table
    accumulator: pa.Table
    truth: pa.Table

    @property
    def tables(self) -> dict[str, pa.Table]:
        """What may go into drops, by contract."""
        return {name: table for name, table in self._asdict().items() if name != "truth"}


def history(
    members: int,
    claims: int,
    seed: int,
    *,
    months: int,
    until: str = "2026-10",
    planted: int = 0,
    weights: Weights = adjudication.WEIGHTS,
    interact: Interact = adjudication.interact,
) -> History:
    """Make `months` months of claims received up to the end of `until`, about `claims` lines in all.

    What became known after `until` is in none of the six tables: the last claims have no remittance yet. The members
    are `population.members(members, seed, planted=planted)`.
    """
    people = population.members(members, seed, planted=planted)
    since = np.datetime64(until, "M") - months + 1
    plan = _Plan(people, seed, str(since), until, weights, interact)
    claims_per_month = int(claims / (months + _MORE * (months - 1)))
    for month in range(months):
        plan.month(str(since + month), claims_per_month)
    tables = {name: pa.concat_tables(parts).combine_chunks() for name, parts in plan.tables.items()}
    spans = population.spans(people, seed, since=str(since), until=until)
    horizon = draws.instants(np.array([care.month_days(until)[1] * draws.DAY]))[0]
    for name, table in tables.items():
        if name != "truth":
            tables[name] = table.filter(population.pc.less(table["recorded_at"], horizon)).combine_chunks()
    return History(eligibility=spans, **tables)


class _Plan:
    """The payer's state between months."""

    def __init__(
        self, people: pa.Table, seed: int, since: str, until: str, weights: Weights, interact: Interact
    ) -> None:
        self._people, self._seed, self._weights, self._interact = people, seed, weights, interact
        self._own = population.own_plans(people)
        self._payer = population.payers(people)
        self._cover = population.coverage(people, seed, since=since, until=until)
        self._accounts = settlement.Accounts(self._own, population.households(people))
        self._offices = offices.Offices(seed)
        self._past: Past | None = None
        self._waiting: list[Outcome] = []
        self._authorized = 0
        draw = draws.Draw(seed, "other payers")
        self._second_payer = np.where(
            draw.share("has", people.num_rows) < 0.03,
            draws.days(since) - 200 + draw.whole("from", people.num_rows, 0, 500),
            draws.NEVER,
        )
        self._denials = _Denials()
        names = ("medical_claim", "remittance", "claim_adjustment", "prior_authorization", "accumulator", "truth")
        self.tables: dict[str, list[pa.Table]] = {name: [] for name in names}

    def month(self, month: str, lines: int) -> None:
        """Let a month go by: claims come in, are decided, and what is due is paid and written."""
        draw = draws.Draw(self._seed, f"history {month}")
        first_day, after = care.month_days(month)
        if month.endswith("-01"):
            self._accounts.new_year()
        self._offices.open(draw, month)
        new = care.visits(
            draw, lines, self._seed, people=self._people.num_rows, month=month, sloppy=self._offices.sloppy
        )
        coming = returning.come_again(draw, population.grown(new, self._people), self._past, month)
        visits = coming.visits
        plans = self._cover.plan(self._own, visits.person, visits.start)
        coming = coming._replace(visits=visits._replace(plan=plans))
        coming, approved = returning.authorize(draw, coming, self._authorized, self._seed)
        self._authorized += len(approved.number)
        facts = self._facts(coming, int(month[5:]))
        probability, outcome = self._decide(draw, coming.visits, facts)
        self._write(draw, month, coming, approved, probability, outcome)
        self._offices.close(coming.visits, outcome)
        reason = np.where(
            outcome.state[: len(coming.kind)] == settlement.DENIED, outcome.reason[: len(coming.kind)], -1
        )
        known_at = outcome.known_at[: len(coming.kind)]
        past = Past(coming.visits, reason, known_at, coming.kind, coming.paper, coming.valid_at)
        # What an office sends again is at most two months old.
        self._past = (past if self._past is None else self._past.with_more(past)).since(first_day - 31)
        self._denials.forget((after - 91) * draws.DAY)

    def _facts(self, coming: Coming, month: int) -> Facts:
        visits, office = coming.visits, coming.visits.office
        code = visits.code[visits.heads]
        covered, early = self._cover.coverage_known(visits.person, visits.start, visits.recorded)
        mended = visits.original >= 0

        def flag(values: np.ndarray) -> Ints:
            return values.astype(np.int64)

        return Facts(
            uncovered=flag(~covered),
            early=flag(early),
            auth=coming.paper,
            duplicate=flag(coming.kind == returning.DUPLICATE),
            same_day=flag(coming.kind == returning.SAME),
            other_payer=flag(self._second_payer[visits.person] <= visits.start),
            exhausted=flag(self._accounts.exhausted(visits.person, code)),
            late=flag((visits.received - visits.end > 90) & ~mended),
            static=self._offices.static[office],
            drift=self._offices.drift[office],
            migrating=self._offices.migrating[office],
            reviewed=self._offices.reviewed[office],
            unmodified=flag(care.MODIFIED[code] & (visits.modifier[visits.heads] < 0)),
            habit=self._offices.habit[office],
            unfit=flag(_UNFIT[code, visits.dx1]),
            out=flag(~visits.network),
            plan=visits.plan,
            payer=self._payer[visits.person],
            code=code,
            excluded=flag(_EXCLUDED[code, visits.plan]),
            costly=np.searchsorted(np.array([100_000, 500_000, 2_000_000]), visits.charge),
            institutional=flag(visits.institutional),
            month=np.full(len(code), month),
            replacement=flag(mended),
        )

    def _decide(self, draw: Draw, visits: care.Visits, facts: Facts) -> tuple[Ints, Outcome]:
        """Decide each claim; return the probability that it ends up denied, in billionths, and what happens to it.

        The outcome has first decisions in the order of the claims, then what an appeal or an audit changed.
        """
        count, weights = len(visits.id), self._weights
        spoken = adjudication.weigh(facts, weights, self._interact)
        lot, reason_share, wait = (
            draw.share("lot", count),
            draw.share("why", count),
            draw.whole("delay", count, STEP, 15),
        )
        hour = draw.whole("hour", count, 20 * 3600, 23 * 3600)
        start = int(adjudication.thousandths(weights.start))
        known_at, reason, chance = np.zeros(count, np.int64), np.full(count, -1), np.zeros(count, np.int64)
        # Claims stand in the order in which they were recorded.
        low, high = (int(visits.received[0]), int(visits.received[-1])) if count else (0, -1)
        for day in range(low, high + 1, STEP):
            now = slice(*np.searchsorted(visits.received, [day, day + STEP]))
            self._denials.weigh(spoken[now], visits.person[now], facts, now, visits.recorded[now], weights)
            chance[now] = adjudication.odds(start + spoken[now].sum(axis=1))
            denied = lot[now] * 1e6 < chance[now]
            drawn_reason = np.where(denied, adjudication.because(spoken[now], reason_share[now]), -1)
            reason[now] = drawn_reason
            slow = wait[now] + 6 * facts.institutional[now] + 3 * facts.costly[now] + 3 * facts.reviewed[now]
            known_at[now] = (visits.received[now] + np.minimum(slow, 30)) * draws.DAY + hour[now]
            self._denials.add(
                visits.person[now][denied], facts.code[now][denied], drawn_reason[denied], known_at[now][denied]
            )
        state = np.where(reason >= 0, settlement.DENIED, settlement.PAID)
        later = draw.whole("later", count, 0, 1000)
        changed = np.flatnonzero(np.where(reason >= 0, later < OVERTURNED, later < REVERSED))
        first = Outcome(visits, known_at, state, reason, facts.reviewed)
        undone = reason[changed] >= 0
        audit = adjudication.REASONS.index("16")
        second = Outcome(
            care.take(visits, changed),
            known_at[changed] + draw.whole("appeal", count, 35, 120)[changed] * draws.DAY,
            np.where(undone, settlement.PAID, settlement.REVERSED),
            np.where(undone, -1, audit),
            np.zeros(len(changed), np.int64),
        )
        ends = chance * (1000 - OVERTURNED) + (1_000_000 - chance) * REVERSED
        return ends, settlement.outcomes([first, second])

    def _write(
        self, draw: Draw, month: str, coming: Coming, approved: returning.Approved, ends: Ints, outcome: Outcome
    ) -> None:
        people, after = self._people, care.month_days(month)[1]
        count = len(coming.kind)
        denied = outcome.state[:count] == settlement.DENIED
        changed = np.searchsorted(coming.visits.id, outcome.visits.id[count:])
        denied[changed] = ~denied[changed]
        self.tables["medical_claim"].append(care.rows(coming.visits, people=people, seed=self._seed))
        self.tables["prior_authorization"].append(returning.approvals(approved, people))
        self.tables["truth"].append(
            pa.table(
                [
                    care.claim_ids(coming.visits.id),
                    pa.array(ends / 1e9),
                    pa.array(denied),
                    draws.dates(coming.visits.received),
                ],
                schema=TRUTH,
            )
        )
        waiting = settlement.outcomes([*self._waiting, outcome])
        due = waiting.known_at < after * draws.DAY
        self._waiting = [waiting.pick(np.flatnonzero(~due))]
        before = self._accounts.remaining.copy()
        remittance, adjustment = settlement.settle(draw, waiting.pick(np.flatnonzero(due)), self._accounts)
        self.tables["remittance"].append(remittance)
        self.tables["claim_adjustment"].append(adjustment)
        self.tables["accumulator"].append(self._accounts.rows(before, people, after, int(month[:4])))


class _Denials:
    """What was denied lately: to whom, which care, why, and when the payer's system knew it; sorted by who and when."""

    def __init__(self) -> None:
        self._same, self._reasons, self._any = (np.zeros(0, np.int64) for _ in range(3))

    def add(self, person: Ints, code: Ints, reason: Ints, known_at: Ints) -> None:
        """Write denials down."""
        stands = returning.ABOUT_CARE[reason]
        same = np.concatenate([self._same, ((person * 32 + code) << 31 | known_at)[stands]])
        reasons = np.concatenate([self._reasons, reason[stands]])
        order = np.argsort(same, kind="stable")
        self._same, self._reasons = same[order], reasons[order]
        self._any = np.sort(np.concatenate([self._any, person << 31 | known_at]), kind="stable")

    def forget(self, known_at: int) -> None:
        """Forget what was known before a second."""
        recent = self._same & (2**31 - 1) >= known_at
        self._same, self._reasons = self._same[recent], self._reasons[recent]
        self._any = self._any[self._any & (2**31 - 1) >= known_at]

    def weigh(self, spoken: Ints, person: Ints, facts: Facts, now: slice, second: Ints, weights: Weights) -> None:
        """Add what earlier denials of the last 90 days say: of the same care for its reason, of any care a little."""
        since = second - 90 * draws.DAY
        key = (person * 32 + facts.code[now]) << 31
        last = np.searchsorted(self._same, key | second)
        again = last > np.searchsorted(self._same, key | since)
        again &= (facts.replacement[now] == 0) & (facts.duplicate[now] == 0)
        places = np.flatnonzero(again)
        spoken[places, self._reasons[last[places] - 1]] += int(adjudication.thousandths(weights.denied_before))
        many = np.searchsorted(self._any, person << 31 | second) - np.searchsorted(self._any, person << 31 | since)
        spoken[:, adjudication.REASONS.index("50")] += np.minimum(many, 3) * int(
            adjudication.thousandths(weights.denials)
        )


def ceiling(truth: pa.Table, since: str, until: str, *, drawn: bool = False) -> float:
    """Return the best AUC that any model can reach on the claims received from `since` to before `until`.

    Exact over the expected labels: each claim is a denial with its probability. drawn: over the labels as they fell.
    """
    day = truth["received_date"].combine_chunks().cast(pa.int32()).to_numpy()
    inside = (day >= draws.days(since)) & (day < draws.days(until))
    chance = truth["probability"].to_numpy()[inside]
    label = truth["denied"].combine_chunks().to_numpy(zero_copy_only=False)[inside].astype(np.float64)
    return auc(chance, label if drawn else chance)


def auc(score: np.ndarray, label: np.ndarray) -> float:
    """Return the area under the curve of a score; a label may be a probability, and then it is the expected one.

    Over pairs of two claims: how often the denied one has the higher score, ties as half.
    """
    _, place = np.unique(score, return_inverse=True)
    yes, no = np.bincount(place, label), np.bincount(place, 1.0 - label)
    below = np.cumsum(no) - no
    won = float((yes * (below + no / 2)).sum())
    # A claim is no pair with itself: those pairs are ties.
    alone = float((label * (1.0 - label)).sum())
    return (won - alone / 2) / (float(label.sum()) * float((1.0 - label).sum()) - alone)
