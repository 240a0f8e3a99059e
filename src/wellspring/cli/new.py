"""new project | contract | model: drafts that run as they are, for a person to read and to mend."""

from __future__ import annotations

import glob
import keyword
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, NamedTuple

import click

from wellspring.cli.context import CliContext, LazyGroup
from wellspring.cli.render import render_table
from wellspring.errors import NotFound, ProjectError, Refused
from wellspring.project import PROJECT_FILE, Project, suggest_name

if TYPE_CHECKING:
    from wellspring.records.data import ContractColumn, DataContract

TEMPLATES = Path(__file__).parents[1] / "templates"
TEMPLATE_SUFFIX = ".tmpl"
"""The end of a template's name: none of them is a module, a policy or SQL of the house's own."""
_MAX_NAME_LENGTH = 40
_NAME_PATTERN = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_RESERVED_COLUMNS = {
    *"known_at instant asked told told_at hit sequence known_since row_number drop_id part tenant".split()
}
"""What the drafted SQL, or the lake, calls its own."""


@click.group(cls=LazyGroup)
def new() -> None:
    """Begin something: a project, a contract drafted from a CSV file, a model of a table."""


@new.command("project")
@click.argument("name")
@click.pass_obj
def new_project(ctx: CliContext, name: str) -> int:
    """Lay out a project in a new folder NAME (or in --project FOLDER), whose own tests pass as they are."""
    if not re.fullmatch(r"[a-z][a-z0-9_]{1,39}", name):
        raise click.UsageError("a project's name is 2 to 40 lower-case letters, digits and _, and begins with a letter")
    folder = (ctx.folder or Path(name)).absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Refused(f"{folder} holds something already", fix="name a new folder, or an empty one")
    values = {"name": name, "tenant": name.replace("_", "-").rstrip("-")}
    files = {}
    for path in sorted((TEMPLATES / "project").rglob(f"*{TEMPLATE_SUFFIX}")):
        relative_path = (
            path.relative_to(TEMPLATES / "project").as_posix().removesuffix(TEMPLATE_SUFFIX).replace("dot-", ".")
        )
        files[folder / relative_path] = Template(path.read_text(encoding="utf-8")).substitute(values)
    write_new_files(files)
    for empty_folder in ("contracts", "models", "dbt/models", "dbt/tests"):
        (folder / empty_folder).mkdir(parents=True, exist_ok=True)
    nested = folder.parent == Path.cwd()
    ctx.echo(f"project {name} in {folder}: {len(files)} files; its people are ann (author) and bob (approver)")
    ctx.print_result(
        {"project": name, "folder": str(folder), "files": sorted(map(str, files))},
        next_command=f"cd {folder.name if nested else folder} && wellspring new contract ../FILE.csv",
    )
    return 0


