"""A build with dbt, in a process of project code: one `BuildJob` in, one `BuildResult` out, as JSON.

It needs a process of its own, because dbt keeps global state (adapter, connection, logger) and dbt projects are code.
Error messages contain only counts and names from the project's SQL: an engine's message may quote a value, so only
messages about the SQL itself are returned. What dbt prints may quote a row, and goes to the errors of the process.
"""

from __future__ import annotations

import json
import multiprocessing.context
import re
import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, JsonValue

from wellspring.data.transform.source_digest import is_source_file
from wellspring.data.transform.table_versions import CompiledModel
from wellspring.errors import Unavailable
from wellspring.query.port import FULL_RUN, LANDED_SCHEMA, DbtBackend, DbtDialect, DbtRun, DbtSource
from wellspring.query.registry import open_query_engine
from wellspring.records.record import Frozen

DBT_PROFILE = "wellspring"
# A row of the table in which dbt reports how a model differs from its contract.
CONTRACT_MISMATCH_ROW = re.compile(r"\|\s*(\w+)\s*\|[^|\n]*\|[^|\n]*\|\s*((?:missing in|data type)[\w ]*?)\s*\|")
# A kind of error and the engine's message; dbt's own line before it has no colon.
ERROR_KIND_LINE = re.compile(r"^\s*([A-Z][a-z]+(?: [A-Z][a-z]+)? Error)\b(: [^\n]*)?", re.MULTILINE)
QUOTED_TEXT = re.compile(r"""(["'`])(.*?)\1""")
WORD_PATTERN = re.compile(r"\w+")
MAX_MESSAGE_LENGTH = 300


class BuildJob(Frozen):
    """One build. For each audit instant the build is repeated, without tests, from the rows recorded up to it.

    engine: name and options of the query engine. project_dir: folder of the dbt project. scratch_dir: the only folder
    that the build writes to. sources: the landed tables by name.
    """

    engine: str
    engine_options: dict[str, JsonValue] = {}
    project_dir: str
    scratch_dir: str
    sources: dict[str, DbtSource]
    audit_instants: tuple[str, ...] = ()


class ExportedTable(Frozen):
    """A built table, exported by each run. name: also of its file. keys: the key columns from its `meta`.

    model: dbt's unique id of its model.
    """

    name: str = Field(pattern=r"^\w[\w.-]*$", max_length=200)
    model: str = ""
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
    models: as they were compiled for the full run. has_hooks: whether the project has hooks or operations.
    """

    tables: tuple[ExportedTable, ...] = ()
    problems: tuple[BuildProblem, ...] = ()
    passed_tests: int = 0
    warned_tests: tuple[str, ...] = ()
    models: tuple[CompiledModel, ...] = ()
    has_hooks: bool = False


def run_build(job: BuildJob) -> BuildResult:
    """Run dbt over all rows and once per audit instant, and export each table with a contract."""
    backend = _open_backend(job)
    runs = list_runs(Path(job.scratch_dir), job.audit_instants)
    _write_profiles(job, runs, backend)
    parsed = _invoke_dbt("parse", job)
    if not parsed.success:
        failure = f"the dbt project cannot be read: {_shorten_text(parsed.exception)}"
        return BuildResult(problems=(_project_problem(failure),))
    problems = tuple(_project_problems(parsed.result, job, backend.dialect))
    if problems:
        return BuildResult(problems=problems)
    build_result = BuildResult()
    for run in runs:
        # Tests run only on the build that is published.
        command = "build" if run.audit_instant is None else "run"
        dbt_result = _invoke_dbt(command, job, run=run.name, manifest=parsed.result)
        problems = tuple(_run_problems(dbt_result, run, _declared_columns(parsed.result), backend.dialect))
        if problems or not dbt_result.success:
            message = _describe_error(dbt_result.exception, backend.dialect)
            return BuildResult(problems=problems or (_project_problem(message),))
        written = [_export_table(node, run, backend) for node in _contracted_models(parsed.result)]
        if run.audit_instant is None:
            tests = [
                test_result for test_result in dbt_result.result.results if test_result.node.resource_type == "test"
            ]
            build_result = BuildResult(
                tables=tuple(written),
                passed_tests=sum(1 for test in tests if test.status == "pass"),
                warned_tests=tuple(sorted(test.node.name for test in tests if test.status == "warn")),
                models=_list_compiled(parsed.result, dbt_result.result.results),
                has_hooks=_has_hooks(parsed.result),
            )
    return build_result


def list_runs(scratch: Path, audit_instants: Sequence[str]) -> tuple[DbtRun, ...]:
    """List the runs of a build: over all rows, then one for each audit instant."""
    audits = (DbtRun(f"audit-{number}", scratch, instant) for number, instant in enumerate(audit_instants))
    return DbtRun(FULL_RUN, scratch, None), *audits


# --- running dbt ------------------------------------------------------------------------------------------------------


def _open_backend(job: BuildJob) -> DbtBackend:
    backend = open_query_engine(job.engine, job.engine_options).dbt
    if backend is None:
        raise Unavailable(f"dbt cannot build on {job.engine}", fix="choose another engine in [query]")
    return backend


def _invoke_dbt(command: str, job: BuildJob, *, run: str = FULL_RUN, manifest: Any = None) -> Any:
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
    switches = (
        "--quiet", "--no-partial-parse", "--no-version-check", "--no-send-anonymous-usage-stats", "--no-write-json",
    )  # fmt: skip
    flags = [word for option in options.items() for word in option]
    return dbtRunner(manifest=manifest).invoke([*switches, command, *flags])


def _write_profiles(job: BuildJob, runs: Sequence[DbtRun], backend: DbtBackend) -> None:
    """Write dbt's profiles.yml with one target per run; the file contains no secret."""
    outputs = {run.name: backend.dbt_profile(run, job.sources) for run in runs}
    # JSON is valid YAML.
    profiles = json.dumps({DBT_PROFILE: {"target": FULL_RUN, "outputs": outputs}})
    (Path(job.scratch_dir) / "profiles.yml").write_text(profiles)


