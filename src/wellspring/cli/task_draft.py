"""The task of a drafted model: which one fits a label column, and what of the draft differs by task."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import click

from wellspring.cli.render import escape_text
from wellspring.cli.worker_client import run_worker
from wellspring.errors import NotFound, ProjectError, Unavailable
from wellspring.project import Project

if TYPE_CHECKING:
    from wellspring.records.contracts import ContractColumn

MIN_NUMBER_VALUES = 21
"""Whole numbers with fewer different values may also be codes of classes."""
MAX_CLASS_VALUES = 2000
"""A text with more different values is not a label."""


class TaskDraft(NamedTuple):
    """What a draft contains for one task.

    imports: names of `wellspring` that its model file needs. label_type: SQL type of the label. history_sql: the
    outcome as SQL, in the history. history: the suffix of the features that count it; window: its SQL aggregate;
    feature_type, feature_sql: of that feature, with the placeholder {scope}; description: of that feature, with {label}
    and {scope}. heuristic: what that feature is by itself.
    """

    imports: tuple[str, ...]
    label_types: tuple[str, ...]
    label_type: str
    history_sql: str
    history: str
    window: str
    feature_type: str
    feature_sql: str
    description: str
    heuristic: str


TASK_DRAFTS: Mapping[str, TaskDraft] = {
    "binary": TaskDraft(
        imports=("Binary", "BinaryCriteria", "Threshold"),
        label_types=("bool", "int64"),
        label_type="boolean",
        history_sql='"{label}"::boolean::integer',
        history="rate",
        window="sum(hit)",
        feature_type="double",
        feature_sql="counted.{scope}_hits / nullif(counted.{scope}_outcomes, 0)",
        description="share of {label}, of {scope}, in outcomes of the 90 days before",
        heuristic="the past rate of the outcome",
    ),
    "multiclass": TaskDraft(
        imports=("Multiclass", "MulticlassCriteria"),
        label_types=("string", "int64"),
        label_type="varchar",
        history_sql='"{label}"::varchar',
        history="last",
        # Of outcomes that became known at one instant the key decides, so that a second build gives the same one.
        window='arg_max(hit, (instant, "{key}"))',
        feature_type="varchar",
        feature_sql="counted.{scope}_hits",
        description="last known {label}, of {scope}, in the 90 days before",
        heuristic="the last known outcome",
    ),
    "regression": TaskDraft(
        imports=("Regression", "RegressionCriteria"),
        label_types=("int64", "float64", "decimal128"),
        label_type="double",
        # Sums of decimals are exact, so that a second build gives the same mean.
        history_sql='"{label}"::decimal(38, 6)',
        history="mean",
        window="sum(hit)",
        feature_type="double",
        feature_sql="counted.{scope}_hits::double / nullif(counted.{scope}_outcomes, 0)",
        description="mean {label}, of {scope}, in outcomes of the 90 days before",
        heuristic="the mean of past outcomes",
    ),
}


class LabelValues(NamedTuple):
    """The values of a label column in the newest landed edition. distinct: how many different ones, without nulls."""

    distinct: int
    is_zero_or_one: bool


class TaskChoice(NamedTuple):
    """A task and why it was chosen."""

    task: str
    evidence: str


def choose_task(project: Project, table: str, label: ContractColumn, requested: str | None) -> TaskChoice:
    """Choose the task of a label: the requested one, the one of its type and values, or the answer at a terminal.

    Raises ProjectError if the label does not fit the requested task or any task, or without a terminal to ask at.
    """
    fitting = [task for task, draft in TASK_DRAFTS.items() if label.type.startswith(draft.label_types)]
    if not fitting or label.egress != "plain":
        raise ProjectError(
            f"{label.name} has type {label.type} and egress {label.egress}; "
            "a label is plain: a boolean, a number or text",
            fix=f"choose another column, or set its egress to plain in the contract {table}, if it is not personal",
        )
    if requested is not None:
        if requested not in fitting:
            types = ", ".join(TASK_DRAFTS[requested].label_types)
            raise ProjectError(
                f"{label.name} has type {label.type}; a label of the task {requested} has one of {types}",
                fix=f"pass --task {' or --task '.join(fitting)}, or choose another column",
            )
        return TaskChoice(requested, "as requested")
    values = _read_label_values(project, table, label.name) if label.type in ("string", "int64") else None
    if choice := infer_task(label, values):
        return choice
    evidence = "no edition has the table yet" if values is None else f"it has {values.distinct} different values"
    if not sys.stdin.isatty():
        raise ProjectError(
            f"the task of {label.name} is not clear: whole numbers may be classes or amounts, and {evidence}",
            fix=f"pass --task {' or --task '.join(fitting)}",
        )
    answer = click.prompt(
        escape_text(f"what to predict of {label.name} ({evidence})"), type=click.Choice(fitting), err=True
    )
    return TaskChoice(str(answer), "as you answered")


def infer_task(label: ContractColumn, values: LabelValues | None) -> TaskChoice | None:
    """Infer the task from the type of a label, and for whole numbers and text from its values; None if it is not clear.

    Raises ProjectError for a text with too many different values.
    """
    if label.type == "bool":
        return TaskChoice("binary", "the label is a boolean")
    if label.type == "string":
        if values is not None and values.distinct > MAX_CLASS_VALUES:
            raise ProjectError(
                f"{label.name} has {values.distinct:,} different values; a label of classes has at most "
                f"{MAX_CLASS_VALUES:,}",
                fix="choose another column",
            )
        counted = "" if values is None else f" with {values.distinct:,} different values"
        return TaskChoice("multiclass", f"the label is text{counted}")
    if label.type != "int64":
        return TaskChoice("regression", "the label is a number with a fraction")
    if values is None or values.distinct == 0:
        return None
    if values.is_zero_or_one:
        return TaskChoice("binary", "the label is 0 or 1")
    if values.distinct >= MIN_NUMBER_VALUES:
        return TaskChoice("regression", f"the label has {values.distinct:,} different whole numbers")
    return None


def _read_label_values(project: Project, table: str, column: str) -> LabelValues | None:
    """Ask the worker for the values of a landed column; None while the servers are down or the table has no rows."""
    try:
        counts = run_worker(project, "label-values", table, params={"column": column})
    except (Unavailable, NotFound):
        return None
    return LabelValues(int(counts["distinct"]), bool(counts["is_zero_or_one"]))
