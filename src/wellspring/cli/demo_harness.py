"""What the scenes of the demo share: a title, a claim that is checked, a figure that was measured."""

from __future__ import annotations

from typing import Any, NamedTuple

from wellspring.cli.context import CliContext
from wellspring.errors import CorruptedError


class DemoFigure(NamedTuple):
    """One line of the closing table: what, its definition, and what this run measured."""

    name: str
    definition: str
    figure: str


class SceneContext(CliContext):
    """The same door, indented, whose answers are no documents of their own: the demo ends with one."""

    def print_result(self, value: Any, *, next_command: str | None = None) -> None:  # noqa: ARG002 (an override)
        return

    def echo(self, text: str = "") -> None:
        super().echo("\n".join(f"  {line}" for line in text.splitlines()))


def indented_context(ctx: CliContext) -> CliContext:
    """Return the door that a scene speaks through."""
    return SceneContext(folder=ctx.folder, as_json=ctx.as_json)


def begin_scene(ctx: CliContext, title: str) -> None:
    """Begin a scene."""
    ctx.echo()
    ctx.echo(title)


def check_claim(ok: Any, claim: str) -> None:
    """Go on only if what the demo claims holds in this run. Raises Broken."""
    if not ok:
        raise CorruptedError(
            f"the demo claims that {claim}, and it does not hold in this run", fix="keep the folder and file a bug"
        )
