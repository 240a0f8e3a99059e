"""The model card of a candidate: one page of Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from wellspring.models.spec.artifact import InferenceSpec
from wellspring.models.spec.definition import ModelDefinition
from wellspring.records.models import Candidate, Estimate, SubgroupMetrics
from wellspring.records.record import format_instant

_BASELINE_TITLES = {
    "columns": "columns of the entity itself, without identifiers",
    "columns_plus_entity": "these columns and the entity's token as a category",
    "heuristic": "one heuristic feature alone, without training",
}


def write_model_card(
    model: ModelDefinition, candidate: Candidate, spec: InferenceSpec, *, importance: Sequence[float]
) -> str:
    """Render the card. importance: one value per feature of the spec, in its order."""
    report, split = candidate.scores, model.split
    best = max(report.baselines.values(), key=lambda baseline: baseline.value, default=None)
    lift = report.metrics["auc"].value - best.value if best is not None and "auc" in report.metrics else None
    strongest = sorted(zip(importance, spec.features, strict=True), key=lambda item: (-item[0], item[1].name))
    parts = [
        f"# {model.name}: candidate {candidate.id}\n",
        f"{model.question}\n",
        f"Predicts *{spec.labels[1]}* from a score of {spec.threshold} on, *{spec.labels[0]}* below it.\n",
        "## Gate\n",
        f"**{candidate.verdict.outcome}**\n",
        *(f"- `{reason.code}`: {reason.message}" for reason in candidate.verdict.reasons),
        "\n## Metrics\n",
        f"Measured on {report.test_rows:,} rows of {split.test_days} days after the {report.train_rows:,} train rows, "
        f"with a gap of {split.gap_days} days. The newest {split.label_maturity_days} days, whose labels are "
        "incomplete, are excluded. Intervals are 95 % (that of the calibration error at least) and treat rows as "
        "independent.\n",
        *_render_table(
            ("metric", "value", "95 % interval"),
            (_format_estimate(name, item) for name, item in report.metrics.items()),
        ),
        "\n## Baselines (AUC, same rows)\n",
        *_render_table(
            ("baseline", "value", "95 % interval"),
            (_format_estimate(_BASELINE_TITLES.get(name, name), item) for name, item in report.baselines.items()),
        ),
        f"\nAbove the best baseline: {lift:+.3f}.\n" if lift is not None else "",
        "## Subgroups\n",
        *(
            _render_table(
                ("group", "rows", "AUC", "calibration gap", "flagged"), map(_format_subgroup, report.subgroups)
            )
        ),
        "\n## Most important features\n",
        *(f"- {item.view}:{item.name}: {item.description}" for gain, item in strongest[:20] if gain > 0),
        "\n## Provenance\n",
        *_render_table(
            ("input", "id"),
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
                ("reasons of one prediction", f"{report.reason_microseconds:,.0f} microseconds"),
            ],
        ),
        "\n## Limits\n",
        "The model ranks and estimates; a decision about a person needs a person. Its metrics hold for data like that "
        "of the test window, and not for subgroups that are too small to evaluate.\n",
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
    size_note = "" if subgroup.enough_rows else " (too small to evaluate)"
    return (f"{subgroup.column} = {subgroup.value}{size_note}", f"{subgroup.rows:,}", auc, gap, flagged)
