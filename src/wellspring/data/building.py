"""The child process in which dbt runs: one job on standard input, one answer on standard output, both JSON.

`python -m wellspring.data.building`. A process of its own, because dbt keeps state of the process (its adapter, its
connection, its logger) and takes a second to import. It is confined like its parent, sees no catalog and no ledger,
and can write only below its scratch folder. What it says of a failure are names from the project's own SQL and counts;
an engine's words may quote a value, so only those about the SQL itself are passed on.
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

from wellspring.data import plugin
from wellspring.data.code import is_code
from wellspring.data.fence import write_only_below
from wellspring.records.record import Frozen

PROFILE = "wellspring"
BUILT = "built"
"""The schema of what dbt builds, in its own database in memory, which spills when memory is short."""
ABOUT_SQL = re.compile(r"(?:Parser|Binder|Catalog|Permission) Error")
# A row of the table in which dbt says how a model differs from its contract.
UNLIKE = re.compile(r"\|\s*(\w+)\s*\|[^|\n]*\|[^|\n]*\|\s*((?:missing in|data type)[\w ]*?)\s*\|")
# A kind of error, and what the engine says of it; dbt's own line before it has no colon.
KIND = re.compile(r"^\s*([A-Z][a-z]+(?: [A-Z][a-z]+)? Error)\b(: [^\n]*)?", re.MULTILINE)
QUOTED = re.compile(r"""(["'`])(.*?)\1""")
WORD = re.compile(r"\w+")
TYPES = frozenset(
    "VARCHAR BIGINT INTEGER HUGEINT DOUBLE FLOAT DECIMAL BOOLEAN DATE TIME TIMESTAMP WITH ZONE INTERVAL".split()
)
HUGE = frozenset({"hugeint", "int128", "uhugeint", "uint128"})
LONGEST = 300
PR_SET_PDEATHSIG = 1


class Source(Frozen):
    """A landed table. files: its Parquet files in the edition; known: of these columns the first that is there says
    when a row was known."""

    files: tuple[str, ...]
    known: tuple[str, ...]


class Job(Frozen):
    """What to build. cuts: instants; for each the same is built again from the rows recorded up to it, without tests.

    project: dbt's folder. scratch: where all is written; the tables go to `scratch/full` and `scratch/cut-N`.
    """

    project: str
    scratch: str
    sources: dict[str, Source]
    cuts: tuple[str, ...] = ()


class Table(Frozen):
    """A built table, as Parquet in each run's folder. keys: from its `meta`, what one row is about."""

    name: str
    keys: tuple[str, ...]
    columns: tuple[str, ...]
    rows: int


class Problem(Frozen):
    """What went wrong, in words without a value of the data. node: dbt's name of it; count: rows that a test found."""

    kind: Literal["project", "model", "test"]
    node: str
    what: str
    column: str | None = None
    count: int | None = None


class Answer(Frozen):
    """What came of a job: tables, or problems and then no table counts.

    tests: how many held. warned: those of severity `warn` that found something; they stop nothing.
    """

    tables: tuple[Table, ...] = ()
    problems: tuple[Problem, ...] = ()
    tests: int = 0
    warned: tuple[str, ...] = ()


def build(job: Job) -> Answer:
    """Run dbt over the sources, once whole and once for each cut, and write each table with a contract as Parquet."""
    scratch = Path(job.scratch)
    runs: dict[str, str | None] = {"full": None, **{f"cut-{n}": cut for n, cut in enumerate(job.cuts)}}
    _write_profiles(job, scratch, runs)
    parsed = _invoke("parse", job)
    if not parsed.success:
        said = f"the dbt project cannot be read: {_words(parsed.exception)}"
        return Answer(problems=(Problem(kind="project", node="dbt_project.yml", what=said),))
    problems = tuple(_unfit(parsed.result, job))
    if problems:
        return Answer(problems=problems)
    answer = Answer()
    for run, cut in runs.items():
        # Tests judge what is published; a cut only tells what was known when.
        ran = _invoke("build" if cut is None else "run", job, run=run, manifest=parsed.result)
        problems = tuple(_problems(ran, cut, _columns(parsed.result)))
        if problems or not ran.success:
            said = Problem(kind="project", node="dbt_project.yml", what=_about(ran.exception))
            return Answer(problems=problems or (said,))
        written = [_export(node, scratch / run) for node in _with_contract(parsed.result)]
        if cut is None:
            tests = [each for each in ran.result.results if each.node.resource_type == "test"]
            answer = Answer(
                tables=tuple(written),
                tests=sum(1 for each in tests if each.status == "pass"),
                warned=tuple(sorted(each.node.name for each in tests if each.status == "warn")),
            )
    return answer


# --- asking dbt -------------------------------------------------------------------------------------------------------


def _invoke(command: str, job: Job, *, run: str = "full", manifest: Any = None) -> Any:
    from dbt.cli.main import dbtRunner

    scratch = Path(job.scratch)
    given = {
        "--project-dir": job.project,
        "--profiles-dir": str(scratch),
        "--profile": PROFILE,
        "--target": run,
        "--target-path": str(scratch / "target"),
        "--log-path": str(scratch / "log"),
        "--log-level": "none",
        "--log-level-file": "none",
    }
    switches = ("--quiet", "--no-partial-parse", "--no-version-check", "--no-send-anonymous-usage-stats")
    flags = [word for pair in given.items() for word in pair]
    return dbtRunner(manifest=manifest).invoke([*switches, command, *flags])


def _write_profiles(job: Job, scratch: Path, runs: dict[str, str | None]) -> None:
    """Write how dbt reaches its database: in memory, so that nothing of it stays. There is no secret in it."""
    outputs: dict[str, Any] = {}
    for run, cut in runs.items():
        (scratch / run).mkdir()
        config = {
            "sources": {name: each.model_dump(mode="json") for name, each in job.sources.items()},
            "cut": cut,
            "folder": str(scratch / run),
            # DuckDB lets SQL read and write where it spills: what one run leaves there is not for the next.
            "spill": str(scratch / f"{run}-spill"),
        }
        loaded = {"module": plugin.MODULE, "alias": plugin.SCHEMA, "config": config}
        outputs[run] = {"type": "duckdb", "path": ":memory:", "schema": BUILT, "threads": 2, "plugins": [loaded]}
    # JSON is YAML.
    (scratch / "profiles.yml").write_text(json.dumps({PROFILE: {"target": "full", "outputs": outputs}}))


def _export(node: Any, folder: Path) -> Table:
    """Write one table, sorted, so that equal rows make an equal file whatever the threads did."""
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager

    keys = _keys(node)
    columns = tuple(node.columns)
    order = [*keys, *(name for name in ("known_since", "sequence") if name in columns)]
    environment: Any = DuckDBConnectionManager.env()
    cursor = environment.handle().cursor()
    ordered = ", ".join(f'"{name}"' for name in order)
    target = str(folder / f"{node.name}.parquet").replace("'", "''")
    select = f"select * from {node.relation_name} order by {ordered}"  # noqa: S608 (names of dbt's manifest)
    cursor.execute(f"copy ({select}) to '{target}' (format parquet)")
    (rows,) = cursor.fetchone()
    return Table(name=node.name, keys=keys, columns=columns, rows=int(rows))


# --- judging the project ----------------------------------------------------------------------------------------------


def _models(manifest: Any) -> list[Any]:
    nodes = [each for each in manifest.nodes.values() if each.resource_type == "model" and each.config.enabled]
    return sorted(nodes, key=lambda node: node.name)


def _with_contract(manifest: Any) -> list[Any]:
    """List what leaves the child: the models that keep a contract."""
    return [node for node in _models(manifest) if node.config.contract.enforced]


def _keys(node: Any) -> tuple[str, ...]:
    said = (node.config.meta or {}).get("keys") or (node.meta or {}).get("keys") or ()
    return tuple(map(str, said)) if isinstance(said, list) else ()


def _unfit(manifest: Any, job: Job) -> list[Problem]:
    """Say what no engine would find: sources that the edition lacks, and tables that cannot be judged."""
    found: list[Problem] = []
    # A seed depends on macros alone.
    used = {name for node in manifest.nodes.values() for name in getattr(node.depends_on, "nodes", ())}
    for unique_id, each in sorted(manifest.sources.items()):
        if each.schema != plugin.SCHEMA:
            what = (
                f"source {each.name} has schema {each.schema}; the tables of an edition are in schema {plugin.SCHEMA}"
            )
            found.append(Problem(kind="project", node=each.name, what=what))
        elif unique_id in used and each.identifier not in job.sources:
            what = f"source {each.name} is in no drop that was published yet"
            found.append(Problem(kind="project", node=each.name, what=what))
    found += _misplaced(manifest)
    built = _with_contract(manifest)
    if not built:
        what = "no model has an enforced contract, so nothing would be built"
        found.append(Problem(kind="project", node="dbt_project.yml", what=what))
    for node in _models(manifest):
        if node.language != "sql":
            found.append(Problem(kind="project", node=node.name, what=f"model {node.name} is not SQL"))
    for name, times in sorted(Counter(node.name for node in built).items()):
        if times > 1:
            what = f"model {name} stands there {times} times (a version of a model needs a name of its own)"
            found.append(Problem(kind="project", node=name, what=what))
    for node in built:
        columns, keys = set(node.columns), _keys(node)
        for name in sorted(columns):
            # In Parquet it would be a float without a word, and a sum of money no longer exact.
            if str(node.columns[name].data_type).lower() in HUGE:
                what = f"model {node.name}: {name} is {node.columns[name].data_type}; cast it to bigint or decimal"
                found.append(Problem(kind="project", node=node.name, what=what))
        if not keys or not set(keys) <= columns:
            what = f"model {node.name} names no columns as its keys (config: meta: keys: [...])"
            found.append(Problem(kind="project", node=node.name, what=what))
        if node.config.materialized != "table":
            what = f"model {node.name} has a contract, so it must be materialized as a table"
            found.append(Problem(kind="project", node=node.name, what=what))
        if node.name in job.sources:
            what = f"model {node.name} has the name of a landed table"
            found.append(Problem(kind="project", node=node.name, what=what))
        if ("known_since" in columns) != ("sequence" in columns):
            what = f"model {node.name} needs both known_since and sequence to be a feature table, or neither"
            found.append(Problem(kind="project", node=node.name, what=what))
    return found


def _misplaced(manifest: Any) -> list[Problem]:
    """Find what dbt takes from elsewhere than the edition and the code that the build's digest tells of."""
    found = [
        Problem(kind="project", node=node.name, what=f"seed {node.name}: data comes in as drops")
        for node in sorted(manifest.nodes.values(), key=lambda node: node.name)
        if node.resource_type == "seed"
    ]
    own = [each for each in (*manifest.nodes.values(), *manifest.macros.values()) if _is_own(each, manifest)]
    for place in sorted({each.original_file_path for each in own}):
        if not is_code(Path(place), Path()):
            what = f"{place} lies where no digest of the code tells of it; move it"
            found.append(Problem(kind="project", node="dbt_project.yml", what=what))
    return found


def _is_own(each: Any, manifest: Any) -> bool:
    return each.package_name == manifest.metadata.project_name


def _columns(manifest: Any) -> frozenset[str]:
    """Name the columns that somebody wrote down: no name among them comes from a row."""
    return frozenset(name for each in (*manifest.nodes.values(), *manifest.sources.values()) for name in each.columns)


# --- saying what went wrong -------------------------------------------------------------------------------------------


def _problems(ran: Any, cut: str | None, columns: frozenset[str]) -> list[Problem]:
    if ran.result is None:
        return []
    found: list[Problem] = []
    for each in ran.result.results:
        node = each.node
        if each.status == "fail" and node.resource_type == "test":
            found.append(_failed_test(node, int(each.failures or 0)))
        elif each.status in {"error", "runtime error", "fail"}:
            when = "" if cut is None else f", on the rows recorded up to {cut}"
            named = f"{node.resource_type} {node.name} ({node.original_file_path})"
            what = f"{named} did not run{when}: {_about(each.message, node, columns)}"
            found.append(Problem(kind="model", node=node.name, what=what))
    return found


def _failed_test(node: Any, count: int) -> Problem:
    """Say in words what a test found: how many, never which."""
    metadata = getattr(node, "test_metadata", None)
    rows = "1 row" if count == 1 else f"{count} rows"
    if metadata is None:
        return Problem(kind="test", node=node.name, what=f"test {node.name} found {rows}", count=count)
    of = str(getattr(node, "attached_node", None) or "").rpartition(".")[2] or "a source"
    column = getattr(node, "column_name", None)
    words = {
        "unique": f"{count} values of {of}.{column} stand there more than once",
        "not_null": f"{rows} of {of} without {column}",
        "accepted_values": f"{count} values of {of}.{column} are none of the accepted ones",
        "relationships": f"{rows} of {of} whose {column} is not in {metadata.kwargs.get('to')}",
    }
    found = words.get(metadata.name, f"{rows} of {of}")
    return Problem(kind="test", node=node.name, what=f"test {node.name} found {found}", column=column, count=count)


def _about(message: Any, node: Any = None, columns: frozenset[str] = frozenset()) -> str:
    """Pass on what is said about the SQL; of any other error only its kind. columns: names that may be said."""
    text = str(message or "").strip()
    if unlike := UNLIKE.findall(text):
        told = [f"{name if name in columns or name in _code(node) else '…'} ({why})" for name, why in unlike]
        return "its columns are not those of its contract: " + "; ".join(told)
    kinds = KIND.findall(text)
    for kind, said in kinds:
        # What stands behind the engine's own line may be a value that looks like one.
        if said:
            return _own(kind + said, node, columns)[:LONGEST] if ABOUT_SQL.fullmatch(kind) else kind
    if kinds:
        return kinds[-1][0]
    return type(message).__name__ if isinstance(message, BaseException) else "no kind of error"


def _own(said: str, node: Any, columns: frozenset[str]) -> str:
    """Leave out what nobody wrote: of what is quoted, and of what Jinja put into the SQL, the words not in the code."""
    code = _code(node) | columns | TYPES
    rendered = set(WORD.findall(str(getattr(node, "compiled_code", None) or ""))) - code
    said = QUOTED.sub(lambda part: part[1] + _without(set(WORD.findall(part[2])) - code, part[2]) + part[1], said)
    return _without(rendered, said)


def _code(node: Any) -> set[str]:
    return set(WORD.findall(str(getattr(node, "raw_code", None) or "")))


def _without(words: set[str], said: str) -> str:
    return WORD.sub(lambda word: "…" if word[0] in words else word[0], said)


def _words(text: Any) -> str:
    return " ".join(re.sub(r"-{4,}", " ", str(text or "")).split())[:LONGEST]


def main() -> None:
    """Read one job, answer it in one line."""
    # With the parent gone nobody commits what is built.
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # dbt prints, and what it prints may quote a row: only the answer leaves by standard output.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    # Locks of one process, and there is no other: the real ones need a file in /dev/shm, closed to a confined process.
    multiprocessing.context.BaseContext.Lock = lambda self: threading.Lock()  # pyright: ignore[reportAttributeAccessIssue]
    multiprocessing.context.BaseContext.RLock = lambda self: threading.RLock()  # pyright: ignore[reportAttributeAccessIssue]
    job = Job.model_validate_json(sys.stdin.read())
    # Its parent may write the whole lake; what a project's code can reach beyond its SQL must not.
    write_only_below(Path(job.scratch))
    print(build(job).model_dump_json(), file=answers, flush=True)


if __name__ == "__main__":
    main()
