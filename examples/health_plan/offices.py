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
"""An office comes under review when, of at least ten decisions told in a month, half as many again as usual denied."""
PAUSE = 3


class Offices:
    """The offices' state in one month.

    static, walk: an office's own leaning, in thousandths; walk moves each month. migrating: a new billing system, from
    which claims come incomplete. reviewed: the payer looks at each of the office's claims before it pays. habit: of a
    thousand first lines of the last three months that ask for a modifier, how many lacked it.
    """

    def __init__(self, seed: int) -> None:
        draw = draws.Draw(seed, "offices")
        count = care.OFFICES
        self.static = draw.bell("static", count, 1000)
        self.collected = draw.bell("walk", count, 1000)
        self.migrating = (draw.share("migrating", count) < ENTERS * 4).astype(np.int64)
        self.reviewed = np.zeros(count, np.int64)
        self.habit = np.full(count, 100)
        self._forgets = care.habits(seed)
        self.sloppy = self._forgets
        self._remaining = np.zeros(count, np.int64)
        self._requests: list[tuple[Ints, Ints]] = []
        self._result = np.zeros(0, np.int64)
        self._of, self._denied = self._result, self._result

    def open(self, draw: Draw, month: str) -> None:
        """Begin a month: offices move, and the payer looks at what was told in the month before."""
        count = care.OFFICES
        self.collected = self.collected * 7 // 10 + draw.bell("walk", count, 714)
        share = draw.share("migrating", count)
        self.migrating = (share < np.where(self.migrating == 1, STAYS, ENTERS)).astype(np.int64)
        # A new system forgets modifiers too.
        self.sloppy = np.where(self.migrating == 1, np.maximum(self._forgets, 600), self._forgets)
        opened_files = care.month_days(month)[0] * draws.DAY
        observed = (self._result >= opened_files - 31 * draws.DAY) & (self._result < opened_files)
        many = np.bincount(self._of[observed], minlength=count)
        bad = np.bincount(self._of[observed & (self._denied == 1)], minlength=count)
        # Half as many again as usual, in whole numbers.
        high = (many >= FEWEST) & (bad * many.sum() * 2 > WORSE * bad.sum() * many)
        self._remaining = np.maximum(self._remaining - 1, -PAUSE)
        begins = high & (self._remaining <= -PAUSE)
        self._remaining = np.where(begins, 2 + draw.whole("review", count, 0, 2), self._remaining)
        self.reviewed = (self._remaining > 0).astype(np.int64)
        if self._requests:
            requests, lacked = (sum(item[place] for item in self._requests[-3:]) for place in (0, 1))
            self.habit = np.where(requests >= 5, lacked * 1000 // np.maximum(requests, 1), 100)
        stored = self._result >= opened_files - 31 * draws.DAY
        self._result, self._of, self._denied = self._result[stored], self._of[stored], self._denied[stored]

    def close(self, visits: care.Visits, outcome: Outcome) -> None:
        """End a month: remember how claims were coded, and when it is known how they were decided."""
        head = visits.heads
        asks = care.MODIFIED[visits.code[head]]
        lacks = asks & (visits.modifier[head] < 0)
        count = care.OFFICES
        self._requests.append(
            (np.bincount(visits.office[asks], minlength=count), np.bincount(visits.office[lacks], minlength=count))
        )
        first = len(visits.id)
        self._result = np.concatenate([self._result, outcome.result[:first]])
        self._of = np.concatenate([self._of, visits.office])
        self._denied = np.concatenate([self._denied, (outcome.state[:first] == settlement.DENIED).astype(np.int64)])
