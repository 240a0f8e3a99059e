"""Plots of models as SVG text, without a plotting library; the same scores give the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from wellspring.models.metrics import binary

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

WIDTH, HEIGHT, MARGIN = 420, 320, 46
_INK, _SOFT, _LINE = "#1f2933", "#9aa5b1", "#0b6e99"


def plot_calibration(probabilities: Array, labels: Array, *, bins: int) -> str:
    """Draw predicted (x) against observed (y) frequency, one point per equal-count bin."""
    bin_numbers = binary.assign_bins(probabilities, bins)
    points = [
        (float(probabilities[bin_numbers == bin_number].mean()), float(labels[bin_numbers == bin_number].mean()))
        for bin_number in sorted(set(bin_numbers.tolist()))
    ]
    top = max(0.1, *(max(point) for point in points))
    marks = "".join(_render_dot(x / top, y / top) for x, y in points)
    return _render_chart("calibration", f"predicted (0 to {top:.2f})", "observed", _render_diagonal() + marks)


def plot_roc(probabilities: Array, labels: Array) -> str:
    """Draw the false positive rate (x) against the true positive rate (y)."""
    import numpy as np

    order = np.argsort(-probabilities, kind="stable")
    ordered_labels = labels[order]
    true_positive_rate, false_positive_rate = (
        np.cumsum(ordered_labels) / max(1, ordered_labels.sum()),
        np.cumsum(~ordered_labels) / max(1, (~ordered_labels).sum()),
    )
    sampled = np.unique(np.linspace(0, len(order) - 1, 200).astype(int))
    points = [
        (0.0, 0.0),
        *zip(false_positive_rate[sampled].tolist(), true_positive_rate[sampled].tolist(), strict=True),
    ]
    line = " ".join(f"{_scale_x(x):.1f},{_scale_y(y):.1f}" for x, y in points)
    curve = f'<polyline points="{line}" fill="none" stroke="{_LINE}" stroke-width="2"/>'
    return _render_chart("ROC", "false positive rate", "true positive rate", _render_diagonal() + curve)


def plot_importance(names: Sequence[str], gains: Sequence[float], *, limit: int = 15) -> str:
    """Draw the importance of each feature, the largest first."""
    ranked = sorted(zip(names, gains, strict=True), key=lambda pair: (-pair[1], pair[0]))[:limit]
    top = max([gain for _, gain in ranked if gain > 0], default=1.0)
    step = (HEIGHT - 60) / max(1, len(ranked))
    bars: list[str] = []
    for rank, (name, gain) in enumerate(ranked):
        y = 44 + rank * step
        bars.append(
            f'<rect x="210" y="{y:.1f}" width="{190 * gain / top:.1f}" height="{step * 0.7:.1f}" fill="{_LINE}"/>'
            f'<text x="204" y="{y + step * 0.6:.1f}" text-anchor="end">{escape(name)}</text>'
        )
    return _render_svg("importance (gain)", "".join(bars))


def _render_chart(title: str, x_label: str, y_label: str, content: str) -> str:
    axes = (
        f'<rect x="{MARGIN}" y="{MARGIN}" width="{WIDTH - 2 * MARGIN}" height="{HEIGHT - 2 * MARGIN}" fill="none" '
        f'stroke="{_SOFT}"/><text x="{WIDTH / 2}" y="{HEIGHT - 14}" text-anchor="middle">{escape(x_label)}</text>'
        f'<text x="16" y="{HEIGHT / 2}" text-anchor="middle" transform="rotate(-90 16 {HEIGHT / 2})">'
        f"{escape(y_label)}</text>"
    )
    return _render_svg(title, axes + content)


def _render_svg(title: str, content: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="11" fill="{_INK}"><rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>'
        f'<text x="{WIDTH / 2}" y="26" text-anchor="middle" font-size="14">{escape(title)}</text>{content}</svg>\n'
    )


def _scale_x(share: float) -> float:
    return MARGIN + share * (WIDTH - 2 * MARGIN)


def _scale_y(share: float) -> float:
    return HEIGHT - MARGIN - share * (HEIGHT - 2 * MARGIN)


def _render_dot(x: float, y: float) -> str:
    return f'<circle cx="{_scale_x(x):.1f}" cy="{_scale_y(y):.1f}" r="4" fill="{_LINE}"/>'


def _render_diagonal() -> str:
    ends = f'x1="{_scale_x(0):.1f}" y1="{_scale_y(0):.1f}" x2="{_scale_x(1):.1f}" y2="{_scale_y(1):.1f}"'
    return f'<line {ends} stroke="{_SOFT}" stroke-dasharray="4 4"/>'


def plot_predictions(scores: Array, labels: Array, *, limit: int = 400) -> str:
    """Draw predicted (x) against observed (y) values of some rows, spread evenly over the rows."""
    import numpy as np

    rows = np.unique(np.linspace(0, len(scores) - 1, limit).astype(int))
    low, high = min(float(scores.min()), float(labels.min())), max(float(scores.max()), float(labels.max()))
    span = (high - low) or 1.0
    marks = "".join(
        _render_dot((float(scores[row]) - low) / span, (float(labels[row]) - low) / span) for row in rows.tolist()
    )
    return _render_chart("predictions", f"predicted ({low:.4g} to {high:.4g})", "observed", _render_diagonal() + marks)
