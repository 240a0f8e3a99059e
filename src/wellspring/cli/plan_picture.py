"""Draw the plan as an SVG picture: a box for each job, in columns by the jobs that it follows, and arrows."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from wellspring.plan import Plan, PlannedJob

_BOX_WIDTH, _BOX_HEIGHT = 250, 76
_COLUMN_GAP, _ROW_GAP, _MARGIN = 70, 24, 20
_MAX_CHARACTERS = 36
_STYLE = (
    "text{font-family:sans-serif;font-size:12px;fill:#1b1f24}.name{font-weight:bold;font-size:14px}"
    ".box{fill:#f6f8fa;stroke:#57606a}.arrow{fill:none;stroke:#57606a;stroke-width:1.5}"
)


class _Box(NamedTuple):
    """The place of a job: its upper left corner in pixels."""

    job: PlannedJob
    x: int
    y: int


def draw_plan(plan: Plan) -> str:
    """Return the SVG document of a plan."""
    boxes = _place_boxes(plan)
    width = max((box.x for box in boxes.values()), default=0) + _BOX_WIDTH + _MARGIN
    height = max((box.y for box in boxes.values()), default=0) + _BOX_HEIGHT + _MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
        f"<style>{_STYLE}</style>",
        '<defs><marker id="end" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0,0 L8,4 L0,8 z" fill="#57606a"/></marker></defs>',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
    ]
    for box in boxes.values():
        parts += [_draw_arrow(boxes[before], box) for before in box.job.settings.after]
    parts += [_draw_box(box) for box in boxes.values()]
    return "\n".join([*parts, "</svg>", ""])


def _place_boxes(plan: Plan) -> dict[str, _Box]:
    columns: dict[str, int] = {}
    rows_by_column: dict[int, int] = {}
    boxes: dict[str, _Box] = {}
    for job in plan.jobs.values():
        column = 1 + max((columns[before] for before in job.settings.after), default=-1)
        columns[job.name], row = column, rows_by_column.get(column, 0)
        rows_by_column[column] = row + 1
        boxes[job.name] = _Box(
            job, _MARGIN + column * (_BOX_WIDTH + _COLUMN_GAP), _MARGIN + row * (_BOX_HEIGHT + _ROW_GAP)
        )
    return boxes


def _draw_box(box: _Box) -> str:
    settings = box.job.settings
    lines = [f"{settings.kind} {settings.subject}".strip(), box.job.trigger]
    lines += [f"ends within {settings.sla}"] if settings.sla is not None else []
    texts = [f'<text class="name" x="{box.x + 10}" y="{box.y + 20}">{_shorten(box.job.name)}</text>']
    texts += [
        f'<text x="{box.x + 10}" y="{box.y + 38 + 16 * number}">{_shorten(line)}</text>'
        for number, line in enumerate(lines)
    ]
    return f'<rect class="box" x="{box.x}" y="{box.y}" width="{_BOX_WIDTH}" height="{_BOX_HEIGHT}" rx="6"/>' + "".join(
        texts
    )


def _draw_arrow(start: _Box, end: _Box) -> str:
    x1, y1 = start.x + _BOX_WIDTH, start.y + _BOX_HEIGHT // 2
    x2, y2 = end.x, end.y + _BOX_HEIGHT // 2
    middle = (x1 + x2) // 2
    return f'<path class="arrow" d="M{x1},{y1} C{middle},{y1} {middle},{y2} {x2},{y2}" marker-end="url(#end)"/>'


def _shorten(text: str) -> str:
    return escape(text if len(text) <= _MAX_CHARACTERS else f"{text[: _MAX_CHARACTERS - 1]}…")
