"""Three small pictures of a model as SVG text: the same scores give the same bytes, and nothing has to be loaded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from wellspring.models import statistics

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

WIDE, HIGH, EDGE = 420, 320, 46
_INK, _SOFT, _LINE = "#1f2933", "#9aa5b1", "#0b6e99"


def calibration(probability: Array, truth: Array, *, bins: int) -> str:
    """Draw what was said (across) against what happened (up), a point an equal-count bin."""
    place = statistics.cut(probability, bins)
    points = [
        (float(probability[place == each].mean()), float(truth[place == each].mean()))
        for each in sorted(set(place.tolist()))
    ]
    top = max(0.1, *(max(point) for point in points))
    marks = "".join(_dot(x / top, y / top) for x, y in points)
    return _page("calibration", f"said (0 to {top:.2f})", "happened", _diagonal() + marks)


def roc(probability: Array, truth: Array) -> str:
    """Draw the share of false alarms (across) against the share caught (up)."""
    import numpy as np

    order = np.argsort(-probability, kind="stable")
    hits = truth[order]
    caught, alarms = np.cumsum(hits) / max(1, hits.sum()), np.cumsum(~hits) / max(1, (~hits).sum())
    shown = np.unique(np.linspace(0, len(order) - 1, 200).astype(int))
    points = [(0.0, 0.0), *zip(alarms[shown].tolist(), caught[shown].tolist(), strict=True)]
    line = " ".join(f"{_x(x):.1f},{_y(y):.1f}" for x, y in points)
    drawn = f'<polyline points="{line}" fill="none" stroke="{_LINE}" stroke-width="2"/>'
    return _page("ROC", "false alarms", "caught", _diagonal() + drawn)


def importance(names: Sequence[str], gains: Sequence[float], *, most: int = 15) -> str:
    """Draw how much each feature helped while learning, the strongest first."""
    ranked = sorted(zip(names, gains, strict=True), key=lambda each: (-each[1], each[0]))[:most]
    top = max([gain for _, gain in ranked if gain > 0], default=1.0)
    step = (HIGH - 60) / max(1, len(ranked))
    bars: list[str] = []
    for place, (name, gain) in enumerate(ranked):
        y = 44 + place * step
        bars.append(
            f'<rect x="210" y="{y:.1f}" width="{190 * gain / top:.1f}" height="{step * 0.7:.1f}" fill="{_LINE}"/>'
            f'<text x="204" y="{y + step * 0.6:.1f}" text-anchor="end">{escape(name)}</text>'
        )
    return _svg("importance (gain)", "".join(bars))


def _page(title: str, across: str, up: str, drawn: str) -> str:
    frame = (
        f'<rect x="{EDGE}" y="{EDGE}" width="{WIDE - 2 * EDGE}" height="{HIGH - 2 * EDGE}" fill="none" '
        f'stroke="{_SOFT}"/><text x="{WIDE / 2}" y="{HIGH - 14}" text-anchor="middle">{escape(across)}</text>'
        f'<text x="16" y="{HIGH / 2}" text-anchor="middle" transform="rotate(-90 16 {HIGH / 2})">{escape(up)}</text>'
    )
    return _svg(title, frame + drawn)


def _svg(title: str, inside: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDE} {HIGH}" font-family="sans-serif" font-size="11" '
        f'fill="{_INK}"><rect width="{WIDE}" height="{HIGH}" fill="white"/>'
        f'<text x="{WIDE / 2}" y="26" text-anchor="middle" font-size="14">{escape(title)}</text>{inside}</svg>\n'
    )


def _x(share: float) -> float:
    return EDGE + share * (WIDE - 2 * EDGE)


def _y(share: float) -> float:
    return HIGH - EDGE - share * (HIGH - 2 * EDGE)


def _dot(x: float, y: float) -> str:
    return f'<circle cx="{_x(x):.1f}" cy="{_y(y):.1f}" r="4" fill="{_LINE}"/>'


def _diagonal() -> str:
    ends = f'x1="{_x(0):.1f}" y1="{_y(0):.1f}" x2="{_x(1):.1f}" y2="{_y(1):.1f}"'
    return f'<line {ends} stroke="{_SOFT}" stroke-dasharray="4 4"/>'
