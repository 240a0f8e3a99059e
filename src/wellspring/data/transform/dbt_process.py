"""The child process that runs dbt: reads one job from standard input, writes one result to standard output, as JSON.

Started as `python -m wellspring.data.transform.dbt_process`. It is a separate process because dbt keeps global state
(adapter, connection, logger) and takes a second to import. It is confined like its parent, has no access to the
catalog and the ledger, and can write only below its scratch folder. Error messages contain only counts and names from
the project's SQL: an engine's message may quote a value, so only messages about the SQL itself are returned.
"""

from __future__ import annotations

import ctypes
import json
import multiprocessing.context
import os
import re
import signal
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any, Literal

from wellspring.data.transform import dbt_plugin
from wellspring.data.transform.source_digest import is_source_file
from wellspring.records.record import Frozen
from wellspring.runtime.landlock import restrict_writes_to

DBT_PROFILE = "wellspring"
BUILT_SCHEMA = "built"
"""The schema of the tables that dbt builds, in an in-memory database that spills to disk."""
SQL_ERROR_KINDS = re.compile(r"(?:Parser|Binder|Catalog|Permission) Error")
# A row of the table in which dbt reports how a model differs from its contract.
CONTRACT_MISMATCH_ROW = re.compile(r"\|\s*(\w+)\s*\|[^|\n]*\|[^|\n]*\|\s*((?:missing in|data type)[\w ]*?)\s*\|")
# A kind of error and the engine's message; dbt's own line before it has no colon.
ERROR_KIND_LINE = re.compile(r"^\s*([A-Z][a-z]+(?: [A-Z][a-z]+)? Error)\b(: [^\n]*)?", re.MULTILINE)
QUOTED_TEXT = re.compile(r"""(["'`])(.*?)\1""")
WORD_PATTERN = re.compile(r"\w+")
SQL_TYPE_WORDS = frozenset(
    "VARCHAR BIGINT INTEGER HUGEINT DOUBLE FLOAT DECIMAL BOOLEAN DATE TIME TIMESTAMP WITH ZONE INTERVAL".split()
)
HUGE_INTEGER_TYPES = frozenset({"hugeint", "int128", "uhugeint", "uint128"})
MAX_MESSAGE_LENGTH = 300
PR_SET_PDEATHSIG = 1


class SourceTable(Frozen):
    """A landed table: its Parquet files in the edition, and its recording columns; the first non-null one counts."""

    files: tuple[str, ...]
    known_since_columns: tuple[str, ...]


class BuildJob(Frozen):
    """One build. For each audit instant the build is repeated, without tests, from the rows recorded up to it.

    project_dir: folder of the dbt project. scratch_dir: output folder; tables go to its `full` and `audit-N` folders.
    """

    project_dir: str
    scratch_dir: str
    sources: dict[str, SourceTable]
    audit_instants: tuple[str, ...] = ()


class ExportedTable(Frozen):
    """A built table, as Parquet in each run's folder. keys: the key columns from its `meta`."""

    name: str
    keys: tuple[str, ...]
    columns: tuple[str, ...]
    rows: int


class BuildProblem(Frozen):
    """A problem, described without values of the data. node: dbt's node name; count: rows that a test returned."""

    kind: Literal["project", "model", "test"]
    node: str
    message: str
    column: str | None = None
    count: int | None = None


class BuildResult(Frozen):
    """The result of a job: tables, or problems; with problems the tables are invalid.

    passed_tests: number of passed tests. warned_tests: failed tests of severity `warn`, which do not fail the build.
    """

    tables: tuple[ExportedTable, ...] = ()
    problems: tuple[BuildProblem, ...] = ()
    passed_tests: int = 0
    warned_tests: tuple[str, ...] = ()


