"""Transform: from one landed edition to the built one, by dbt, with the question which column knew the future.

Life of a build. dbt runs in a child process (`building`) over the files of the landed edition and nothing else, and
writes Parquet into a scratch folder. The same is built again from the rows that were recorded up to some earlier
instants: a history that holds what was known then is the same in both; a column that differs had looked ahead, and
is named. Then the tables are audited, written to the lake, read back and published with the landed tables as one.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pydantic import JsonValue

from wellspring.data import building, editions
from wellspring.data.building import Answer, Job, Source, Table
from wellspring.data.code import code_digest
from wellspring.data.cuts import cuts_of, known_by
from wellspring.data.leaks import leaks_between
from wellspring.errors import Broken, ProjectError, Refused, Unavailable
from wellspring.project import FILE, Project
from wellspring.records.data import Edition
from wellspring.records.observe import Step
from wellspring.records.record import Digest
from wellspring.records.trust import Ref
from wellspring.records.verdict import Reason, Verdict

if TYPE_CHECKING:
    import pyarrow as pa

    from wellspring.data.lake import Lake

PATIENCE = 3600
MAKERS = ("wellspring", "dbt-core", "dbt-adapters", "dbt-duckdb", "duckdb", "pyarrow")
"""The distributions whose versions decide, beside edition and code, what comes out."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
YEARS = (datetime(1, 1, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC))


class Built(NamedTuple):
    """A built edition. leaks: `table.column` that knew the future; fresh: whether this call made the edition."""

    edition: Edition
    leaks: tuple[str, ...]
    fresh: bool


def transform(lake: Lake, here: Project, landed: Edition, *, step: Step) -> Built:
    """Build from exactly one landed edition and publish it; the same edition, code and tools change nothing.

    A leak stops nothing here: the gate refuses models that use such a column. Raises ProjectError for a dbt project
    that does not run, Refused when its tests find something or when readers are past this edition already.
    """
    if landed.level != "landed":
        raise Refused(f"edition {landed.id} is a built one", fix="build from a landed edition")
    folder = here.own.get("dbt")
    if folder is None or not (folder / "dbt_project.yml").is_file():
        raise ProjectError(
            f"{here.root / FILE} names no dbt project", fix="add a [dbt] section, and dbt_project.yml in its folder"
        )
    code, tools = code_digest(folder), _tools()
    if same := _same(lake, landed, code, tools):
        return same
    _refuse_backward(lake, landed)
    inputs = [
        Ref(name=landed.subject, digest=editions.digest(landed)),
        Ref(name=f"dbt:{here.name}", digest=code),
    ]
    with _scratch(lake.built.folder) as scratch:
        with step("transform", f"dbt:{here.name}", inputs=inputs) as act:
            sources = _sources(lake, landed, scratch)
            cuts = cuts_of(sources)
            answer = _judged(run(Job(project=str(folder), scratch=str(scratch), sources=sources, cuts=cuts)), landed)
            tables = {each.name: _audited(each, scratch) for each in answer.tables}
            leaks, audited = _leaks(answer, cuts, scratch)
            rows: dict[str, JsonValue] = {each.name: each.rows for each in answer.tables}
            act.note(rows=rows, tests=answer.tests, warned=list[JsonValue](answer.warned), tools=tools)
            act.note(cuts=list[JsonValue](cuts), leaks=list[JsonValue](leaks), audited=audited)
        marks = {"landed": landed.id, "code": code, "tools": tools, "leaks": ",".join(leaks)}
        written = [lake.built.write(each.name, tables[each.name], _order(each), marks) for each in answer.tables]
    edition = editions.compose(
        level="built",
        parent=landed.id,
        tables=[*landed.tables, *(snapshot for snapshot, _ in written)],
        drops=(),
        tenant=lake.tenant,
        known_since=lake.clock.now(),
    )
    outputs = [ref for _, ref in written]
    facts: dict[str, JsonValue] = {"leaks": list[JsonValue](leaks), "audited": audited}
    lake.built.publish(edition, inputs=inputs, outputs=outputs, facts=facts, step=step)
    return Built(edition, leaks, True)


