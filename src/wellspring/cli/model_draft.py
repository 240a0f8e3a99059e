"""The draft of a model: checks of the request against the contract, and the values of the model templates."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from wellspring.cli.task_draft import TASK_DRAFTS
from wellspring.errors import NotFound, ProjectError, suggest_name
from wellspring.project import Project

if TYPE_CHECKING:
    from wellspring.records.contracts import ContractColumn, DataContract

NAME_PATTERN = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_RESERVED_COLUMNS = {
    "known_at", "instant", "is_request", "outcome_known", "outcome_known_at", "hit", "sequence", "known_since",
    "row_number", "drop_id", "replay_number", "tenant",
}  # fmt: skip
"""Column names that the drafted SQL or the lake uses."""
_SQL_TYPES = {"string": "varchar", "int64": "bigint", "float64": "double", "bool": "boolean"}
_MODEL_IMPORTS = ("Baseline", "HyperparameterSearch", "Label", "LightGBM", "ModelDefinition", "TimeSplit")
"""The names of `wellspring` that a model file of each task needs."""
_FEAST_TYPES = {"varchar": "String", "bigint": "Int64", "double": "Float64", "boolean": "Bool"}


class ModelRequest(NamedTuple):
    """The table and columns of a model.

    known_column: the instant at which a row is known. outcome_column: the instant at which the outcome is known.
    task: the name of a task in `TASK_DRAFTS`.
    """

    table: str
    key: str
    label: str
    known_column: str
    outcome_column: str
    task: str = "binary"

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the columns of the contract that it names."""
        return (self.key, self.label, self.known_column, self.outcome_column)


class FeatureDraft(NamedTuple):
    """A column of the feature table. own_column: it comes from the row itself, not from earlier outcomes."""

    name: str
    kind: str
    sql: str
    description: str
    own_column: bool = True


def check_request(
    project: Project, table_contract: DataContract, request: ModelRequest, *, has_outcome_column: bool
) -> None:
    """Check a request against its contract. Raises NotFound, and ProjectError with every problem."""
    key, label = request.key, request.label
    columns = {column.name: column for column in table_contract.columns}
    for name in request.columns:
        if name not in columns:
            raise NotFound(
                f"the contract {request.table} has no column {name!r}", fix=suggest_name(name, list(columns))
            )
    problems: list[str] = []
    if columns[key].egress != "token":
        problems.append(f"{key} has egress {columns[key].egress}; the key of a model must be a token")
    for name in dict.fromkeys((request.known_column, request.outcome_column)):
        if columns[name].egress != "plain" or not columns[name].type.startswith(("timestamp", "date")):
            problems.append(f"{name} is not a date or timestamp with egress plain")
    if table_contract.key == (key,) and not has_outcome_column:
        problems.append(
            f"{request.table} has one row per {key}, and no column gives the instant at which {label} is known: add "
            f"--answered COLUMN (--answered {request.known_column} if the {key} comes again in a later drop)"
        )
    problems += _column_name_problems(columns, request)
    if problems:
        raise ProjectError(
            "\n".join(problems), fix=f"edit {project.contracts_dir / request.table}.odcs.yaml, or choose another column"
        )


def _column_name_problems(columns: Mapping[str, ContractColumn], request: ModelRequest) -> list[str]:
    usable_names = [column.name for column in columns.values() if column.egress not in ("never", "masked")]
    problems = [f"{name} is not a valid feature name" for name in usable_names if not NAME_PATTERN.fullmatch(name)]
    problems += [f"{name} is a reserved column name" for name in usable_names if name in _RESERVED_COLUMNS]
    token_columns = _token_columns(columns, request.key)
    feature_names = [feature.name for feature in _draft_features(columns, token_columns, request)]
    duplicate_names = {
        name
        for name in feature_names
        if feature_names.count(name) > 1 or name in (request.key, request.label, *token_columns)
    }
    return [*problems, *(f"{name} would be the name of two columns" for name in sorted(duplicate_names))]


def _token_columns(columns: Mapping[str, ContractColumn], key: str) -> list[str]:
    return [column.name for column in columns.values() if column.egress == "token" and column.name != key]


