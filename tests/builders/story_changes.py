"""Careless and malicious changes to the story of `predictions`, and what the chain says of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pydantic import JsonValue

from tests.builders import prediction_story
from tests.builders.prediction_story import RELEASE, SUBJECT, Key, StoryStep, release
from wellspring.records.trust import Ref
from wellspring_verify import chain

RELEASED = release().name
SHORT = RELEASED.partition(":")[2]
MODEL = f"model:denials@{SHORT}"
Steps = dict[str, StoryStep]
Change = Callable[[Steps], Steps]


def output(steps: Steps, subject: str = SUBJECT, content: Mapping[str, JsonValue] = RELEASE) -> list[str]:
    return [
        gap.message
        for gap in chain.find_gaps(subject, prediction_story.entries(steps), prediction_story.texts(content))
    ]


def without(*names: str) -> Change:
    return lambda steps: {name: item for name, item in steps.items() if name not in names}


def moved(name: str, *, before: str) -> Change:
    def change(steps: Steps) -> Steps:
        rest = without(name)(steps)
        instant = list(rest).index(before)
        return dict([*list(rest.items())[:instant], (name, steps[name]), *list(rest.items())[instant:]])

    return change


def put(name: str, item: StoryStep, *, before: str = "predict") -> Change:
    return lambda steps: moved(name, before=before)({**steps, name: item})


def changed(name: str, **fields: object) -> Change:
    return lambda steps: {**steps, name: steps[name]._replace(**fields)}


def facts(name: str, **new: JsonValue) -> Change:
    return lambda steps: {**steps, name: steps[name].but(**new)}


def swapped(name: str, side: str, old: str, new: Ref | None) -> Change:
    """Exchange the thing of one kind that a step names."""

    def change(steps: Steps) -> Steps:
        refs = tuple(item for item in getattr(steps[name], side) if not item.name.startswith(f"{old}:"))
        return {**steps, name: steps[name]._replace(**{side: (*refs, new) if new else refs})}

    return change


def pair(**keys: Key) -> Change:
    return lambda steps: {**steps, **prediction_story.people(keys=keys)}


def by(proposer: str, approver: str) -> Change:
    return lambda steps: {**steps, **prediction_story.people(proposer, approver)}