def run_build(job: BuildJob) -> BuildResult:
    """Run dbt over all rows and once per audit instant, and write each table with a contract as Parquet."""
    scratch = Path(job.scratch_dir)
    audit_runs = {f"audit-{number}": audit_instant for number, audit_instant in enumerate(job.audit_instants)}
    runs: dict[str, str | None] = {"full": None, **audit_runs}
    _write_profiles(job, scratch, runs)
    parsed = _invoke_dbt("parse", job)
    if not parsed.success:
        failure = f"the dbt project cannot be read: {_shorten_text(parsed.exception)}"
        return BuildResult(problems=(BuildProblem(kind="project", node="dbt_project.yml", message=failure),))
    problems = tuple(_project_problems(parsed.result, job))
    if problems:
        return BuildResult(problems=problems)
    build_result = BuildResult()
    for run, audit_instant in runs.items():
        # Tests run only on the build that is published.
        dbt_result = _invoke_dbt("build" if audit_instant is None else "run", job, run=run, manifest=parsed.result)
        problems = tuple(_run_problems(dbt_result, audit_instant, _declared_columns(parsed.result)))
        if problems or not dbt_result.success:
            failure = BuildProblem(
                kind="project", node="dbt_project.yml", message=_describe_error(dbt_result.exception)
            )
            return BuildResult(problems=problems or (failure,))
        written = [_export_table(node, scratch / run) for node in _contracted_models(parsed.result)]
        if audit_instant is None:
            tests = [
                test_result for test_result in dbt_result.result.results if test_result.node.resource_type == "test"
            ]
            build_result = BuildResult(
                tables=tuple(written),
                passed_tests=sum(1 for test in tests if test.status == "pass"),
                warned_tests=tuple(sorted(test.node.name for test in tests if test.status == "warn")),
            )
    return build_result


# --- running dbt ------------------------------------------------------------------------------------------------------


def _invoke_dbt(command: str, job: BuildJob, *, run: str = "full", manifest: Any = None) -> Any:
    from dbt.cli.main import dbtRunner

    scratch = Path(job.scratch_dir)
    options = {
        "--project-dir": job.project_dir,
        "--profiles-dir": str(scratch),
        "--profile": DBT_PROFILE,
        "--target": run,
        "--target-path": str(scratch / "target"),
        "--log-path": str(scratch / "log"),
        "--log-level": "none",
        "--log-level-file": "none",
    }
    switches = ("--quiet", "--no-partial-parse", "--no-version-check", "--no-send-anonymous-usage-stats")
    flags = [word for option in options.items() for word in option]
    return dbtRunner(manifest=manifest).invoke([*switches, command, *flags])


def _write_profiles(job: BuildJob, scratch_dir: Path, runs: dict[str, str | None]) -> None:
    """Write dbt's profiles.yml: one target per run, each with an in-memory database; the file contains no secret."""
    outputs: dict[str, Any] = {}
    for run, audit_instant in runs.items():
        (scratch_dir / run).mkdir()
        config = {
            "sources": {name: source_table.model_dump(mode="json") for name, source_table in job.sources.items()},
            "audit_instant": audit_instant,
            "folder": str(scratch_dir / run),
            # SQL can read and write DuckDB's spill folder, so each run has its own.
            "spill": str(scratch_dir / f"{run}-spill"),
        }
        plugin_entry = {"module": dbt_plugin.PLUGIN_MODULE, "alias": dbt_plugin.LANDED_SCHEMA, "config": config}
        outputs[run] = {
            "type": "duckdb",
            "path": ":memory:",
            "schema": BUILT_SCHEMA,
            "threads": 2,
            "plugins": [plugin_entry],
        }
    # JSON is valid YAML.
    (scratch_dir / "profiles.yml").write_text(json.dumps({DBT_PROFILE: {"target": "full", "outputs": outputs}}))


def _export_table(node: Any, folder: Path) -> ExportedTable:
    """Write one table, sorted, so that equal rows give an equal file regardless of threads."""
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager

    keys = _key_columns(node)
    columns = tuple(node.columns)
    sort_columns = [*keys, *(name for name in ("known_since", "sequence") if name in columns)]
    environment: Any = DuckDBConnectionManager.env()
    cursor = environment.handle().cursor()
    order_sql = ", ".join(f'"{name}"' for name in sort_columns)
    target = str(folder / f"{node.name}.parquet").replace("'", "''")
    select_sql = f"select * from {node.relation_name} order by {order_sql}"  # noqa: S608 (names of dbt's manifest)
    cursor.execute(f"copy ({select_sql}) to '{target}' (format parquet)")
    (rows,) = cursor.fetchone()
    return ExportedTable(name=node.name, keys=keys, columns=columns, rows=int(rows))


# --- checking the project ---------------------------------------------------------------------------------------------


def _enabled_models(manifest: Any) -> list[Any]:
    nodes = [
        model_node
        for model_node in manifest.nodes.values()
        if model_node.resource_type == "model" and model_node.config.enabled
    ]
    return sorted(nodes, key=lambda node: node.name)


def _contracted_models(manifest: Any) -> list[Any]:
    """List the models with an enforced contract; only these are exported."""
    return [node for node in _enabled_models(manifest) if node.config.contract.enforced]