def run(job: Job) -> Answer:
    """Have a child process do a job. Raises Unavailable when it dies or dbt is not installed."""
    if importlib.util.find_spec("dbt") is None:
        raise Unavailable("dbt is not installed", fix="pip install 'wellspring[dbt]'")
    # Nothing is inherited: no token, no proxy, no settings of another dbt.
    environment = {
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "HOME": job.scratch,
        "TMPDIR": job.scratch,
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    try:
        ran = subprocess.run(
            [sys.executable, "-P", "-m", building.__name__],
            input=job.model_dump_json().encode(),
            capture_output=True,
            cwd=job.scratch,
            env=environment,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"dbt was not done after {PATIENCE} seconds", fix="look for what holds it up") from None
    if ran.returncode != 0 or not ran.stdout:
        # The name of what it died of, and no word more: the words may quote a row.
        names = re.findall(rb"^([A-Za-z_.]*(?:Error|Exception|Interrupt))\b", ran.stderr, re.MULTILINE)
        died = names[-1].decode() if names else "no word"
        raise Unavailable(
            f"the process that runs dbt ended with {ran.returncode} and {died}", fix="free memory and disk, try again"
        )
    return Answer.model_validate_json(ran.stdout)


# --- before -----------------------------------------------------------------------------------------------------------


def _tools() -> str:
    """Name what makes the build, with its version; what is not installed is left out."""
    found = {(each.metadata["Name"] or "").lower(): each.version for each in importlib.metadata.distributions()}
    return ", ".join(f"{name} {found[name]}" for name in MAKERS if name in found)


def _same(lake: Lake, landed: Edition, code: Digest, tools: str) -> Built | None:
    """Return what was built of this edition by this code and these tools, if that is what readers see."""
    now = lake.edition(level="built")
    if now is None or now.parent != landed.id:
        return None
    marks = lake.built.marks(now).values()
    if not marks or any((each.get("code"), each.get("tools")) != (code, tools) for each in marks):
        return None
    leaks = sorted({leak for each in marks for leak in each.get("leaks", "").split(",") if leak})
    return Built(now, tuple(leaks), False)


def _refuse_backward(lake: Lake, landed: Edition) -> None:
    now = lake.edition(level="built")
    former = lake.edition(now.parent) if now is not None and now.parent else None
    if former is not None and former.known_since > landed.known_since:
        raise Refused(
            f"readers are at tables built from {former.id}, which is newer than {landed.id}",
            fix="build from the newest landed edition",
        )


@contextmanager
def _scratch(lake: Path) -> Generator[Path]:
    """Give a folder for one build, inside the lake's: tokens do not lie about in the machine's temporary files."""
    beside = lake / "building"
    # One writer at a time: whatever lies here is what a killed build left.
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True, mode=0o700)
    try:
        yield Path(tempfile.mkdtemp(dir=beside))
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _sources(lake: Lake, landed: Edition, scratch: Path) -> dict[str, Source]:
    """Name the files of each table as this edition holds it, and the columns that say when a row was recorded."""
    import pyarrow.parquet as pq

    found: dict[str, Source] = {}
    for each in landed.tables:
        files = lake.files(landed, each.table)
        if not files:
            # Every drop of it was empty: its columns are known all the same.
            empty = scratch / f"{each.table}.parquet"
            pq.write_table(lake.table(landed, each.table), empty)
            files = [str(empty)]
        found[each.table] = Source(files=tuple(files), known=known_by(each.table, map(pq.read_schema, files)))
    return found


# --- after ------------------------------------------------------------------------------------------------------------


