"""How a payer decides: what it looks at, what each of these weighs, and the reason that it gives.

Everything is whole numbers: weights become thousandths of a logit, and a probability is one of 40,001 rounded values.
So no sum depends on its order, and two machines cannot disagree about a claim.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from examples.health_plan import care
    from examples.health_plan.draws import Bools, Ints
else:
    care = importlib.import_module(f"{__package__}.care" if __package__ else "care")

REASONS = ("4", "11", "16", "18", "22", "26", "27", "29", "50", "96", "97", "109", "119", "197")
"""What a claim is denied for: claim adjustment reason codes."""
OTHER_GROUP = frozenset({"18", "22"})
"""Reasons that a payer files under OA; all others are CO."""
VALID, ABSENT, EXPIRED, OTHER_CODE, UNKNOWN = 1, 2, 3, 4, 5
"""What the payer's files say of a prior authorization that a claim needs; 0 when it needs none."""
NEEDED: dict[str, tuple[str, ...]] = {
    "70553": ("PPO-500", "PPO-1500", "HMO-250", "HDHP-3000", "PPO-250"),
    "27447": care.PLANS,
    "45378": ("HMO-250", "MA-ADVANTAGE"),
    "97110": ("HMO-250", "PPO-1500"),
    "90834": ("HMO-250",),
    "20610": ("HDHP-3000", "MA-ADVANTAGE"),
    "J1885": ("HDHP-3000",),
}
"""The payer's public list: which procedures need a prior authorization in which plans."""
EXCLUDED: dict[str, tuple[str, ...]] = {
    "G0439": ("PPO-500", "HDHP-3000"),
    "99203": ("HMO-250",),
    "90834": ("HDHP-3000",),
    "J1885": ("MA-ADVANTAGE",),
}
"""What a plan's benefit leaves out, as often as not."""
UNFIT: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("20610", "27447", "70553", "73030"), ("Z00.00", "Z23", "Z12.11", "F41.1", "F32.9", "J06.9", "H52.4")
    ),
    **dict.fromkeys(("G0439", "90834", "45378"), ("M17.11", "M25.561", "S93.401A")),
}
"""Diagnoses that give no ground for a procedure."""


def table(listed: dict[str, tuple[str, ...]], words: Sequence[str]) -> Bools:
    """Lay a list by procedure out as a table: procedure, then word."""
    return np.array([[word in listed.get(code, ()) for word in words] for code in care.CODES])


class Weights(NamedTuple):
    """What each thing weighs, in logits: frozen with the process, whose digest a test holds."""

    start: float = -4.25
    uncovered: float = 3.9
    duplicate: float = 4.2
    same_day: float = 2.2
    auth_absent: float = 2.2
    auth_expired: float = 3.3
    auth_other_code: float = 3.5
    auth_unknown: float = 1.8
    denied_before: float = 2.4
    denials: float = 0.25
    other_payer: float = 2.6
    exhausted: float = 3.1
    late: float = 2.8
    static: float = 0.25
    drift: float = 0.45
    migrating: float = 1.8
    reviewed: float = 1.8
    unmodified: float = 0.4
    unmodified_habit: float = 2.6
    unfit: float = 1.3
    out_of_network: float = 0.25
    out_of_hmo: float = 1.2
    out_of_medicare: float = 1.1
    excluded: float = 1.2
    costly: float = 0.3
    institutional: float = 0.15
    new_year: float = 0.35
    replacement: float = -1.2
    reviewed_costly: float = 0.8
    migrating_institutional: float = 0.6
    uncovered_new_year: float = 0.5


WEIGHTS = Weights()


class Facts(NamedTuple):
    """What the payer knows of each claim when it is recorded: counts, flags and places in lists, one a claim.

    static, drift: the office's own leaning, in thousandths; the only two facts that no table shows.
    """

    uncovered: Ints
    early: Ints
    auth: Ints
    duplicate: Ints
    same_day: Ints
    other_payer: Ints
    exhausted: Ints
    late: Ints
    static: Ints
    drift: Ints
    migrating: Ints
    reviewed: Ints
    unmodified: Ints
    habit: Ints
    unfit: Ints
    out: Ints
    plan: Ints
    payer: Ints
    code: Ints
    excluded: Ints
    costly: Ints
    institutional: Ints
    month: Ints
    replacement: Ints


Terms = dict[str, Any]
"""Reason -> what speaks for it, in logits, one a claim."""
Interact = Callable[[Facts, Weights], Terms]


def terms(facts: Facts, weights: Weights) -> Terms:
    """Weigh each fact for itself."""
    w, plan = weights, facts.plan
    missing = facts.uncovered * w.uncovered
    auth = np.array([0.0, 0.0, w.auth_absent, w.auth_expired, w.auth_other_code, w.auth_unknown])[facts.auth]
    return {
        "4": facts.unmodified * (w.unmodified + w.unmodified_habit * facts.habit / 1000),
        "11": facts.unfit * w.unfit,
        "16": facts.static * w.static / 1000 + facts.migrating * w.migrating + facts.institutional * w.institutional,
        "18": facts.duplicate * w.duplicate,
        "22": facts.other_payer * w.other_payer,
        "26": missing * facts.early,
        "27": missing * (1 - facts.early),
        "29": facts.late * w.late,
        "50": facts.drift * w.drift / 1000 + facts.reviewed * w.reviewed + facts.costly * w.costly,
        "96": facts.excluded * w.excluded + facts.out * w.out_of_network + (facts.month <= 2) * w.new_year,
        "97": facts.same_day * w.same_day,
        "109": facts.out * ((plan == 2) * w.out_of_hmo + (plan == 4) * w.out_of_medicare),
        "119": facts.exhausted * w.exhausted,
        "197": auth,
    }


def interact(facts: Facts, weights: Weights) -> Terms:
    """Weigh what only counts together."""
    w = weights
    return {
        "16": facts.migrating * facts.institutional * w.migrating_institutional,
        "27": facts.uncovered * (facts.month <= 2) * w.uncovered_new_year,
        "50": facts.reviewed * (facts.costly >= 2) * w.reviewed_costly,
        "96": facts.replacement * w.replacement,
    }


def weigh(facts: Facts, weights: Weights, among: Interact) -> Ints:
    """Return what speaks for each reason, in thousandths of a logit: a row a claim, a column a reason."""
    total = np.zeros((len(facts.plan), len(REASONS)), np.int64)
    for logits_by_reason in (terms(facts, weights), among(facts, weights)):
        for reason, logits in logits_by_reason.items():
            total[:, REASONS.index(reason)] += thousandths(logits)
    return total


def thousandths(logits: Any) -> Ints:
    """Turn logits into whole thousandths."""
    return np.rint(np.asarray(logits) * 1000).astype(np.int64)


def odds(logit: Ints) -> Ints:
    """Return the probability of each logit in millionths."""
    return _CURVE[np.clip(logit, -20_000, 20_000) + 20_000]


def because(spoken: Ints, share: Any) -> Ints:
    """Draw each claim's reason: what speaks twice as loud is four times as likely."""
    loud = np.maximum(spoken, 0) ** 2
    # With nothing that speaks, it is missing information or medical necessity, as so often.
    loud[:, REASONS.index("16")] += 40_000
    loud[:, REASONS.index("50")] += 40_000
    heard = np.cumsum(loud, axis=1)
    return np.argmax(heard > (share * heard[:, -1])[:, None], axis=1)


_CURVE = np.rint(1e6 / (1.0 + np.exp(-np.arange(-20_000, 20_001) / 1000.0))).astype(np.int64)