@new.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--name", "called", help="What the table is called; else as the file.")
@click.pass_obj
def contract(ctx: CliContext, file: Path, name_override: str | None) -> int:
    """Draft a contract from the header and the values of a CSV FILE; all that is guessed is told, for you to mend.

    No value of the file is shown or kept. What looks like an identity leaves as a token; what looks personal, or is not
    plainly a number, a date or a code that is nobody's own, never leaves until you say so.
    """
    from wellspring.data.contracts import inference
    from wellspring.data.formats import untrusted_csv

    project = ctx.load_project()
    name = name_override or re.sub(r"[^a-z0-9]+", "_", re.sub(r"[-_. ]*[0-9][-_.0-9]*$", "", file.stem.lower())).strip(
        "_"
    )
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,62}", name):
        raise click.UsageError(f"{file.name} gives no name for a table; say one with --name")
    rows = untrusted_csv.read_untrusted_csv(file)
    inferred_columns = [
        inference.infer_column(column_name, rows.column(column_name)) for column_name in rows.column_names
    ]
    key = inference.infer_primary_key(rows, inferred_columns)
    files = f"{glob.escape(file.stem.rstrip('0123456789-_.'))}*{glob.escape(file.suffix)}"
    path = project.contracts_dir / f"{name}.odcs.yaml"
    source = next(iter(project.sources))
    owner = f"owner@{project.name.replace('_', '-')}.example"
    write_new_files(
        {
            path: inference.render_contract(
                name, source=source, glob=files, owner=owner, columns=inferred_columns, primary_key=key
            )
        }
    )
    with ExitStack() as undo:
        undo.callback(path.unlink)
        _load_contract(project, name)
        undo.pop_all()
    ctx.echo(f"a draft of {path}, guessed from {rows.num_rows:,} rows; read it and mend it:")
    column_rows = [(inferred_column.name, inferred_column.type, inferred_column.egress + (f" ({inferred_column.domain})" if inferred_column.domain else ""), inferred_column.evidence)
             for inferred_column in inferred_columns]  # fmt: skip
    ctx.echo(render_table(("column", "type", "egress", "evidence"), column_rows))
    ctx.echo(f"key: {' + '.join(key) or 'none was found, so a row that comes twice is kept twice'}")
    ctx.echo(
        f"files: {files} of {source}; owner: {owner}, which is nobody yet; a column that is not named never leaves"
    )
    plain_columns = [inferred_column.name for inferred_column in inferred_columns if inferred_column.egress == "plain"]
    ctx.echo(_describe_plain_columns(plain_columns))
    document = {"contract": str(path), "files": files, "key": list(key), "plain": plain_columns}
    ctx.print_result(
        {**document, "columns": [inferred_column._asdict() for inferred_column in inferred_columns]},
        next_command=_next_ingest_command(project, source, file),
    )
    return 0


def _describe_plain_columns(plain_columns: Sequence[str]) -> str:
    if not plain_columns:
        return "no column leaves as it is: open by hand, in the contract, what is surely nobody's own"
    summary = (
        f"{len(plain_columns)} columns leave as they are" if len(plain_columns) > 1 else "1 column leaves as it is"
    )
    return f"{summary}: {', '.join(plain_columns)} - check {'them' if len(plain_columns) > 1 else 'it'} before `wellspring ingest`"


