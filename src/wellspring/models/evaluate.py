"""What a model is worth, on rows that came after all it learned: figures, baselines, groups, cost of reasons."""

from __future__ import annotations

import statistics as plain
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from wellspring.data.joins import column
from wellspring.errors import ProjectError
from wellspring.models import calibration, lightgbm, statistics
from wellspring.models.artefact import Artefact, Input, Recipe
from wellspring.models.frame import Frame
from wellspring.models.gate import Versus
from wellspring.models.search import Settings
from wellspring.records.models import Candidate, Group, Measured, Scores
from wellspring.records.record import stamp
from wellspring.stores.layout import TOKEN, instant, microseconds

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

SUSPICIOUS = 0.97
"""No honest feature tells a claim's fate by itself this well (AUC)."""
FEWEST = 200
"""Rows below which one feature's own AUC is chance."""
MOST_GROUPS = 50
FEWEST_OF_A_KIND = 20
_MICROS_A_DAY = 86_400_000_000


class Learned(Protocol):
    """What is judged: a trained model, and what it was trained with."""

    @property
    def recipe(self) -> Recipe: ...
    @property
    def booster(self) -> lightgbm.Booster: ...
    @property
    def settings(self) -> Settings: ...


class Judged(NamedTuple):
    """What came out. probability, truth: of the test rows, in their order."""

    scores: Scores
    probability: Array
    truth: Array

    @property
    def positives(self) -> int:
        return int(self.truth.sum())


def evaluate(frame: Frame, learned: Learned) -> Judged:
    """Measure a model on the test rows of its frame, beside the three baselines that are always told."""
    recipe, seed, bars = learned.recipe, learned.recipe.seed, frame.model.bars
    truth = frame.truth[frame.test]
    rows = frame.matrix(recipe.features, frame.test)
    probability = calibration.probabilities(recipe.calibration, lightgbm.raw_scores(learned.booster, rows))
    flagged = probability >= float(recipe.threshold)
    trees, leaves = lightgbm.size(learned.booster)
    scores = Scores(
        figures={
            "auc": statistics.auc(probability, truth),
            "average_precision": statistics.average_precision(probability, truth, seed=seed),
            "brier": statistics.brier(probability, truth, seed=seed),
            "calibration_error": statistics.calibration_error(probability, truth, bins=bars.calibration_bins),
            "recall": statistics.share(int((flagged & truth).sum()), int(truth.sum())),
            "precision": statistics.share(int((flagged & truth).sum()), int(flagged.sum())),
        },
        baselines=baselines(frame, learned),
        groups=tuple(_groups(frame, probability, flagged)),
        train_rows=len(frame.train),
        test_rows=len(frame.test),
        learned_until=stamp(instant(int(frame.at[frame.train].max()))),
        since=_day(frame.cut),
        until=_day(int(frame.at[frame.test].max()) + _MICROS_A_DAY),
        reason_microseconds=_reason_cost(learned.booster, rows),
        trees=trees,
        leaves=leaves,
    )
    return Judged(scores, probability, truth)


def baselines(frame: Frame, learned: Learned) -> dict[str, Measured]:
    """Measure what the model must beat, on the same rows, learned from the same rows with the same settings and rounds.

    raw: the thing's own columns. raw_and_provider: these and the provider's token as a category. provider_rate: the
    provider's rate as it is, without learning.
    """
    import numpy as np

    asked = frame.model.baselines
    named = {f"{each.view}:{each.name}": each for each in frame.inputs(frame.find((*asked.raw, asked.rate)))}
    raw = [named[each] for each in asked.raw]
    train, test = frame.matrix(raw, frame.train), frame.matrix(raw, frame.test)
    names = [column(each.view, each.name) for each in raw]
    places = [number for number, each in enumerate(raw) if each.type == "string"]
    # Tokens as numbers, in memory only: no file and no run ever holds them.
    who = frame.codes(asked.provider)
    truth = frame.truth[frame.test]

    def auc(train: Array, test: Array, names: list[str], categorical: list[int]) -> Measured:
        booster = lightgbm.fit(
            train, frame.truth[frame.train], names=names, categorical=categorical, settings=learned.settings,
            rounds=learned.recipe.rounds, seed=learned.recipe.seed,
        )  # fmt: skip
        return statistics.auc(lightgbm.raw_scores(booster, test), truth)

    rate = frame.matrix([named[asked.rate]])[:, 0]
    usual = float(np.nanmedian(rate[frame.train])) if np.isfinite(rate[frame.train]).any() else 0.0
    return {
        "raw": auc(train, test, names, places),
        "raw_and_provider": auc(
            np.column_stack([train, who[frame.train]]),
            np.column_stack([test, who[frame.test]]),
            [*names, "provider"],
            [*places, len(names)],
        ),
        "provider_rate": statistics.auc(np.nan_to_num(rate[frame.test], nan=usual), truth),
    }


def versus(frame: Frame, probability: Array, live: Candidate, artefact: Artefact) -> Versus:
    """Compare a candidate with what is live on the same test rows, of which the live one has learned none.

    live: the candidate behind it; one that was learned with another split may have learned rows of this window.
    """
    recipe, bars = artefact.recipe, frame.model.bars
    if lost := [f"{each.view}.{each.name}" for each in recipe.features if not _as_then(frame, each)]:
        return Versus(live.id, None, f"it uses {', '.join(lost[:3])}, which is not in the features any more as it was")
    learned = _learned_until(live.scores)
    if learned is None:
        return Versus(live.id, None, "it does not say up to when it has learned")
    new = frame.at[frame.test] > learned
    truth = frame.truth[frame.test][new]
    kinds = int(truth.sum()), int((~truth).sum())
    if not new.all() and (len(truth) < bars.test_rows or min(kinds) < bars.test_positives):
        return Versus(live.id, None, f"it has learned rows of this window, and {len(truth):,} others are too few")
    rows = frame.matrix(recipe.features, frame.test[new])
    theirs = lightgbm.raw_scores(lightgbm.load(artefact.booster), rows)
    # Platt's curve only rises where a > 0, and then changes no order.
    theirs = calibration.probabilities(recipe.calibration, theirs)
    return Versus(live.id, statistics.paired(probability[new], theirs, truth))


