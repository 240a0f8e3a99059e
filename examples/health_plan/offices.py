"""How billing offices behave over time, and what the payer makes of it: the history that a claim does not show."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from examples.health_plan import care, draws, settlement
    from examples.health_plan.draws import Draw, Ints
    from examples.health_plan.settlement import Outcome
else:
    care, draws, settlement = (
        importlib.import_module(f"{__package__}.{name}" if __package__ else name)
        for name in ("care", "draws", "settlement")
    )

ENTERS, STAYS = 0.03, 0.75
"""How likely an office changes its billing system in a month, and how likely the trouble lasts another month."""
FEWEST, WORSE = 10, 3
"""An office comes under review when, of at least ten decisions known in a month, half as many again as usual denied."""
PAUSE = 3


class Offices:
    """The offices' state in one month.

    static, drift: an office's own leaning, in thousandths; drift moves each month. migrating: a new billing system,
    which sends incomplete claims. reviewed: the payer reviews each of the office's claims before it pays. habit: of a
    thousand first lines of the last three months that need a modifier, how many lacked it.
    """

    def __init__(self, seed: int) -> None:
        draw = draws.Draw(seed, "offices")
        count = care.OFFICES
        self.static = draw.bell("static", count, 1000)
        self.drift = draw.bell("walk", count, 1000)
        self.migrating = (draw.share("migrating", count) < ENTERS * 4).astype(np.int64)
        self.reviewed = np.zeros(count, np.int64)
        self.habit = np.full(count, 100)
        self._forgets = care.habits(seed)
        self.sloppy = self._forgets
        self._review_months = np.zeros(count, np.int64)
        self._modifier_counts: list[tuple[Ints, Ints]] = []
        self._known_at = np.zeros(0, np.int64)
        self._of, self._denied = self._known_at, self._known_at

    def open(self, draw: Draw, month: str) -> None:
        """Begin a month: offices move, and the payer looks at what became known in the month before."""
        count = care.OFFICES
        self.drift = self.drift * 7 // 10 + draw.bell("walk", count, 714)
        share = draw.share("migrating", count)
        self.migrating = (share < np.where(self.migrating == 1, STAYS, ENTERS)).astype(np.int64)
        # A new system forgets modifiers too.
        self.sloppy = np.where(self.migrating == 1, np.maximum(self._forgets, 600), self._forgets)
        first_day = care.month_days(month)[0] * draws.DAY
        decided = (self._known_at >= first_day - 31 * draws.DAY) & (self._known_at < first_day)
        many = np.bincount(self._of[decided], minlength=count)
        bad = np.bincount(self._of[decided & (self._denied == 1)], minlength=count)
        # Half as many again as usual, in whole numbers.
        high = (many >= FEWEST) & (bad * many.sum() * 2 > WORSE * bad.sum() * many)
        self._review_months = np.maximum(self._review_months - 1, -PAUSE)
        begins = high & (self._review_months <= -PAUSE)
        self._review_months = np.where(begins, 2 + draw.whole("review", count, 0, 2), self._review_months)
        self.reviewed = (self._review_months > 0).astype(np.int64)
        if self._modifier_counts:
            expected, lacked = (sum(counts[place] for counts in self._modifier_counts[-3:]) for place in (0, 1))
            self.habit = np.where(expected >= 5, lacked * 1000 // np.maximum(expected, 1), 100)
        recent = self._known_at >= first_day - 31 * draws.DAY
        self._known_at, self._of, self._denied = self._known_at[recent], self._of[recent], self._denied[recent]

    def close(self, visits: care.Visits, outcome: Outcome) -> None:
        """End a month: remember how claims were coded, and when it is known how they were decided."""
        head = visits.heads
        expected = care.MODIFIED[visits.code[head]]
        lacks = expected & (visits.modifier[head] < 0)
        count = care.OFFICES
        self._modifier_counts.append(
            (np.bincount(visits.office[expected], minlength=count), np.bincount(visits.office[lacks], minlength=count))
        )
        first = len(visits.id)
        self._known_at = np.concatenate([self._known_at, outcome.known_at[:first]])
        self._of = np.concatenate([self._of, visits.office])
        self._denied = np.concatenate([self._denied, (outcome.state[:first] == settlement.DENIED).astype(np.int64)])