@new.command()
@click.argument("name")
@click.option("--table", required=True, help="The table that a contract names.")
@click.option("--key", required=True, help="The column that says what is asked about; it leaves as a token.")
@click.option("--label", required=True, help="The column to foretell: yes or no, empty until it is known.")
@click.option("--known", required=True, help="The column that says when a row was known, and so when it is asked.")
@click.option("--answered", help="The column that says when the outcome was known, where it stands in the same row.")
@click.pass_obj
def model(ctx: CliContext, name: str, outcome_column: str | None, **columns: str) -> int:
    """Write all that the model NAME needs: SQL with its tests, a view in features.py, models/NAME.py and a policy.

    It knows the table's own columns, and how often the outcome came before: of all, and of each other token.
    It is asked when a key's first row is known, so the outcome must be known later: in a later row, or by --answered.
    """
    project, request = ctx.load_project(), _ModelRequest(outcome_column=outcome_column or columns["known"], **columns)
    if not _NAME_PATTERN.fullmatch(name) or len(name) > _MAX_NAME_LENGTH or keyword.iskeyword(name):
        raise click.UsageError(
            "a model's name is lower-case words joined by single underscores, and no word of Python's"
        )
    source_paths = project.source_paths
    if missing_sections := sorted({"dbt", "features", "models"} - set(source_paths)):
        raise ProjectError(
            f"{project.root / PROJECT_FILE} has no [{missing_sections[0]}]",
            fix="add the section, or begin a new project",
        )
    table_contract = _load_contract(project, request.table)
    contract_columns = {column.name: column for column in table_contract.columns}
    _check_request(project, table_contract, contract_columns, request, has_outcome_column=outcome_column is not None)
    staging_folder, marts_folder = source_paths["dbt"] / "models" / "staging", source_paths["dbt"] / "models" / "marts"
    files = {
        marts_folder / f"{name}_features.sql": "features.sql", marts_folder / f"{name}_label.sql": "label.sql",
        marts_folder / f"{name}.yml": "marts.yml", source_paths["models"] / f"{name}.py": "model.py",
        source_paths["policies"] / f"{name}.cedar": "policy.cedar",
    }  # fmt: skip
    # A second model of the same table stands on the same first step, which may be somebody's by now.
    if not (staging_folder / f"stg_{request.table}.sql").exists():
        files |= {
            staging_folder / f"stg_{request.table}.sql": "staging.sql",
            staging_folder / f"{request.table}.yml": "staging.yml",
        }
    values = {
        "name": name,
        "project": project.name,
        **request._asdict(),
        **_model_terms(name, contract_columns, request),
    }
    features_text = source_paths["features"].read_text(encoding="utf-8") if source_paths["features"].is_file() else ""
    if f"{name}_features" in features_text:
        raise Refused(
            f"{source_paths['features']} has a view {name}_features already", fix="give the model another name"
        )
    write_new_files({path: _fill_template(template, values) for path, template in files.items()})
    with source_paths["features"].open("a", encoding="utf-8") as file:
        file.write(_fill_template("view.py", values))
    written = [path.relative_to(project.root).as_posix() for path in files]
    for item in written:
        ctx.echo(f"  wrote {item}")
    ctx.echo(f"  added the view {name}_features to {source_paths['features'].relative_to(project.root)}")
    excluded_columns = [
        contract_column.name
        for contract_column in contract_columns.values()
        if contract_column.egress in ("never", "masked")
    ]
    ctx.echo(
        f"not learned from: {', '.join(excluded_columns) or 'nothing'} (of its contract), and tokens but for their history"
    )
    if request.outcome_column != request.known_column:
        ctx.echo(
            f"every other column is taken for known at {request.known_column}: take out of {name}_features.sql, {name}.yml and"
        )
        ctx.echo(f"features.py what was filled in later, as {request.label} was; the house cannot tell that by itself")
    if "recorded_at" not in contract_columns:
        ctx.echo(
            "no column is called recorded_at (when the supplier recorded the row): what knew the future cannot be told"
        )
        ctx.echo("from the rest, and no model of this table passes the gate until the supplier sends that column")
    ctx.print_result({"model": name, "files": written}, next_command="wellspring transform")
    return 0


def write_new_files(files: Mapping[Path, str]) -> None:
    """Write new files, all or none. Raises Refused, before the first, when one of them is there already."""
    if existing_files := [str(path) for path in files if path.exists()]:
        raise Refused(f"there already: {', '.join(existing_files)}", fix="move it away, or choose another name")
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)


# --- a contract -------------------------------------------------------------------------------------------------------


def _next_ingest_command(project: Project, source: str, file: Path) -> str:
    """Say the next command: the servers may be up already, and a drop has to lie in its source."""
    from wellspring.supervisor import client

    rows = client.list_server_status(project)
    if not rows or any(row.state != "up" for row in rows):
        return "wellspring up"
    source_settings = project.sources[source]
    if source_settings.address != "embedded":
        return f"wellspring ingest {source}    (once {file.name} lies in {source_settings.folder} of {source_settings.address})"
    outbox = project.vendor_dir / source_settings.folder
    outbox_path = outbox.relative_to(Path.cwd()) if outbox.is_relative_to(Path.cwd()) else outbox
    return f"cp {shlex.quote(str(file))} {shlex.quote(str(outbox_path))}/ && wellspring ingest {source}"


def _load_contract(project: Project, name: str) -> DataContract:
    """Read one of the project's contracts. Raises NotFound with the nearest name, ProjectError."""
    from wellspring.data.contracts import contract as contracts
    from wellspring.records.clock import SystemClock

    path = project.contracts_dir / f"{name}.odcs.yaml"
    if not path.is_file():
        contract_names = [
            item.name.removesuffix(".odcs.yaml") for item in project.contracts_dir.glob(contracts.CONTRACT_GLOB)
        ]
        raise NotFound(f"no contract {name!r} in {project.contracts_dir}", fix=suggest_name(name, contract_names))
    return contracts.load_contract(path, tenant=project.tenant, known_since=SystemClock().now())


