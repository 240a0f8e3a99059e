"""Helpers for the scenes of the demo: titles, checked expectations, and measured figures."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from wellspring.cli.context import CliContext
from wellspring.errors import CorruptedError


class DemoFigure(NamedTuple):
    """One line of the closing table: a name, its definition, and the value that this run measured."""

    name: str
    definition: str
    figure: str


class SceneContext(CliContext):
    """A context that indents its lines and prints no result of its own: the demo prints one at its end."""

    def print_result(self, value: Any, *, next_command: str | None = None) -> None:  # noqa: ARG002 (an override)
        return

    def _print_lines(self, lines: Iterable[str]) -> None:
        super()._print_lines(f"  {line}" if line else line for line in lines)


def indented_context(ctx: CliContext) -> CliContext:
    """Return the context through which a scene prints."""
    return SceneContext(folder=ctx.folder, as_json=ctx.as_json)


def begin_scene(ctx: CliContext, title: str) -> None:
    """Print an empty line and the title of a scene."""
    ctx.echo()
    ctx.echo(title)


def require_outcome(ok: Any, outcome: str) -> None:
    """Stop the demo unless an expected outcome occurred. Raises CorruptedError."""
    if not ok:
        raise CorruptedError(
            f"the demo expects that {outcome}, but this run shows otherwise", fix="keep the folder and file a bug"
        )