def _judged(answer: Answer, landed: Edition) -> Answer:
    """Return an answer without problems. Raises ProjectError for code that does not run, Refused for failed tests."""
    if not answer.problems:
        return answer
    broken = [each for each in answer.problems if each.kind != "test"]
    said = "\n".join(dict.fromkeys(each.what for each in (broken or answer.problems)))
    if broken:
        raise ProjectError(f"dbt could not build edition {landed.id}:\n{said}", fix="mend the dbt project")
    reasons = tuple(
        Reason(code="dbt_test", what=each.what, column=each.column, count=each.count) for each in answer.problems
    )
    raise Refused(
        f"what dbt built from edition {landed.id} does not keep its tests; readers keep the last good edition:\n{said}",
        fix="mend the model, or ask the supplier about the data",
        verdict=Verdict(subject=landed.subject, outcome="fail", reasons=reasons),
    )


def _order(table: Table) -> list[str]:
    """Name the columns that a table is sorted by; no two rows are equal in all of them."""
    return [*table.keys, *(name for name in ("known_since", "sequence") if name in table.columns)]


def _audited(table: Table, scratch: Path) -> pa.Table:
    """Read a table back from where dbt wrote it, and judge it. Raises Broken, or ProjectError for a bad table."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = pq.read_table(scratch / "full" / f"{table.name}.parquet")
    if rows.num_rows != table.rows or set(rows.column_names) != set(table.columns):
        raise Broken(f"table {table.name} is not in its file as dbt built it", fix="check the disk, then build again")
    wrong = _unkeepable(rows)
    wanted = {"known_since": pa.timestamp("us", tz="UTC"), "sequence": pa.int64()}
    wrong += [
        f"{name} is no {kind}"
        for name, kind in wanted.items()
        if name in table.columns and rows.schema.field(name).type != kind
    ]
    order = _order(table)
    wrong += [f"{name} is empty in some rows" for name in order if rows[name].null_count]
    if not wrong and rows.group_by(order).aggregate([]).num_rows != rows.num_rows:
        wrong.append(f"two rows have the same {', '.join(order)}")
    if wrong:
        raise ProjectError(f"model {table.name}: {'; '.join(wrong)}", fix="mend the model")
    return rows


def _unkeepable(rows: pa.Table) -> list[str]:
    """Say which columns lake, digest and models would not hold as they are."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as kind

    plain = {
        pa.bool_(), pa.int32(), pa.int64(), pa.float32(), pa.float64(), pa.string(), pa.date32(), pa.timestamp("us"),
        pa.timestamp("us", "UTC"),
    }  # fmt: skip
    wrong = [
        f"{field.name} is {field.type}; cast it"
        for field in rows.schema
        if field.type not in plain and not kind.is_decimal128(field.type)
    ]
    for field in rows.schema:
        if field.type not in plain or not kind.is_temporal(field.type):
            continue
        # Infinity is a number like any other in the file, and a year that nothing can show.
        days = field.type == pa.date32()
        ends = [(each - EPOCH) // timedelta(days=1 if days else 0, microseconds=0 if days else 1) for each in YEARS]
        numbers = rows[field.name].cast(pa.int32() if days else pa.int64())
        outside = pc.any(pc.or_(pc.less(numbers, ends[0]), pc.greater(numbers, ends[1])))
        if outside.as_py():
            wrong.append(f"{field.name} holds days outside the years 1 to 9999")
    return wrong


def _leaks(answer: Answer, cuts: tuple[str, ...], scratch: Path) -> tuple[tuple[str, ...], dict[str, JsonValue]]:
    """Compare each feature table with itself as built from what was known at each cut.

    Returns the columns that differ, and how many rows of each table were compared, at the cut that had the most.
    """
    found: set[str] = set()
    audited: dict[str, JsonValue] = {}
    for each in answer.tables:
        if "known_since" not in each.columns:
            continue
        rows = [0]
        for number, cut in enumerate(cuts):
            whole, past = (str(scratch / run / f"{each.name}.parquet") for run in ("full", f"cut-{number}"))
            compared = leaks_between(whole, past, cut=cut, keys=each.keys)
            found |= {f"{each.name}.{column}" for column in compared.leaks}
            rows.append(compared.rows)
        audited[each.name] = max(rows)
    return tuple(sorted(found)), audited