# --- a model ----------------------------------------------------------------------------------------------------------


class _ModelRequest(NamedTuple):
    """What a model is asked for. known, answered: the columns of when it is asked, and of when its outcome is known."""

    table: str
    key: str
    label: str
    known_column: str
    outcome_column: str


def _check_request(
    project: Project,
    table_contract: DataContract,
    columns: Mapping[str, ContractColumn],
    request: _ModelRequest,
    *,
    has_outcome_column: bool,
) -> None:
    """Hold what was asked for against the contract. told: --answered was. Raises NotFound, ProjectError."""
    key, label = request.key, request.label
    for item in request[1:]:
        if item not in columns:
            raise NotFound(
                f"the contract {request.table} has no column {item!r}", fix=suggest_name(item, list(columns))
            )
    problems = []
    if columns[key].egress != "token":
        problems.append(f"{key} leaves as {columns[key].egress}, and what is asked about is a token")
    if columns[label].egress != "plain" or columns[label].type not in ("bool", "int64"):
        problems.append(
            f"{label} is {columns[label].type} and leaves as {columns[label].egress}; it is yes or no, as_is"
        )
    for fromkey in dict.fromkeys((request.known_column, request.outcome_column)):
        if columns[fromkey].egress != "plain" or not columns[fromkey].type.startswith(("timestamp", "date")):
            problems.append(f"{fromkey} is no instant that leaves as it is")
    if table_contract.key == (key,) and not has_outcome_column:
        problems.append(
            f"{request.table} has one row of each {key}, and nothing says when its {label} was known: say --answered "
            f"COLUMN (--answered {request.known_column}, if the {key} comes again in a later drop)"
        )
    usable_names = [column.name for column in columns.values() if column.egress not in ("never", "masked")]
    problems += [
        f"{usable_name} is no name for a feature"
        for usable_name in usable_names
        if not _NAME_PATTERN.fullmatch(usable_name)
    ]
    problems += [
        f"{usable_name} is a name of the house's own"
        for usable_name in usable_names
        if usable_name in _RESERVED_COLUMNS
    ]
    feature_names = [
        draft_feature.name for draft_feature in _draft_features(columns, _token_columns(columns, key), request)
    ]
    duplicate_names = sorted(
        {
            feature_name
            for feature_name in feature_names
            if feature_names.count(feature_name) > 1 or feature_name in (key, label, *_token_columns(columns, key))
        }
    )
    problems += [f"{duplicate_name} would stand there twice" for duplicate_name in duplicate_names]
    if problems:
        raise ProjectError(
            "\n".join(problems), fix=f"edit {project.contracts_dir / request.table}.odcs.yaml, or choose another column"
        )


class _FeatureDraft(NamedTuple):
    """A column of the feature table. how: its SQL; own: what the row itself says, not its history."""

    name: str
    kind: str
    sql: str
    description: str
    own_column: bool = True


_SQL_TYPES = {"string": "varchar", "int64": "bigint", "float64": "double", "bool": "boolean"}
_FEAST_TYPES = {"varchar": "String", "bigint": "Int64", "double": "Float64", "boolean": "Bool"}


def _token_columns(columns: Mapping[str, ContractColumn], key: str) -> list[str]:
    return [column.name for column in columns.values() if column.egress == "token" and column.name != key]


