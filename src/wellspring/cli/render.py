"""Plain tables, errors, ages and progress bars for a terminal; what a vendor or a server chose is shown escaped."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from wellspring.errors import escape_text as escape_text
from wellspring.errors import format_error as format_error

if TYPE_CHECKING:
    from wellspring.project import Project

RenderProgress = Callable[[str, int, int], None]


def render_table(headers: Sequence[str], rows: Sequence[Sequence[object]], *, title: str = "") -> str:
    """Format a plain table; columns of numbers are right-aligned, and each cell is one escaped line."""
    headers = [escape_text(header) for header in headers]
    cells = [[escape_text(_format_cell(value)) for value in row] for row in rows]
    widths = [
        max(len(header), *(len(row[column]) for row in cells)) if cells else len(header)
        for column, header in enumerate(headers)
    ]
    right_aligned = (
        [all(isinstance(row[column], int | float) for row in rows) for column in range(len(headers))] if rows else []
    )

    def format_row(values: Sequence[str]) -> str:
        padded = [
            value.rjust(width) if right_aligned and right_aligned[index] else value.ljust(width)
            for index, (value, width) in enumerate(zip(values, widths, strict=True))
        ]
        return "  ".join(padded).rstrip()

    rules = ["  ".join("-" * width for width in widths)]
    return "\n".join(
        [*([escape_text(title)] if title else []), format_row(headers), *rules, *(format_row(row) for row in cells)]
    )


def _format_cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.2f}"
    return str(value)


@contextmanager
def progress_bar(*, enabled: bool) -> Iterator[RenderProgress]:
    """Yield a callback (stage, done, total) that draws one bar per stage; it draws nothing without a terminal."""
    if not enabled or not sys.stderr.isatty():
        yield lambda stage, done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description:<10}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, Any] = {}
        current_stage = ""

        def draw(stage: str, done: int, total: int) -> None:
            nonlocal current_stage
            stage = escape_text(stage)
            if stage != current_stage and current_stage in tasks:
                # A stage reports its start only; the start of the next stage completes it.
                bars.update(
                    tasks[current_stage],
                    completed=bars.tasks[tasks[current_stage]].total or 1,
                    total=bars.tasks[tasks[current_stage]].total or 1,
                )
            current_stage = stage
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total or None)
            bars.update(tasks[stage], completed=done, total=total or None)

        yield draw


def format_age(seconds: int | None) -> str:
    """Format an age in its largest unit: 40 s, 3 min, 5 h, 2 d. None is `never`."""
    if seconds is None:
        return "never"
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def suggest_model(project: Project) -> str:
    """Return the name of the project's only model, for the next command; MODEL if it has none or several."""
    from wellspring.models.spec.definition import list_models

    model_names = list_models(project.source_paths.get("models"))
    return model_names[0] if len(model_names) == 1 else "MODEL"
