"""What is paid, and what is written about it: remittances, the adjustments that explain them, and the accumulators.

A plan year is the calendar year in which a claim is decided; accumulators are written at the end of each month, for
whom they changed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from examples.health_plan import adjudication, care, draws
    from examples.health_plan.draws import Bools, Draw, Ints
else:
    adjudication, care, draws = (
        importlib.import_module(f"{__package__}.{name}" if __package__ else name)
        for name in ("adjudication", "care", "draws")
    )

PAID, DENIED, REVERSED = range(3)
_DEDUCTIBLE = np.array([50_000, 150_000, 25_000, 300_000, 24_000, 25_000])
_OUT_OF_POCKET = np.array([450_000, 600_000, 350_000, 650_000, 400_000, 350_000])
_THERAPY = np.array([70_000, 60_000, 50_000, 50_000, 60_000, 70_000])
_COINSURANCE = np.array([20, 20, 10, 10, 20, 10])
_COPAYS = np.array([True, True, True, False, True, True])
KINDS = (  # level, network, service type, benefit
    *(("IND", "Y", "30", "deductible"), ("FAM", "Y", "30", "deductible"), ("IND", "N", "30", "deductible")),
    *(("IND", "Y", "30", "oop_max"), ("IND", "Y", "AE", "benefit_max"), ("IND", "Y", "MH", "benefit_max")),
)
_IN, _FAMILY, _OUT, _POCKET, _BENEFIT = 0, 1, 2, 3, 4
REMARKS = ("M127", "N706", "M62", "N822", "N30", "N522", "N115", "N362")
_REMARK = {"16": 0, "50": 6, "197": 2, "4": 3, "26": 4, "27": 4, "18": 5, "119": 7}


class Outcome(NamedTuple):
    """Decisions about claims, in no order. known_at: the second at which the payer's system knew it. reason: a place in
    REASONS, or -1. reviewed: the office's claims were looked at one by one.
    """

    visits: care.Visits
    known_at: Ints
    state: Ints
    reason: Ints
    reviewed: Ints

    def pick(self, places: Ints) -> Outcome:
        """Pick some of them."""
        return Outcome(care.take(self.visits, places), *(values[places] for values in self[1:]))


def outcomes(parts: list[Outcome]) -> Outcome:
    """Put outcomes one after the other."""
    rest = (np.concatenate(values) for values in zip(*(part[1:] for part in parts), strict=True))
    return Outcome(care.together([part.visits for part in parts]), *rest)


class Accounts:
    """What is left of each limit, in cents: a row a kind, a column a member."""

    def __init__(self, plans: Ints, subscriber: Ints) -> None:
        self._subscriber = subscriber
        single = _DEDUCTIBLE[plans]
        therapy = _THERAPY[plans]
        family = single * 5 // 2
        self.limit = np.stack([single, family, single * 2, _OUT_OF_POCKET[plans], therapy, therapy])
        self.remaining = self.limit.copy()

    def new_year(self) -> None:
        """Begin again."""
        self.remaining = self.limit.copy()

    def exhausted(self, person: Ints, code: Ints) -> Bools:
        """Return which claims are for therapy of which nothing is left."""
        used_up = np.zeros(len(person), bool)
        for kind, therapy in enumerate(care.THERAPY):
            used_up |= (code == therapy) & (self.remaining[_BENEFIT + kind, person] <= 0)
        return used_up

    def met(self, visits: care.Visits) -> Bools:
        """Return which claims' members have no deductible left."""
        return np.where(visits.network, self.remaining[_IN, visits.person], self.remaining[_OUT, visits.person]) == 0

    def share(self, draw: Draw, outcome: Outcome, allowed: Ints) -> tuple[Ints, Ints, Ints]:
        """Split what is allowed: deductible, copayment, coinsurance; write down what was used up."""
        visits, person = outcome.visits, outcome.visits.person
        remaining = np.where(visits.network, self.remaining[_IN, person], self.remaining[_OUT, person])
        before = _before(person * 2 + visits.network, allowed)
        family = np.where(visits.network, self.remaining[_FAMILY, self._subscriber[person]], draws.NEVER)
        deductible = np.minimum(np.clip(remaining - before, 0, allowed), family)
        # Once a year's own share is paid, nothing more is asked.
        free = (self.remaining[_POCKET, person] <= 0) & visits.network
        due = draw.share("copay", len(person)) < 0.5
        copay = np.where(_COPAYS[visits.plan] & due & ~free, np.minimum(allowed - deductible, 2_500), 0)
        rest = allowed - deductible - copay
        coinsurance = np.where(free, 0, rest * _COINSURANCE[visits.plan] // 100)
        inside = visits.network
        for kind, whom, cents in (
            (_IN, person, np.where(inside, deductible, 0)),
            (_FAMILY, self._subscriber[person], np.where(inside, deductible, 0)),
            (_OUT, person, np.where(inside, 0, deductible)),
            (_POCKET, person, np.where(inside, deductible + copay + coinsurance, 0)),
        ):
            np.subtract.at(self.remaining[kind], whom, cents)
        head = visits.code[visits.heads]
        for kind, therapy in enumerate(care.THERAPY):
            np.subtract.at(self.remaining[_BENEFIT + kind], person, np.where(head == therapy, allowed, 0))
        np.maximum(self.remaining, 0, out=self.remaining)
        return deductible, copay, coinsurance

    def rows(self, before: Ints, people: pa.Table, until: int, year: int) -> pa.Table:
        """Lay out what changed since `before`, in the contract's order. until: the day after the last one."""
        kind, person = np.nonzero(self.remaining != before)
        columns: dict[str, Any] = {
            "member_id": people["member_id"].combine_chunks().take(pa.array(person)),
            "plan_year": pa.array(np.full(len(person), year)),
            **{
                name: draws.words([benefit[place] for benefit in KINDS], kind)
                for place, name in enumerate(("level", "network", "service_type_code", "benefit"))
            },
            "limit_amount": draws.decimal(self.limit[kind, person]),
            "remaining_amount": draws.decimal(self.remaining[kind, person]),
            "as_of_date": draws.dates(np.full(len(person), until - 1)),
            "recorded_at": draws.instants(np.full(len(person), until * draws.DAY + 4 * 3600)),
            "data_source": pa.repeat(care.SOURCE, len(person)),
        }
        return pa.table(columns)


def settle(draw: Draw, outcome: Outcome, accounts: Accounts) -> tuple[pa.Table, pa.Table]:
    """Pay a month's outcomes in the order in which they become known; return remittances and claim adjustments."""
    outcome = outcome.pick(np.argsort(outcome.known_at, kind="stable"))
    visits, count = outcome.visits, len(outcome.known_at)
    size = np.bincount(visits.of, minlength=count)
    last = np.cumsum(size) - 1
    paid = outcome.state == PAID
    # One line of a claim that is paid may be part of another: a trap for who takes any adjustment for a denial.
    # Only where the plan pays something: else it would be one.
    charge = visits.charge
    met = accounts.met(visits) & (charge - visits.cents[last] >= 20_000)
    part = paid & (size > 1) & met & (draw.share("part", count) < 0.08)
    bundled = np.where(part, visits.cents[last], 0)
    rate = draw.whole("rate", count, 3_500, 8_500)
    allowed = np.where(paid, (charge - bundled) * rate // 10_000, 0)
    deductible, copay, coinsurance = accounts.share(draw, outcome, allowed)
    own = deductible + copay + coinsurance
    # Status 4 is for a claim that fails whole; most denials come as 1 with nothing paid.
    failed = (outcome.state == DENIED) & (draw.share("failed", count) < 0.3)
    day = outcome.known_at // draws.DAY
    remittance = pa.table(
        {
            "claim_id": care.claim_ids(visits.id),
            "adjudicated_date": draws.dates(day),
            "claim_status": draws.words(
                ("1", "4", "22"), np.where(outcome.state == REVERSED, 2, failed.astype(np.int64))
            ),
            "charge_amount": draws.decimal(charge),
            "allowed_amount": draws.decimal(allowed),
            "paid_amount": draws.decimal(allowed - own),
            "coinsurance_amount": draws.decimal(coinsurance),
            "copayment_amount": draws.decimal(copay),
            "deductible_amount": draws.decimal(deductible),
            "recorded_at": draws.instants(outcome.known_at),
            "data_source": pa.repeat(care.SOURCE, count),
        }
    )
    written = _Written()
    claims = np.arange(count)
    for group, code, cents in (
        ("CO", "45", charge - bundled - allowed),
        ("PR", "1", deductible),
        ("PR", "2", coinsurance),
        ("PR", "3", copay),
    ):
        written.add(claims[paid & (cents > 0)], 0, group, code, cents[paid & (cents > 0)])
    line = np.arange(len(visits.of)) - visits.heads[visits.of] + 1 if count else np.zeros(0, np.int64)
    written.add(claims[part], line[last[part]], "CO", "97", bundled[part])
    for place, code in enumerate(adjudication.REASONS):
        lines = np.flatnonzero(~paid[visits.of] & (outcome.reason[visits.of] == place))
        group = "OA" if code in adjudication.OTHER_GROUP else "CO"
        of = visits.of[lines]
        reviewed = (code == "50") & (outcome.reviewed[of] == 1)
        remark = np.where(reviewed, 1, _REMARK.get(code, -1))
        written.add(of, line[lines], group, code, visits.cents[lines], remark)
    return remittance, written.rows(visits.id, outcome.known_at)


class _Written:
    """Adjustments in the making."""

    def __init__(self) -> None:
        self._parts: list[tuple[Any, ...]] = []

    def add(self, claim: Ints, line: Any, group: str, code: str, cents: Ints, remark: Any = -1) -> None:
        count = len(claim)
        numbers = (np.full(count, 0) + line, cents, np.full(count, 0) + remark)
        self._parts.append((claim, *numbers, pa.repeat(group, count), pa.repeat(code, count)))

    def rows(self, ids: Ints, known_at: Ints) -> pa.Table:
        claim, line, cents, remark = (np.concatenate([part[n] for part in self._parts]) for n in range(4))
        order = np.lexsort((line, claim))
        claim, line, cents, remark = (values[order] for values in (claim, line, cents, remark))
        group, code = (pa.concat_arrays([part[n] for part in self._parts]).take(pa.array(order)) for n in (4, 5))
        new = np.ones(len(claim), bool)
        new[1:] = (claim[1:] != claim[:-1]) | (line[1:] != line[:-1])
        place = np.arange(len(claim))
        return pa.table(
            {
                "claim_id": care.claim_ids(ids[claim]),
                "claim_line_number": pa.array(line),
                "adjustment_sequence": pa.array(place - np.maximum.accumulate(np.where(new, place, 0)) + 1),
                "adjustment_group_code": group,
                "carc_code": code,
                "rarc_code": draws.words(REMARKS, remark),
                "adjustment_amount": draws.decimal(cents),
                "recorded_at": draws.instants(known_at[claim]),
                "data_source": pa.repeat(care.SOURCE, len(claim)),
            }
        )


def _before(key: Ints, cents: Ints) -> Ints:
    """Add up, for each row, what earlier rows of the same key hold."""
    order = np.argsort(key, kind="stable")
    total = np.cumsum(cents[order])
    new = np.ones(len(key), bool)
    new[1:] = key[order][1:] != key[order][:-1]
    start = np.maximum.accumulate(np.where(new, np.arange(len(key)), 0))
    before = np.empty(len(key), np.int64)
    before[order] = total - cents[order] - (total - cents[order])[start]
    return before
