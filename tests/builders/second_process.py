"""A second process: the same people and payer, other weights and other interactions.

What a model scores on one process may be luck, or fitted to it: it is measured on both.
"""

from __future__ import annotations

from examples.health_plan import process
from examples.health_plan.adjudication import EXPIRED, Facts, Terms, Weights

WEIGHTS = Weights(
    start=-3.95,
    uncovered=3.1,
    duplicate=3.2,
    same_day=1.4,
    auth_absent=1.2,
    auth_expired=2.6,
    auth_other_code=4.0,
    auth_unknown=0.8,
    denied_before=3.0,
    denials=0.1,
    other_payer=2.0,
    exhausted=2.2,
    late=3.6,
    static=0.2,
    drift=0.35,
    migrating=2.5,
    reviewed=1.2,
    unmodified=0.9,
    unmodified_habit=1.4,
    unfit=0.8,
    out_of_network=0.6,
    out_of_hmo=0.6,
    out_of_medicare=1.8,
    excluded=0.7,
    costly=-0.15,
    institutional=-0.3,
    new_year=0.0,
    replacement=-0.4,
    reviewed_costly=0.0,
    migrating_institutional=0.0,
    uncovered_new_year=0.0,
)


def interact(facts: Facts, weights: Weights) -> Terms:
    """Weigh what only counts together, in this process; none of it is so in the first."""
    lapsed = facts.auth == EXPIRED
    return {
        "4": facts.unmodified * facts.migrating * 1.5,
        "16": facts.migrating * (facts.payer == 1) * -1.0 + facts.replacement * weights.replacement,
        "27": facts.uncovered * facts.institutional * 1.2,
        "50": facts.reviewed * (facts.costly == 0) * 1.6,
        "109": facts.out * facts.other_payer * 1.0,
        "119": facts.exhausted * (facts.month >= 9) * 1.4,
        "197": lapsed * (facts.plan == 2) * 1.2,
    }


def history(members: int, claims: int, seed: int, *, months: int, until: str = "2026-10") -> process.History:
    """Make a history of the second process."""
    return process.history(members, claims, seed, months=months, until=until, weights=WEIGHTS, interact=interact)