def _export_table(node: Any, run: DbtRun, backend: DbtBackend) -> ExportedTable:
    """Export one table, sorted, so that equal rows give an equal result regardless of threads."""
    keys = _key_columns(node)
    columns = tuple(node.columns)
    sort_columns = [*keys, *(name for name in ("known_since", "sequence") if name in columns)]
    rows = backend.export_table(node.relation_name, node.name, run, sort_columns)
    return ExportedTable(name=node.name, model=node.unique_id, keys=keys, columns=columns, rows=rows)


def _list_compiled(manifest: Any, results: Any) -> tuple[CompiledModel, ...]:
    """List the models with the SQL that was run."""
    compiled = {node_result.node.unique_id: node_result.node.compiled_code or "" for node_result in results}
    return tuple(
        CompiledModel(name=node.unique_id, sql=compiled.get(node.unique_id, ""), upstream=node.depends_on.nodes)
        for node in _enabled_models(manifest)
    )


def _has_hooks(manifest: Any) -> bool:
    nodes = manifest.nodes.values()
    hooks = [getattr(node.config, name, ()) for node in nodes for name in ("pre_hook", "post_hook")]
    return any(hooks) or any(node.resource_type == "operation" for node in nodes)


def _project_problem(message: str) -> BuildProblem:
    return BuildProblem(kind="project", node="dbt_project.yml", message=message)


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


def _project_problems(manifest: Any, job: BuildJob, dialect: DbtDialect) -> list[BuildProblem]:
    """List the problems that dbt does not report: missing sources and tables that cannot be audited."""
    problems: list[BuildProblem] = []
    # Seeds have no `depends_on.nodes`.
    used_ids = {name for node in manifest.nodes.values() for name in getattr(node.depends_on, "nodes", ())}
    for unique_id, source_node in sorted(manifest.sources.items()):
        if source_node.schema != LANDED_SCHEMA:
            message = f"source {source_node.name} has schema {source_node.schema}; use {LANDED_SCHEMA}"
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
            if str(node.columns[name].data_type).lower() in dialect.inexact_types:
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


def _run_problems(dbt_result: Any, run: DbtRun, columns: frozenset[str], dialect: DbtDialect) -> list[BuildProblem]:
    if dbt_result.result is None:
        return []
    problems: list[BuildProblem] = []
    for node_result in dbt_result.result.results:
        node = node_result.node
        if node_result.status == "fail" and node.resource_type == "test":
            problems.append(_test_problem(node, int(node_result.failures or 0)))
        elif node_result.status in {"error", "runtime error", "fail"}:
            instant_note = "" if run.audit_instant is None else f", on the rows recorded up to {run.audit_instant}"
            node_label = f"{node.resource_type} {node.name} ({node.original_file_path})"
            error = _describe_error(node_result.message, dialect, node, columns)
            message = f"{node_label} failed{instant_note}: {error}"
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


def _describe_error(message: Any, dialect: DbtDialect, node: Any = None, columns: frozenset[str] = frozenset()) -> str:
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
                _strip_quoted(kind + detail, node, columns | dialect.type_words)[:MAX_MESSAGE_LENGTH]
                if kind in dialect.sql_error_kinds
                else kind
            )
    if kinds:
        return kinds[-1][0]
    return type(message).__name__ if isinstance(message, BaseException) else "unknown error"


def _strip_quoted(message: str, node: Any, columns: frozenset[str]) -> str:
    """Redact words that are not in the project's code from quoted text and from text that Jinja inserted in the SQL."""
    code = _code_words(node) | columns
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


def import_libraries() -> None:
    """Import dbt, which takes seconds, so that forks of this process do not."""
    _use_thread_locks()
    with suppress(ModuleNotFoundError):
        import dbt.cli.main  # noqa: F401


def run_request(request: bytes) -> bytes:
    """Run a `BuildJob` as JSON, and return the `BuildResult` as JSON."""
    _use_thread_locks()
    return run_build(BuildJob.model_validate_json(request)).model_dump_json().encode()


def _use_thread_locks() -> None:
    """Replace the locks of multiprocessing, which need /dev/shm. A process of project code has no children."""
    for name, create in (("Lock", threading.Lock), ("RLock", threading.RLock)):
        setattr(multiprocessing.context.BaseContext, name, staticmethod(create))
