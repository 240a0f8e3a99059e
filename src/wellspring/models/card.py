"""What a reader must know about one candidate, as one page of markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from wellspring.models.artefact import Recipe
from wellspring.models.definition import Model
from wellspring.records.models import Candidate, Group, Measured
from wellspring.records.record import stamp

_BASELINES = {
    "raw": "the thing's own columns, without identities",
    "raw_and_provider": "these columns and the provider's token as a category",
    "provider_rate": "the provider's last month alone, without learning",
}


def write(model: Model, candidate: Candidate, recipe: Recipe, *, importance: Sequence[float]) -> str:
    """Write the card. importance: of each feature of the recipe, in its order."""
    scores, split = candidate.scores, model.split
    best = max(scores.baselines.values(), key=lambda each: each.value, default=None)
    lift = scores.figures["auc"].value - best.value if best is not None and "auc" in scores.figures else None
    strongest = sorted(zip(importance, recipe.features, strict=True), key=lambda each: (-each[0], each[1].name))
    parts = [
        f"# {model.name}: candidate {candidate.id}\n",
        f"{model.question}\n",
        f"Answers *{recipe.labels[1]}* from a score of {recipe.threshold} on, *{recipe.labels[0]}* below it.\n",
        "## Gate\n",
        f"**{candidate.verdict.outcome}**\n",
        *(f"- `{each.code}`: {each.what}" for each in candidate.verdict.reasons),
        "\n## What it measured\n",
        f"On {scores.test_rows:,} rows of {split.test_days} days that came after the {scores.train_rows:,} rows it "
        f"learned from, with a gap of {split.gap_days} days; the newest {split.settle_days} days, whose labels are "
        "still coming in, are left out. Intervals are 95 % (that of the calibration error at least), and take rows as "
        "independent.\n",
        *_table(("figure", "value", "95 % interval"), (_row(name, each) for name, each in scores.figures.items())),
        "\n## Beside three baselines (AUC, same rows)\n",
        *_table(
            ("baseline", "value", "95 % interval"),
            (_row(_BASELINES.get(name, name), each) for name, each in scores.baselines.items()),
        ),
        f"\nAbove the best of them: {lift:+.3f}.\n" if lift is not None else "",
        "## Subgroups\n",
        *(_table(("group", "rows", "AUC", "says beside happens", "flagged"), map(_group, scores.groups))),
        "\n## What it looks at, strongest first\n",
        *(f"- {each.view}:{each.name}: {each.what}" for gain, each in strongest[:20] if gain > 0),
        "\n## Where it comes from\n",
        *_table(
            ("what", "which"),
            [
                ("run", candidate.run),
                ("trained", stamp(candidate.known_since)),
                ("edition", candidate.edition),
                ("artefact", candidate.artefact),
                ("views", candidate.views),
                ("code", candidate.code),
                ("environment", candidate.environment),
                *((each.name, each.digest or "") for each in candidate.contracts),
                ("size", f"{scores.trees} trees, up to {scores.leaves} leaves"),
                ("one answer's reasons", f"{scores.reason_microseconds:,.0f} microseconds"),
            ],
        ),
        "\n## What it is not for\n",
        "It ranks and estimates; it decides nothing about a person's care or cover. Its figures hold for data like "
        "that of the window above, and for no group that is too small to be judged.\n",
    ]
    return "\n".join(parts)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return lines + [f"| {' | '.join(each.replace('|', '/') for each in row)} |" for row in rows]


def _row(name: str, each: Measured) -> tuple[str, str, str]:
    return (name.replace("_", " "), f"{each.value:.4f}", f"{each.low:.4f} to {each.high:.4f}")


def _group(each: Group) -> tuple[str, str, str, str, str]:
    auc = "not measured" if each.auc is None else f"{each.auc.value:.3f}"
    gap = "" if each.calibration_gap is None else f"{each.calibration_gap:+.3f}"
    flagged = "" if each.denied_share is None else f"{each.denied_share:.1%}"
    judged = "" if each.judged else " (too small to judge)"
    return (f"{each.column} = {each.value}{judged}", f"{each.rows:,}", auc, gap, flagged)
