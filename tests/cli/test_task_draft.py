"""The task of a drafted model: as requested, by type and landed values, or asked at a terminal."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, cast

import click
import pytest

from tests.builders.command_line import StubWorker
from wellspring.cli import task_draft as module
from wellspring.cli.task_draft import LabelValues, choose_task, infer_task
from wellspring.errors import ProjectError, Unavailable
from wellspring.models.tasks.registry import find_task
from wellspring.project import Project
from wellspring.records.contracts import ContractColumn

PROJECT = cast(Project, None)
DOWN = Unavailable("the servers are down", fix="run `wellspring up`")


def label(kind: str, egress: Any = "plain") -> ContractColumn:
    return ContractColumn(name="outcome", type=kind, egress=egress, classification="operational")


def values(distinct: int, *, is_zero_or_one: bool = False) -> dict[str, int | bool]:
    return {"distinct": distinct, "is_zero_or_one": is_zero_or_one}


@pytest.mark.parametrize("task", module.TASK_DRAFTS)
def test_each_draft_is_of_a_task_that_ships(task: str):
    names = (find_task(task).__name__, f"{find_task(task).__name__}Criteria")
    assert set(names) <= set(module.TASK_DRAFTS[task].imports)


@pytest.mark.parametrize(
    ("kind", "landed", "task"),
    [
        ("bool", None, "binary"), ("string", None, "multiclass"), ("string", LabelValues(5, False), "multiclass"),
        ("float64", None, "regression"), ("decimal128(12, 2)", None, "regression"),
        ("int64", LabelValues(2, True), "binary"), ("int64", LabelValues(21, False), "regression"),
        ("int64", LabelValues(20, False), None), ("int64", LabelValues(0, False), None), ("int64", None, None),
    ],
)  # fmt: skip
def test_a_task_is_inferred_from_type_and_values(kind: str, landed: LabelValues | None, task: str | None):
    choice = infer_task(label(kind), landed)
    assert (choice.task if choice else None) == task


def test_a_text_with_a_value_for_each_row_is_no_label(stub_worker: StubWorker):
    calls = stub_worker(module, values(2_001))
    with pytest.raises(ProjectError, match="outcome has 2,001 different values"):
        choose_task(PROJECT, "orders", label("string"), None)
    assert calls == [("label-values", "orders", {"column": "outcome"})]


def test_a_requested_task_must_fit_the_type(stub_worker: StubWorker):
    calls = stub_worker(module, DOWN)
    assert choose_task(PROJECT, "orders", label("int64"), "multiclass").task == "multiclass"
    with pytest.raises(ProjectError, match="has type string; a label of the task regression") as refused:
        choose_task(PROJECT, "orders", label("string"), "regression")
    assert "--task multiclass" in refused.value.fix
    assert calls == []


@pytest.mark.parametrize("column", [label("date32"), label("bool", egress="never"), label("string", egress="masked")])
def test_an_unsuitable_label_is_refused(column: ContractColumn):
    with pytest.raises(ProjectError, match="a label is plain: a boolean, a number or text"):
        choose_task(PROJECT, "orders", column, None)


def test_without_data_and_terminal_the_user_must_name_the_task(stub_worker: StubWorker):
    stub_worker(module, DOWN)
    with pytest.raises(
        ProjectError, match="not clear: whole numbers may be classes or amounts, and no edition has the table yet"
    ) as refused:
        choose_task(PROJECT, "orders", label("int64"), None)
    assert refused.value.fix == "pass --task binary or --task multiclass or --task regression"


def test_at_a_terminal_the_user_is_asked(stub_worker: StubWorker, monkeypatch: pytest.MonkeyPatch):
    stub_worker(module, values(7))
    questions: list[str] = []

    def answer(text: str, **_: Any) -> str:
        questions.append(text)
        return "regression"

    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(click, "prompt", answer)
    assert choose_task(PROJECT, "orders", label("int64"), None).task == "regression"
    assert questions == ["what to predict of outcome (it has 7 different values)"]


def test_each_task_has_its_template():
    assert {*module.TASK_DRAFTS} == {
        path.name.removeprefix("task_").removesuffix(".py.tmpl")
        for path in (Path(module.__file__).parents[1] / "templates" / "model").glob("task_*.py.tmpl")
    }