def _key_columns(node: Any) -> tuple[str, ...]:
    declared_keys = (node.config.meta or {}).get("keys") or (node.meta or {}).get("keys") or ()
    return tuple(map(str, declared_keys)) if isinstance(declared_keys, list) else ()


def _project_problems(manifest: Any, job: BuildJob) -> list[BuildProblem]:
    """List the problems that dbt does not report: missing sources and tables that cannot be audited."""
    problems: list[BuildProblem] = []
    # Seeds have no `depends_on.nodes`.
    used_ids = {name for node in manifest.nodes.values() for name in getattr(node.depends_on, "nodes", ())}
    for unique_id, source_node in sorted(manifest.sources.items()):
        if source_node.schema != dbt_plugin.LANDED_SCHEMA:
            message = f"source {source_node.name} has schema {source_node.schema}; use {dbt_plugin.LANDED_SCHEMA}"
            problems.append(BuildProblem(kind="project", node=source_node.name, message=message))
        elif unique_id in used_ids and source_node.identifier not in job.sources:
            message = f"source {source_node.name} has no published drop"
            problems.append(BuildProblem(kind="project", node=source_node.name, message=message))
    problems += _misplaced_files(manifest)
    built = _contracted_models(manifest)
    if not built:
        message = "no model has an enforced contract, so nothing would be built"
        problems.append(BuildProblem(kind="project", node="dbt_project.yml", message=message))
    for node in _enabled_models(manifest):
        if node.language != "sql":
            problems.append(BuildProblem(kind="project", node=node.name, message=f"model {node.name} is not SQL"))
    for name, times in sorted(Counter(node.name for node in built).items()):
        if times > 1:
            message = f"model {name} is defined {times} times (give each version of a model its own name)"
            problems.append(BuildProblem(kind="project", node=name, message=message))
    for node in built:
        columns, keys = set(node.columns), _key_columns(node)
        for name in sorted(columns):
            # DuckDB silently writes it to Parquet as a float, which is not exact.
            if str(node.columns[name].data_type).lower() in HUGE_INTEGER_TYPES:
                message = f"model {node.name}: {name} is {node.columns[name].data_type}; cast it to bigint or decimal"
                problems.append(BuildProblem(kind="project", node=node.name, message=message))
        if not keys or not set(keys) <= columns:
            message = f"model {node.name} has no valid key columns (config: meta: keys: [...])"
            problems.append(BuildProblem(kind="project", node=node.name, message=message))
        if node.config.materialized != "table":
            message = f"model {node.name} has a contract; it must be materialized as a table"
            problems.append(BuildProblem(kind="project", node=node.name, message=message))
        if node.name in job.sources:
            message = f"model {node.name} has the name of a landed table"
            problems.append(BuildProblem(kind="project", node=node.name, message=message))
        if ("known_since" in columns) != ("sequence" in columns):
            message = f"model {node.name} needs both known_since and sequence to be a feature table, or neither"
            problems.append(BuildProblem(kind="project", node=node.name, message=message))
    return problems


def _misplaced_files(manifest: Any) -> list[BuildProblem]:
    """List seeds, and source files that the code digest does not cover."""
    problems = [
        BuildProblem(kind="project", node=node.name, message=f"seed {node.name}: deliver data as drops instead")
        for node in sorted(manifest.nodes.values(), key=lambda node: node.name)
        if node.resource_type == "seed"
    ]
    project_nodes = [
        project_node
        for project_node in (*manifest.nodes.values(), *manifest.macros.values())
        if _is_project_node(project_node, manifest)
    ]
    for file_path in sorted({project_node.original_file_path for project_node in project_nodes}):
        if not is_source_file(Path(file_path), Path()):
            message = f"{file_path} is not covered by the code digest; move it to another folder"
            problems.append(BuildProblem(kind="project", node="dbt_project.yml", message=message))
    return problems


def _is_project_node(node: Any, manifest: Any) -> bool:
    return node.package_name == manifest.metadata.project_name


def _declared_columns(manifest: Any) -> frozenset[str]:
    """Return the column names that the project declares; they are not data and may appear in messages."""
    return frozenset(name for node in (*manifest.nodes.values(), *manifest.sources.values()) for name in node.columns)


# --- describing problems ----------------------------------------------------------------------------------------------