def screen(frame: Frame, inputs: Sequence[Input]) -> dict[str, str]:
    """Find features that tell the label by themselves, or by being missing; by `view.feature`, with how.

    Looked at on the train rows, before anything is learned: a model that holds the answer is not worth training.
    """
    truth = frame.truth[frame.train]
    rows = frame.matrix(inputs, frame.train)
    found: dict[str, str] = {}
    for place, each in enumerate(inputs):
        alone, empty = _alone(rows[:, place], truth, each), _told_by_absence(rows[:, place], truth)
        if max(alone, empty) > SUSPICIOUS:
            how = f"AUC {alone:.3f} alone" if alone > SUSPICIOUS else "it is missing just where the label says so"
            found[f"{each.view}.{each.name}"] = how
    return found


def control(frame: Frame, learned: Learned, *, seed: int) -> Measured:
    """Learn from labels that were shuffled among the train rows: the AUC on true ones must lie about 0.5."""
    import numpy as np

    recipe = learned.recipe
    shuffled = np.random.default_rng(seed).permutation(frame.truth[frame.train])
    booster = lightgbm.fit(
        frame.matrix(recipe.features, frame.train), shuffled,
        names=[column(each.view, each.name) for each in recipe.features],
        categorical=[place for place, each in enumerate(recipe.features) if each.type == "string"],
        settings=learned.settings, rounds=recipe.rounds, seed=seed,
    )  # fmt: skip
    rows = frame.matrix(recipe.features, frame.test)
    return statistics.auc(lightgbm.raw_scores(booster, rows), frame.truth[frame.test])


def _alone(values: Array, truth: Array, given: Input) -> float:
    """The AUC of one feature alone, whichever way it points, on the rows that have it."""
    import numpy as np

    there = np.isfinite(values)
    values, truth = values[there], truth[there]
    if given.type == "string" and len(values):
        # Shares learned on one half of the rows and looked at on the other: many rare categories would flatter.
        codes, half = values.astype(int), np.arange(len(values)) % 2 == 0
        seen = np.bincount(codes[half], minlength=codes.max() + 1)
        good = np.bincount(codes[half], weights=truth[half].astype(float), minlength=codes.max() + 1)
        values, truth = ((good + 0.5) / (seen + 1.0))[codes][~half], truth[~half]
    return _either_way(values, truth)


def _told_by_absence(values: Array, truth: Array) -> float:
    import numpy as np

    return _either_way(np.isnan(values).astype(float), truth)


def _either_way(values: Array, truth: Array) -> float:
    if len(truth) < FEWEST or truth.all() or not truth.any():
        return 0.5
    area = statistics.area(values, truth)
    return max(area, 1 - area)


def _as_then(frame: Frame, given: Input) -> bool:
    """Say whether a feature that a live model takes is still there, and of the type that it was learned with."""
    now = frame.joined.get(f"{given.view}:{given.name}")
    return now is not None and now.feature.type == given.type


def _learned_until(scores: Scores) -> int | None:
    """Say which question (microseconds) was the last that a model learned from."""
    if scores.learned_until:
        return microseconds(datetime.fromisoformat(scores.learned_until))
    # Candidates of before that was told say on which day their window began.
    return microseconds(datetime.fromisoformat(scores.since).replace(tzinfo=UTC)) - 1 if scores.since else None


def _day(micros: int) -> str:
    return datetime.fromtimestamp(micros // 1_000_000, UTC).date().isoformat()


def _groups(frame: Frame, probability: Array, flagged: Array) -> list[Group]:
    import numpy as np

    truth = frame.truth[frame.test]
    found: list[Group] = []
    for asked, used in zip(
        frame.model.subgroups, frame.find([each.feature for each in frame.model.subgroups]), strict=True
    ):
        values = np.array([_said(each) for each in frame.rows.column(used.column).take(frame.test).to_pylist()])
        names = sorted(set(values.tolist()))
        if used.feature.type == "float64" or len(names) > MOST_GROUPS:
            raise ProjectError(
                f"{used.name} makes {len(names)} subgroups", fix="choose a feature of at most 50 values, and no amounts"
            )
        if any(TOKEN.fullmatch(each) for each in names):
            raise ProjectError(f"{used.name} holds tokens, and people are no subgroup", fix="choose another feature")
        for name in names:
            inside = values == name
            good, rows = int(truth[inside].sum()), int(inside.sum())
            judged = rows >= asked.minimum and min(good, rows - good) >= FEWEST_OF_A_KIND
            found.append(
                Group(
                    column=used.name,
                    value=name,
                    rows=rows,
                    judged=judged,
                    auc=statistics.auc(probability[inside], truth[inside]) if 0 < good < rows else None,
                    calibration_gap=float(probability[inside].mean() - truth[inside].mean()),
                    denied_share=float(flagged[inside].mean()),
                )
            )
    return found


def _said(value: object) -> str:
    return "(none)" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _reason_cost(booster: lightgbm.Booster, rows: Array) -> float:
    """Time the reasons of one answer: the median of some, in microseconds, on this machine."""
    took: list[float] = []
    for row in rows[:40].tolist():
        begun = time.perf_counter()
        lightgbm.contributions(booster, row)
        took.append(time.perf_counter() - begun)
    return round(plain.median(took) * 1e6, 1)
