"""The kills of one project, in a process of its own. (A process that is spawned finds no function of `__main__`.)"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tests.crash import drop_decisions, model_lifecycle
from tests.crash.kill import Outcome, open_killer
from tests.crash.project import ProjectFixture


class Share(NamedTuple):
    """The kills of one project, in a process of its own. moments: how many at random; until: on the monotonic clock."""

    folder: Path
    points: tuple[str, ...]
    moments: int
    until: float
    seed: int
    source: str
    wide: bool


def run_share(share: Share) -> list[Outcome]:
    """Run the kills of one project, print each, and stop its servers."""
    outcomes: list[Outcome] = []
    try:
        for outcome in _list_outcomes(share):
            outcomes.append(outcome)
            state = "ok   " if outcome.good else "WRONG"
            lines = [*([] if outcome.hit else ["no process was killed"]), *outcome.error]
            text = "".join(f"               {line}\n" for line in lines)
            print(f"{state} {outcome.seconds:6.1f} s  {outcome.what}\n{text}", end="", flush=True)
    finally:
        if (share.folder / "wellspring.toml").exists():
            ProjectFixture.down(share.folder)
    return outcomes


def _list_outcomes(share: Share) -> Iterator[Outcome]:
    draw = random.Random(share.seed)
    if any(model_lifecycle.is_lifecycle_point(name) for name in share.points):
        lifecycle = model_lifecycle.LifecycleKiller(share.folder)
        lifecycle.prepare()
        kills: list[Callable[[], Outcome]] = [partial(lifecycle.point, name) for name in share.points]
    elif any(drop_decisions.is_decision_point(name) for name in share.points):
        decisions = drop_decisions.DropKiller(share.folder)
        decisions.prepare()
        kills = [partial(decisions.point, name) for name in share.points]
    else:
        killer = open_killer(share.folder, list(share.points), source=share.source, wide=share.wide)
        kills = [partial(killer.moment, draw)] * share.moments
        kills += [partial(killer.point, name) for name in share.points]
    for kill in kills:
        if time.monotonic() >= share.until:
            return
        yield kill()