def _run_problems(dbt_result: Any, audit_instant: str | None, columns: frozenset[str]) -> list[BuildProblem]:
    if dbt_result.result is None:
        return []
    problems: list[BuildProblem] = []
    for node_result in dbt_result.result.results:
        node = node_result.node
        if node_result.status == "fail" and node.resource_type == "test":
            problems.append(_test_problem(node, int(node_result.failures or 0)))
        elif node_result.status in {"error", "runtime error", "fail"}:
            instant_note = "" if audit_instant is None else f", on the rows recorded up to {audit_instant}"
            node_label = f"{node.resource_type} {node.name} ({node.original_file_path})"
            message = f"{node_label} failed{instant_note}: {_describe_error(node_result.message, node, columns)}"
            problems.append(BuildProblem(kind="model", node=node.name, message=message))
    return problems


def _test_problem(node: Any, count: int) -> BuildProblem:
    """Describe a failed test by the number of rows, without values."""
    metadata = getattr(node, "test_metadata", None)
    rows = "1 row" if count == 1 else f"{count} rows"
    if metadata is None:
        return BuildProblem(kind="test", node=node.name, message=f"test {node.name} failed: {rows}", count=count)
    model_name = str(getattr(node, "attached_node", None) or "").rpartition(".")[2] or "a source"
    column = getattr(node, "column_name", None)
    descriptions = {
        "unique": f"{count} values of {model_name}.{column} occur more than once",
        "not_null": f"{rows} of {model_name} without {column}",
        "accepted_values": f"{count} values of {model_name}.{column} are not accepted",
        "relationships": f"{rows} of {model_name} whose {column} is not in {metadata.kwargs.get('to')}",
    }
    finding = descriptions.get(metadata.name, f"{rows} of {model_name}")
    return BuildProblem(
        kind="test", node=node.name, message=f"test {node.name} failed: {finding}", column=column, count=count
    )


def _describe_error(message: Any, node: Any = None, columns: frozenset[str] = frozenset()) -> str:
    """Return an SQL error's message, and only the kind of any other error. columns: names that may appear in it."""
    text = str(message or "").strip()
    if mismatch_rows := CONTRACT_MISMATCH_ROW.findall(text):
        mismatches = [
            f"{name if name in columns or name in _code_words(node) else '…'} ({difference})"
            for name, difference in mismatch_rows
        ]
        return "its columns differ from its contract: " + "; ".join(mismatches)
    kinds = ERROR_KIND_LINE.findall(text)
    for kind, detail in kinds:
        # Lines after the engine's first error line may contain values.
        if detail:
            return (
                _strip_quoted(kind + detail, node, columns)[:MAX_MESSAGE_LENGTH]
                if SQL_ERROR_KINDS.fullmatch(kind)
                else kind
            )
    if kinds:
        return kinds[-1][0]
    return type(message).__name__ if isinstance(message, BaseException) else "unknown error"


def _strip_quoted(message: str, node: Any, columns: frozenset[str]) -> str:
    """Redact words that are not in the project's code from quoted text and from text that Jinja inserted in the SQL."""
    code = _code_words(node) | columns | SQL_TYPE_WORDS
    rendered = set(WORD_PATTERN.findall(str(getattr(node, "compiled_code", None) or ""))) - code
    message = QUOTED_TEXT.sub(
        lambda quoted: quoted[1] + _redact_words(set(WORD_PATTERN.findall(quoted[2])) - code, quoted[2]) + quoted[1],
        message,
    )
    return _redact_words(rendered, message)


def _code_words(node: Any) -> set[str]:
    return set(WORD_PATTERN.findall(str(getattr(node, "raw_code", None) or "")))


def _redact_words(words: set[str], text: str) -> str:
    return WORD_PATTERN.sub(lambda word: "…" if word[0] in words else word[0], text)


def _shorten_text(text: Any) -> str:
    return " ".join(re.sub(r"-{4,}", " ", str(text or "")).split())[:MAX_MESSAGE_LENGTH]


def main() -> None:
    """Read one job from standard input, run it and print the result as one line."""
    # End with the parent: without it nobody publishes the build.
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # dbt's own output may quote a row: standard output is reserved for the result.
    output = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    # This process has no children, so thread locks suffice; multiprocessing locks need /dev/shm, which is not allowed.
    multiprocessing.context.BaseContext.Lock = lambda self: threading.Lock()  # pyright: ignore[reportAttributeAccessIssue]
    multiprocessing.context.BaseContext.RLock = lambda self: threading.RLock()  # pyright: ignore[reportAttributeAccessIssue]
    job = BuildJob.model_validate_json(sys.stdin.read())
    # The parent may write the whole lake; code of the dbt project must not.
    restrict_writes_to(Path(job.scratch_dir))
    print(run_build(job).model_dump_json(), file=output, flush=True)


if __name__ == "__main__":
    main()
