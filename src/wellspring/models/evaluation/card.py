"""The model card of a candidate: one page of Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from wellspring.models.estimators.port import find_trained_file
from wellspring.models.spec.definition import ModelDefinition
from wellspring.models.spec.inference_spec import InferenceSpec
from wellspring.models.tasks.port import Task, title_of
from wellspring.records.models import Candidate, Estimate, EvaluationReport, SubgroupMetrics
from wellspring.records.record import format_instant
from wellspring.records.trust import ProjectMode

_DEVELOPMENT = "**Development**: one person may release this model; two must sign once the project is governed.\n"


def write_model_card(
    model: ModelDefinition,
    candidate: Candidate,
    spec: InferenceSpec,
    *,
    importance: Sequence[float] | None,
    mode: ProjectMode = "governed",
) -> str:
    """Render the card. importance: one value per feature of the spec, in its order; None if it was not measured.

    mode: of the project at the training.
    """
    report, split, task = candidate.scores, model.split, model.task
    main_title, figures = title_of(task, task.main_metric), task.subgroup_figures
    descriptions = {baseline.name: f"{baseline.name}: {baseline.description}" for baseline in model.baselines}
    strongest = sorted(zip(importance or (), spec.features, strict=False), key=lambda item: (-item[0], item[1].name))
    parts = [
        f"# {model.name}: candidate {candidate.id}\n",
        *([_DEVELOPMENT] if mode == "development" else []),
        f"{model.question}\n",
        f"{task.describe_rule(spec.decision_rule)}\n",
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
            (_format_estimate(title_of(task, name), item) for name, item in report.metrics.items()),
        ),
        f"\n## Baselines ({main_title}, same rows)\n",
        *_render_table(
            ("baseline", "value", "95 % interval"),
            (_format_estimate(descriptions.get(name, name), item) for name, item in report.baselines.items()),
        ),
        _describe_lift(task, report),
        "## Subgroups\n",
        *(
            _render_table(
                ("group", "rows", main_title, *(title_of(task, figure) for figure in figures)),
                (_format_subgroup(task, subgroup) for subgroup in report.subgroups),
            )
        ),
        "\n## Reasons\n",
        f"{model.estimator.attribution}.\n",
        "\n## Most important features\n" if importance is not None else "",
        *(f"- {item.view}:{item.name}: {item.description}" for gain, item in strongest[:20] if gain > 0),
        "\n## Provenance\n",
        *_render_table(
            ("input", "id"),
            [
                ("run", candidate.run),
                ("trained", _describe_training(model, candidate)),
                ("edition", candidate.edition),
                ("artifact", candidate.artifact),
                ("views", candidate.views),
                ("code", candidate.code),
                ("environment", candidate.environment),
                *((contract.name, contract.digest or "") for contract in candidate.contracts),
                ("commit", _format_commit(candidate)),
                ("task", spec.task),
                ("estimator", spec.estimator),
                ("size", ", ".join(f"{value:,} {name}" for name, value in report.size.items())),
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
    return (name, f"{estimate.value:.4f}", f"{estimate.low:.4f} to {estimate.high:.4f}")


def _describe_lift(task: Task, report: EvaluationReport) -> str:
    """Say how much better the model is than its best baseline, in the main metric."""
    values = [baseline.value for baseline in report.baselines.values()]
    if not values or task.main_metric not in report.metrics:
        return ""
    value = report.metrics[task.main_metric].value
    lift = value - max(values) if task.higher_is_better else min(values) - value
    return f"\nBetter than the best baseline by {lift:+.3f}.\n"


def _describe_training(model: ModelDefinition, candidate: Candidate) -> str:
    trained_file = find_trained_file(model.estimator)
    if trained_file is None:
        return format_instant(candidate.known_since)
    return (
        f"trained elsewhere: {trained_file.name}, on rows before {format_instant(trained_file.trained_until)} as its "
        f"model file states; imported and calibrated {format_instant(candidate.known_since)}"
    )


def _format_commit(candidate: Candidate) -> str:
    if not candidate.git_commit:
        return "none: the project is not in a git repository"
    return candidate.git_commit + (", with changed files" if candidate.git_dirty else "")


def _format_subgroup(task: Task, subgroup: SubgroupMetrics) -> tuple[str, ...]:
    main = subgroup.metrics.get(task.main_metric)
    size_note = "" if subgroup.enough_rows else " (too small to evaluate)"
    return (
        f"{subgroup.column} = {subgroup.value}{size_note}",
        f"{subgroup.rows:,}",
        "not measured" if main is None else f"{main.value:.3f}",
        *(f"{subgroup.figures[figure]:+.3f}" if figure in subgroup.figures else "" for figure in task.subgroup_figures),
    )
