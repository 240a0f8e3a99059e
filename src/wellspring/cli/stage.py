"""What the scenes of the demo share: a title, a claim that is checked, a figure that was measured."""

from __future__ import annotations

from typing import Any, NamedTuple

from wellspring.cli.door import Door
from wellspring.errors import Broken


class Measured(NamedTuple):
    """One line of the closing table: what, its definition, and what this run measured."""

    what: str
    definition: str
    figure: str


class Scene(Door):
    """The same door, indented, whose answers are no documents of their own: the demo ends with one."""

    def answer(self, value: Any, *, next_command: str | None = None) -> None:  # noqa: ARG002 (an override)
        return

    def say(self, text: str = "") -> None:
        super().say("\n".join(f"  {line}" for line in text.splitlines()))


def quiet(door: Door) -> Door:
    """Return the door that a scene speaks through."""
    return Scene(folder=door.folder, as_json=door.as_json)


def scene(door: Door, title: str) -> None:
    """Begin a scene."""
    door.say()
    door.say(title)


def hold(held: Any, claim: str) -> None:
    """Go on only if what the demo claims holds in this run. Raises Broken."""
    if not held:
        raise Broken(
            f"the demo claims that {claim}, and it does not hold in this run", fix="keep the folder and file a bug"
        )