def _draft_features(
    columns: Mapping[str, ContractColumn], token_columns: Sequence[str], request: _ModelRequest
) -> Iterator[_FeatureDraft]:
    for column in columns.values():
        readable_name, name = column.name.replace("_", " "), column.name
        # When the outcome was known tells of the outcome.
        if name in (request.label, request.known_column, request.outcome_column) or column.egress in (
            "token",
            "never",
            "masked",
        ):
            continue
        if column.egress == "plain" and column.type.startswith(("date", "timestamp")):
            sql = f"date_diff('day', row_.\"{name}\"::date, row_.known_at::date)"
            yield _FeatureDraft(f"{name}_days", "bigint", sql, f"days since {readable_name}, when it was recorded")
        else:
            kind = {"year": "bigint", "prefix(3)": "varchar"}.get(column.egress) or _SQL_TYPES.get(
                column.type, "double"
            )
            yield _FeatureDraft(name, kind, f'row_."{name}"::{kind}', f"its {readable_name}")
    for item in ("all", *token_columns):
        scope = "everything" if item == "all" else f"the same {item.replace('_', ' ')}"
        readable_label = request.label.replace("_", " ")
        yield _FeatureDraft(f"{item}_rate", "double", f"counted.{item}_hits / nullif(counted.{item}_told, 0)",
                       f"how often {readable_label} came, of {scope}, told in the 90 days before", False)  # fmt: skip
        # How much was told of everything only says how long the history is.
        if item == "all":
            continue
        yield _FeatureDraft(f"{item}_told", "bigint", f"coalesce(counted.{item}_told, 0)::bigint",
                       f"outcomes of {scope} that were told in the 90 days before", False)  # fmt: skip


def _model_terms(name: str, columns: Mapping[str, ContractColumn], request: _ModelRequest) -> dict[str, str]:
    """Write the parts of the templates that follow from the table's columns; each of its names is quoted."""
    token_columns, key = _token_columns(columns, request.key), request.key
    features = list(_draft_features(columns, token_columns, request))
    windows: list[str] = []
    for item in ("all", *token_columns):
        over = "{{ before(90) }}" if item == "all" else f"{{{{ before(90, '\"{item}\"') }}}}"
        windows += [
            f"    sum({indicator}) over {over} as {item}_{suffix}"
            for indicator, suffix in (("told", "told"), ("hit", "hits"))
        ]
    selected_columns = [f'  row_."{item}"' for item in (key, *token_columns)]
    selected_columns += [f'  ({feature.sql})::{feature.kind} as "{feature.name}"' for feature in features]
    format_column = '      - {{name: "{0}", quote: true, data_type: {1}, description: "{2}"{3}}}'.format
    column_docs = [format_column(item, "varchar", f"the {item}, by its token", ", data_tests: [not_null]" if item == key else "")
              for item in (key, *token_columns)]  # fmt: skip
    column_docs += [format_column(feature.name, feature.kind, feature.description, "") for feature in features]
    fields = [f'        Field(name="{feature.name}", dtype={_FEAST_TYPES[feature.kind]}, description="{feature.description}"),'
              for feature in features]  # fmt: skip
    baseline_columns = [feature.name for feature in features if feature.own_column] or ["all_rate"]
    staged_columns = [f'  "{column.name}"' for column in columns.values() if column.egress not in ("never", "masked")]
    has_outcome_instant = request.outcome_column != request.known_column
    return {
        "staged": ",\n".join(staged_columns), "listed": "\n".join(column_docs), "windows": ",\n".join(windows),
        "selected": ",\n".join(selected_columns), "carried": ", ".join(f'"{item}"' for item in (key, *token_columns)),
        "fields": "\n".join(fields), "raw": "\n".join(f'            "{name}_features:{baseline_column}",' for baseline_column in baseline_columns),
        "who": (token_columns or [key])[0], "rate": f"{(token_columns or ['all'])[0]}_rate",
        "article": "an" if key[0] in "aeio" else "a",
        # Known when it was both told and recorded; one without its instant is not known yet.
        "told": f'greatest(known_at, "{request.outcome_column}"::timestamptz)' if has_outcome_instant else "known_at",
        "outcome": f'"{request.label}" is not null' + (f' and "{request.outcome_column}" is not null' if has_outcome_instant else ""),
    }  # fmt: skip


def _fill_template(template: str, values: Mapping[str, str]) -> str:
    return Template((TEMPLATES / "model" / f"{template}{TEMPLATE_SUFFIX}").read_text(encoding="utf-8")).substitute(
        values
    )
