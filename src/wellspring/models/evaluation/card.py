"""What a reader must know about one candidate, as one page of markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from wellspring.models.spec.artifact import InferenceSpec
from wellspring.models.spec.definition import ModelDefinition
from wellspring.records.models import Candidate, Estimate, SubgroupMetrics
from wellspring.records.record import format_instant

_BASELINE_TITLES = {
    "columns": "the thing's own columns, without identities",
    "columns_plus_entity": "these columns and the provider's token as a category",
    "heuristic": "the provider's last month alone, without learning",
}


def write_model_card(
    model: ModelDefinition, candidate: Candidate, spec: InferenceSpec, *, importance: Sequence[float]
) -> str:
    """Write the card. importance: of each feature of the recipe, in its order."""
    report, split = candidate.scores, model.split
    best = max(report.baselines.values(), key=lambda baseline: baseline.value, default=None)
    lift = report.metrics["auc"].value - best.value if best is not None and "auc" in report.metrics else None
    strongest = sorted(zip(importance, spec.features, strict=True), key=lambda item: (-item[0], item[1].name))
    parts = [
        f"# {model.name}: candidate {candidate.id}\n",
        f"{model.question}\n",
        f"Answers *{spec.labels[1]}* from a score of {spec.threshold} on, *{spec.labels[0]}* below it.\n",
        "## Gate\n",
        f"**{candidate.verdict.outcome}**\n",
        *(f"- `{reason.code}`: {reason.message}" for reason in candidate.verdict.reasons),
        "\n## What it measured\n",
        f"On {report.test_rows:,} rows of {split.test_days} days that came after the {report.train_rows:,} rows it "
        f"learned from, with a gap of {split.gap_days} days; the newest {split.label_maturity_days} days, whose labels are "
        "still coming in, are left out. Intervals are 95 % (that of the calibration error at least), and take rows as "
        "independent.\n",
        *_render_table(
            ("metric", "value", "95 % interval"),
            (_format_estimate(name, item) for name, item in report.metrics.items()),
        ),
        "\n## Beside three baselines (AUC, same rows)\n",
        *_render_table(
            ("baseline", "value", "95 % interval"),
            (_format_estimate(_BASELINE_TITLES.get(name, name), item) for name, item in report.baselines.items()),
        ),
        f"\nAbove the best of them: {lift:+.3f}.\n" if lift is not None else "",
        "## Subgroups\n",
        *(
            _render_table(
                ("group", "rows", "AUC", "says beside happens", "flagged"), map(_format_subgroup, report.subgroups)
            )
        ),
        "\n## What it looks at, strongest first\n",
        *(f"- {item.view}:{item.name}: {item.description}" for gain, item in strongest[:20] if gain > 0),
        "\n## Where it comes from\n",
        *_render_table(
            ("what", "which"),
            [
                ("run", candidate.run),
                ("trained", format_instant(candidate.known_since)),
                ("edition", candidate.edition),
                ("artifact", candidate.artifact),
                ("views", candidate.views),
                ("code", candidate.code),
                ("environment", candidate.environment),
                *((contract.name, contract.digest or "") for contract in candidate.contracts),
                ("size", f"{report.trees} trees, up to {report.leaves} leaves"),
                ("one answer's reasons", f"{report.reason_microseconds:,.0f} microseconds"),
            ],
        ),
        "\n## What it is not for\n",
        "It ranks and estimates; it decides nothing about a person's care or cover. Its figures hold for data like "
        "that of the window above, and for no group that is too small to be judged.\n",
    ]
    return "\n".join(parts)


def _render_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    return lines + [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows]


def _format_estimate(name: str, estimate: Estimate) -> tuple[str, str, str]:
    return (name.replace("_", " "), f"{estimate.value:.4f}", f"{estimate.low:.4f} to {estimate.high:.4f}")


def _format_subgroup(subgroup: SubgroupMetrics) -> tuple[str, str, str, str, str]:
    auc = "not measured" if subgroup.auc is None else f"{subgroup.auc.value:.3f}"
    gap = "" if subgroup.calibration_gap is None else f"{subgroup.calibration_gap:+.3f}"
    flagged = "" if subgroup.positive_share is None else f"{subgroup.positive_share:.1%}"
    size_note = "" if subgroup.enough_rows else " (too small to judge)"
    return (f"{subgroup.column} = {subgroup.value}{size_note}", f"{subgroup.rows:,}", auc, gap, flagged)
