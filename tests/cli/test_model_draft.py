"""The draft of a model: features and template values for the columns of a contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders.shop import load_orders_contract
from wellspring.cli import cli
from wellspring.cli.context import run_command
from wellspring.cli.model_draft import ModelRequest, check_request, template_values
from wellspring.errors import NotFound, ProjectError
from wellspring.project import load_project

REQUEST = ModelRequest("orders", "order_id", "late", "recorded_at", "recorded_at")


def test_template_values_of_a_table(shop: Path):
    assert run_command(cli, ["new", "contract", "../orders_2026.csv"]) == 0
    columns = {column.name: column for column in load_orders_contract(shop).columns}
    values = template_values("late", columns, REQUEST)
    assert (values["entity_column"], values["history_feature"], values["article"]) == (
        "customer_id",
        "customer_id_rate",
        "an",
    )
    assert values["carried"] == '"order_id", "customer_id"'
    assert "sum(outcome_known) over {{ before(90) }} as all_outcomes" in values["windows"]
    assert "sum(hit) over {{ before(90, '\"customer_id\"') }} as customer_id_hits" in values["windows"]
    assert '"mail"' not in values["staged"] + values["selected"]
    assert values["outcome_known_at"] == "known_at"


def test_an_outcome_instant_of_its_own_delays_the_outcome(shop: Path):
    assert run_command(cli, ["new", "contract", "../orders_2026.csv"]) == 0
    columns = {column.name: column for column in load_orders_contract(shop).columns}
    values = template_values("late", columns, REQUEST._replace(outcome_column="ordered_on"))
    assert values["outcome_known_at"] == 'greatest(known_at, "ordered_on"::timestamptz)'
    assert values["outcome"] == '"late" is not null and "ordered_on" is not null'


def test_a_request_names_all_its_problems(shop: Path):
    assert run_command(cli, ["new", "contract", "../orders_2026.csv"]) == 0
    project, contract = load_project(shop), load_orders_contract(shop)
    check_request(project, contract, REQUEST, has_outcome_column=False)
    with pytest.raises(NotFound, match="no column 'ordre_id'"):
        check_request(project, contract, REQUEST._replace(key="ordre_id"), has_outcome_column=False)
    with pytest.raises(ProjectError, match=r"must be a token\n.*is not a date or timestamp"):
        check_request(project, contract, REQUEST._replace(key="kind", known_column="price"), has_outcome_column=False)


@pytest.mark.parametrize(
    ("task", "feature", "window", "outcome"),
    [
        ("binary", '"customer_id_rate"', "sum(hit) over", '"late"::boolean::integer'),
        ("multiclass", '"customer_id_last"', 'arg_max(hit, (instant, "order_id")) over', '"late"::varchar'),
        ("regression", '"customer_id_mean"', "sum(hit) over", '"late"::decimal(38, 6)'),
    ],
)
def test_the_history_of_the_outcome_fits_the_task(shop: Path, task: str, feature: str, window: str, outcome: str):
    assert run_command(cli, ["new", "contract", "../orders_2026.csv"]) == 0
    columns = {column.name: column for column in load_orders_contract(shop).columns}
    values = template_values("late", columns, REQUEST._replace(task=task))
    assert feature in values["selected"]
    assert window in values["windows"]
    assert values["history_sql"] == outcome
