"""The `new model` command: draft the SQL, feature view, model file and policy of a model of one table."""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping
from pathlib import Path

import click

from wellspring.cli.context import CliContext
from wellspring.cli.model_draft import NAME_PATTERN, ModelRequest, check_request, template_values
from wellspring.cli.new import TEMPLATE_SUFFIX, TEMPLATES, fill_template, write_new_files
from wellspring.cli.new_contract import load_named_contract
from wellspring.cli.task_draft import TASK_DRAFTS, choose_task
from wellspring.errors import ProjectError, Refused
from wellspring.project import PROJECT_FILE, Project
from wellspring.records.contracts import ContractColumn

_MAX_NAME_LENGTH = 40


@click.command()
@click.argument("name")
@click.option("--table", required=True, help="The table, by the name of its contract.")
@click.option("--key", required=True, help="The token column that names the entity to predict for.")
@click.option("--label", required=True, help="The column to predict; empty until the outcome is known.")
@click.option(
    "--task",
    "requested_task",
    type=click.Choice(list(TASK_DRAFTS)),
    help="Two outcomes, several classes, or a number. Default: from the type and the landed values of the label.",
)
@click.option(
    "--known",
    "known_column",
    required=True,
    help="The column with the instant at which a row, and its request, is known.",
)
@click.option(
    "--answered",
    "outcome_column",
    help="The column with the instant at which the outcome is known, if in the same row.",
)
@click.pass_obj
def create_model(
    ctx: CliContext, name: str, outcome_column: str | None, requested_task: str | None, **columns: str
) -> int:
    """Draft the model NAME: SQL with its tests, a view in features.py, models/NAME.py and a policy.

    Its features are the columns of the table, and the outcomes before (their rate, their mean, or the last class):
    overall and per other token.
    A prediction is requested when the first row of a key is known, so the outcome must be known later: in a later row,
    or at the instant in --answered.
    """
    project = ctx.load_project()
    request = ModelRequest(outcome_column=outcome_column or columns["known_column"], **columns)
    if not NAME_PATTERN.fullmatch(name) or len(name) > _MAX_NAME_LENGTH or keyword.iskeyword(name):
        raise click.UsageError(
            "a model name has lower-case words joined by single underscores, and is not a Python keyword"
        )
    _check_sections(project)
    table_contract = load_named_contract(project, request.table)
    contract_columns = {column.name: column for column in table_contract.columns}
    check_request(project, table_contract, request, has_outcome_column=outcome_column is not None)
    choice = choose_task(project, request.table, contract_columns[request.label], requested_task)
    request = request._replace(task=choice.task)
    check_request(project, table_contract, request, has_outcome_column=outcome_column is not None)
    values = {"name": name, "project": project.name, **template_values(name, contract_columns, request)}
    values["task"] = _fill(f"task_{request.task}.py", values)
    files, features_file = _template_files(project, name, request.table), project.source_paths["features"]
    if features_file.is_file() and f"{name}_features" in features_file.read_text(encoding="utf-8"):
        raise Refused(f"{features_file} already has a view {name}_features", fix="give the model another name")
    write_new_files({path: _fill(template, values) for path, template in files.items()})
    with features_file.open("a", encoding="utf-8") as file:
        file.write(_fill("view.py", values))
    written = [path.relative_to(project.root).as_posix() for path in files]
    ctx.echo(f"task {choice.task}: {choice.evidence}")
    for path in written:
        ctx.echo(f"  wrote {path}")
    ctx.echo(f"  added the view {name}_features to {features_file.relative_to(project.root)}")
    _print_advice(ctx, name, contract_columns, request)
    _print_missing_columns(ctx, project.source_paths["dbt"], request.table, contract_columns)
    ctx.print_result({"model": name, "task": choice.task, "files": written}, next_command="wellspring transform")
    return 0


def _check_sections(project: Project) -> None:
    if missing_sections := sorted({"dbt", "features", "models"} - set(project.source_paths)):
        raise ProjectError(
            f"{project.root / PROJECT_FILE} has no [{missing_sections[0]}]",
            fix="add the section, or create a new project",
        )


def _template_files(project: Project, name: str, table: str) -> dict[Path, str]:
    source_paths = project.source_paths
    staging_folder, marts_folder = source_paths["dbt"] / "models" / "staging", source_paths["dbt"] / "models" / "marts"
    files = {
        marts_folder / f"{name}_features.sql": "features.sql", marts_folder / f"{name}_label.sql": "label.sql",
        marts_folder / f"{name}.yml": "marts.yml", source_paths["models"] / f"{name}.py": "model.py",
    }  # fmt: skip
    # Models of one table share its staging model, which may have been edited.
    if not (staging_folder / f"stg_{table}.sql").exists():
        files |= {staging_folder / f"stg_{table}.sql": "staging.sql", staging_folder / f"{table}.yml": "staging.yml"}
    return files


def _print_advice(ctx: CliContext, name: str, columns: Mapping[str, ContractColumn], request: ModelRequest) -> None:
    excluded_columns = [column.name for column in columns.values() if column.egress in ("never", "masked")]
    ctx.echo(
        f"not used for training: {', '.join(excluded_columns) or 'no column'}; of tokens, only their history is used"
    )
    if request.outcome_column != request.known_column:
        ctx.echo(
            f"every other column counts as known at {request.known_column}: remove columns that are filled in later,"
        )
        ctx.echo(
            f"like {request.label}, from {name}_features.sql, {name}.yml and features.py; wellspring cannot detect them"
        )
    if "recorded_at" not in columns:
        ctx.echo("the table has no column recorded_at (the instant at which the supplier recorded the row), so a row")
        ctx.echo(
            "counts as known when it landed: leakage is audited between landings only, and each model card says so"
        )


def _print_missing_columns(
    ctx: CliContext, dbt_folder: Path, table: str, columns: Mapping[str, ContractColumn]
) -> None:
    """Name the columns of the contract that a staging model of an earlier draft does not select."""
    path = dbt_folder / "models" / "staging" / f"stg_{table}.sql"
    text = path.read_text(encoding="utf-8")
    usable = [column.name for column in columns.values() if column.egress not in ("never", "masked")]
    if missing_columns := [name for name in usable if not re.search(rf"\b{re.escape(name)}\b", text)]:
        ctx.echo(f"{path.name} was there before, and does not select {', '.join(missing_columns)}: add what you need")


def _fill(template: str, values: Mapping[str, str]) -> str:
    return fill_template(TEMPLATES / "model" / f"{template}{TEMPLATE_SUFFIX}", values)