def _draft_features(
    columns: Mapping[str, ContractColumn], token_columns: Sequence[str], request: ModelRequest
) -> Iterator[FeatureDraft]:
    for column in columns.values():
        readable_name, name = column.name.replace("_", " "), column.name
        # The outcome column is left out: the instant of the outcome reveals the outcome.
        if name in (request.label, request.known_column, request.outcome_column) or column.egress in (
            "token",
            "never",
            "masked",
        ):
            continue
        if column.egress == "plain" and column.type.startswith(("date", "timestamp")):
            sql = f"date_diff('day', row_.\"{name}\"::date, row_.known_at::date)"
            yield FeatureDraft(f"{name}_days", "bigint", sql, f"days since {readable_name}, when it was recorded")
        else:
            kind = "bigint" if column.egress == "year" else _SQL_TYPES.get(column.type, "double")
            yield FeatureDraft(name, kind, f'row_."{name}"::{kind}', f"its {readable_name}")
    draft = TASK_DRAFTS[request.task]
    for scope in ("all", *token_columns):
        scope_text = "everything" if scope == "all" else f"the same {scope.replace('_', ' ')}"
        readable_label = request.label.replace("_", " ")
        yield FeatureDraft(
            f"{scope}_{draft.history}", draft.feature_type, draft.feature_sql.format(scope=scope),
            draft.description.format(label=readable_label, scope=scope_text), own_column=False,
        )  # fmt: skip
        # The number of all outcomes is left out: it only measures the length of the history.
        if scope == "all":
            continue
        yield FeatureDraft(
            f"{scope}_outcomes", "bigint", f"coalesce(counted.{scope}_outcomes, 0)::bigint",
            f"outcomes of {scope_text} that became known in the 90 days before", own_column=False,
        )  # fmt: skip


def template_values(name: str, columns: Mapping[str, ContractColumn], request: ModelRequest) -> dict[str, str]:
    """Return the placeholder values of the model templates for a table; column names are quoted."""
    token_columns, key, draft = _token_columns(columns, request.key), request.key, TASK_DRAFTS[request.task]
    features = list(_draft_features(columns, token_columns, request))
    windows: list[str] = []
    for scope in ("all", *token_columns):
        over = "{{ before(90) }}" if scope == "all" else f"{{{{ before(90, '\"{scope}\"') }}}}"
        windows += [
            f"    {aggregate} over {over} as {scope}_{suffix}"
            for aggregate, suffix in (("sum(outcome_known)", "outcomes"), (draft.window.format(key=key), "hits"))
        ]
    key_columns = (key, *token_columns)
    selected_columns = [f'  row_."{column}"' for column in key_columns]
    selected_columns += [f'  ({feature.sql})::{feature.kind} as "{feature.name}"' for feature in features]
    format_column = '      - {{name: "{0}", quote: true, data_type: {1}, description: "{2}"{3}}}'.format
    column_docs = [
        format_column(column, "varchar", f"the {column}, as a token", ", data_tests: [not_null]" * (column == key))
        for column in key_columns
    ]
    column_docs += [format_column(feature.name, feature.kind, feature.description, "") for feature in features]
    format_field = '        Field(name="{0}", dtype={1}, description="{2}"),'.format
    fields = [format_field(feature.name, _FEAST_TYPES[feature.kind], feature.description) for feature in features]
    baseline_columns = [feature.name for feature in features if feature.own_column] or [f"all_{draft.history}"]
    staged_columns = [f'  "{column.name}"' for column in columns.values() if column.egress not in ("never", "masked")]
    outcome_known_at, outcome = "known_at", f'"{request.label}" is not null'
    if request.outcome_column != request.known_column:
        # An outcome is known once it has both occurred and been recorded; without its instant it is not known.
        outcome_known_at = f'greatest(known_at, "{request.outcome_column}"::timestamptz)'
        outcome += f' and "{request.outcome_column}" is not null'
    return {
        "table": request.table,
        "key": key,
        "label": request.label,
        "known_column": request.known_column,
        "outcome_known_at": outcome_known_at,
        "outcome": outcome,
        "staged": ",\n".join(staged_columns),
        "listed": "\n".join(column_docs),
        "windows": ",\n".join(windows),
        "selected": ",\n".join(selected_columns),
        "carried": ", ".join(f'"{column}"' for column in key_columns),
        "fields": "\n".join(fields),
        "baseline_columns": "\n".join(f'    "{name}_features:{column}",' for column in baseline_columns),
        "entity_column": (token_columns or [key])[0],
        "history_feature": f"{(token_columns or ['all'])[0]}_{draft.history}",
        "history_sql": draft.history_sql.format(label=request.label),
        "label_type": draft.label_type,
        "heuristic": draft.heuristic,
        "imports": "\n".join(f"    {name}," for name in sorted((*_MODEL_IMPORTS, *draft.imports), key=str.casefold)),
        "article": "an" if key[0] in "aeio" else "a",
    }
