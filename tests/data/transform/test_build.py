"""From one landed edition to the built one: what is published, what is refused, and which column leaks."""

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.builders import dbt_projects as built
from tests.builders import drops, lakes
from tests.builders.project_code import PROJECT_CODE
from tests.builders.recording_step import Died, FixedClock, RecordingStep
from wellspring.bootstrap.lake_ports import open_transform_sources
from wellspring.data.transform import build as build_module
from wellspring.data.transform.build import BuildOutcome
from wellspring.data.transform.dbt_process import BuildJob, BuildProblem, BuildResult, ExportedTable
from wellspring.data.transform.source_digest import code_digest
from wellspring.data.transform.table_versions import CompiledModel
from wellspring.errors import CorruptedError, ProjectError, Refused, Unavailable
from wellspring.lake.lake import Lake
from wellspring.project import DbtSettings, Project, ProjectSection
from wellspring.query.registry import open_query_engine
from wellspring.records.contracts import ContractColumn
from wellspring.records.lake import Edition
from wellspring.records.record import format_instant
from wellspring.runtime.project_code import ProjectCode, ProjectCodeFiles, ProjectCodeRun

VISIT = drops.contract(
    "visit",
    columns=(
        ContractColumn(name="person", type="string", egress="token", classification="identifier", domain="member"),
        ContractColumn(name="amount", type="string", egress="plain", classification="financial"),
        ContractColumn(name="recorded_at", type="timestamp[us, tz=UTC]", egress="plain", classification="operational"),
    ),
    key=("person", "recorded_at"),
)
ENGINE = open_query_engine("duckdb", {})
COLUMNS = ("person", "known_since", "sequence", "so_far", "in_all")
UNKEEPABLE = (
    pa.int8(), pa.int16(), pa.uint8(), pa.uint32(), pa.uint64(), pa.time64("us"), pa.binary(), pa.timestamp("ns"),
    pa.large_binary(), pa.struct({"a": pa.int64()}), pa.timestamp("us", "Europe/Paris"), pa.float16(),
)  # fmt: skip


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture
def step(clock: FixedClock) -> RecordingStep:
    return RecordingStep(clock=clock)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    built.project(tmp_path / "dbt", {"visits.sql": built.VISITS, "visits.yml": built.FEATURES})
    return Project(project=ProjectSection(name="tiny", tenant="acme"), sources={}, dbt=DbtSettings(), root=tmp_path)


@pytest.fixture
def lake(project: Project, clock: FixedClock) -> Iterator[Lake]:
    lake = lakes.open_lake(project.lake_dir, clock=clock)
    yield lake
    lake.close()


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[BuildJob]:
    """Build without dbt: `visits` as the project's SQL would make it. Returns what was asked for."""
    requests: list[BuildJob] = []

    def run(job: BuildJob, project_code: ProjectCode, *, readable: tuple[Path, ...], trace: str) -> BuildResult:
        assert len(trace) == 32
        requests.append(job)
        return build(job)

    monkeypatch.setattr(build_module, "run_build_process", run)
    return requests


def transform(lake: Lake, project: Project, edition: Edition, step: RecordingStep) -> BuildOutcome:
    """Build and publish an edition."""
    return transform_with(PROJECT_CODE, lake, project, edition, step)


def transform_with(
    project_code: ProjectCode, lake: Lake, project: Project, edition: Edition, step: RecordingStep
) -> BuildOutcome:
    sources = open_transform_sources(project)
    return build_module.transform_edition(
        lake, project, edition, build_module.save_transform(project, sources), sources=sources, engine=ENGINE,
        project_code=project_code, step=step,
    )  # fmt: skip


def build(
    job: BuildJob, *, change: Callable[[pa.Table], pa.Table] = lambda rows: rows, extra_rows: int = 0
) -> BuildResult:
    """Write what the project's SQL would. change: of the full build; extra_rows: reported, but not written."""
    everything = pa.concat_tables([pq.read_table(file) for file in files_of(job)])
    for run, cut in {"full": None, **{f"audit-{n}": cut for n, cut in enumerate(job.audit_instants)}}.items():
        visits = everything.to_pylist()
        expected = [visit for visit in visits if cut is None or format_instant(visit["recorded_at"]) <= cut]
        rows = [
            {
                "person": item["person"],
                "known_since": item["recorded_at"],
                "sequence": (so_far := sum(_before(item_value, item) for item_value in expected)),
                "so_far": so_far,
                "in_all": sum(item_value["person"] == item["person"] for item_value in expected),
            }
            for item in expected
        ]
        types = [pa.string(), pa.timestamp("us", "UTC"), *(pa.int64() for _ in range(3))]
        table = pa.Table.from_pylist(rows, pa.schema(zip(COLUMNS, types, strict=True)))
        ordered = table.sort_by([(name, "ascending") for name in ("person", "known_since")])
        built.written(change(ordered) if cut is None else ordered, Path(job.scratch_dir) / run / "visits.parquet")
    result = pq.read_metadata(Path(job.scratch_dir) / "full" / "visits.parquet").num_rows + extra_rows
    return BuildResult(
        tables=(ExportedTable(name="visits", model="model.visits", keys=("person",), columns=COLUMNS, rows=result),),
        passed_tests=1,
        models=(CompiledModel(name="model.visits", sql="select 1", upstream=("source.visit",)),),
    )


def files_of(job: BuildJob) -> list[str]:
    files = job.sources["visit"].location["files"]
    assert isinstance(files, list)
    return [str(file) for file in files]


def replaced(kind: pa.DataType, number: int | None = None) -> Callable[[pa.Table], pa.Table]:
    """Give `so_far` another type; number: how the file holds its value."""
    wide = pa.int32() if kind == pa.date32() else pa.int64()
    column = pa.nulls(40, kind) if number is None else pa.array([number] * 40, wide).cast(kind)
    return lambda rows: rows.set_column(3, "so_far", column)


def _before(item: dict[str, Any], item_value: dict[str, Any]) -> bool:
    return item["person"] == item_value["person"] and item["recorded_at"] <= item_value["recorded_at"]


def landed(lake: Lake, step: RecordingStep, name: str = "a", count: int = 40, *, first: int = 0) -> Edition:
    lake.stage_part(drops.intake(name, VISIT, built.visits(count, first=first)), VISIT, step=step)
    return lake.publish("clearinghouse", lake.staged_parts(), step=step)


def test_a_build_is_published_with_the_landed_tables_it_was_made_of(
    lake: Lake, project: Project, step: RecordingStep, clock: FixedClock, jobs: list[BuildJob]
):
    base = landed(lake, step)
    clock.pass_(minutes=5)
    done = transform(lake, project, base, step)
    assert (done.newly_built, done.edition) == (True, lake.get_edition(level="built"))
    assert (done.edition.parent, done.edition.known_since) == (base.id, clock.now())
    assert [table.table for table in done.edition.tables] == ["visit", "visits"]
    assert set(base.tables) <= set(done.edition.tables)
    assert lake.read_table(done.edition, "visits").num_rows == 40
    # A copy of what its digest names, and not the folder, which may change in the meantime.
    assert jobs[0].project_dir != str(project.root / "dbt")


def test_a_build_reads_the_files_of_its_one_edition_and_of_no_other(
    lake: Lake, project: Project, step: RecordingStep, jobs: list[BuildJob], monkeypatch: pytest.MonkeyPatch
):
    base = landed(lake, step)
    landed(lake, step, "later", first=40)
    monkeypatch.setattr(lake, "get_edition", lambda *_, **__: None)
    transform(lake, project, base, step)
    assert jobs[0].sources["visit"].location["files"] == list(lakes.stored_files(lake.open_table(base, "visit")))
    assert jobs[0].sources["visit"].known_since_columns == ("recorded_at", "known_since")


def test_the_same_edition_and_code_change_nothing_and_other_code_builds_anew(
    lake: Lake, project: Project, step: RecordingStep, clock: FixedClock, jobs: list[BuildJob]
):
    base = landed(lake, step)
    item = transform(lake, project, base, step)
    entries = len(step.entries)
    again = transform(lake, project, base, step)
    assert again == item._replace(newly_built=False)
    assert (len(jobs), len(step.entries)) == (1, entries)
    clock.pass_(hours=1)
    (project.root / "dbt" / "models" / "more.sql").write_text("select 1 as one")
    two = transform(lake, project, base, step)
    assert two.newly_built
    assert two.edition.id != item.edition.id
    assert lake.list_editions("built") == (two.edition, item.edition)


def test_other_versions_of_what_builds_it_build_anew(
    lake: Lake, project: Project, step: RecordingStep, jobs: list[BuildJob], monkeypatch: pytest.MonkeyPatch
):
    base = landed(lake, step)
    transform(lake, project, base, step)
    result = step.done("transform")[-1].facts["tools"]
    assert {part.rpartition(" ")[0] for part in str(result).split(", ")} >= {"wellspring", "dbt-core", "duckdb"}
    monkeypatch.setattr(build_module, "_tool_versions", lambda _engine: "duckdb 99")
    assert transform(lake, project, base, step).newly_built
    assert (len(jobs), step.done("transform")[-1].facts["tools"]) == (2, "duckdb 99")


def test_a_table_without_compared_rows_is_not_reported_as_audited(
    lake: Lake, project: Project, step: RecordingStep, jobs: list[BuildJob]
):
    done = transform(lake, project, landed(lake, step, count=1), step)
    assert (jobs[0].audit_instants, done.leaks) == ((), ())
    assert step.done("publish")[-1].facts["audited"] == {"visits": 0}


def test_the_column_that_looked_ahead_is_named_and_stops_nothing(
    lake: Lake, project: Project, step: RecordingStep, jobs: list[BuildJob]
):
    done = transform(lake, project, landed(lake, step), step)
    assert done.leaks == ("visits.in_all",)
    assert len(jobs[0].audit_instants) == 1
    publish = step.done("publish")[-1]
    assert publish.facts["leaks"] == ["visits.in_all"]
    assert publish.facts["audited"] == {"visits": 29}
    assert lake.get_edition(level="built") == done.edition


def test_what_is_recorded_names_edition_code_and_snapshots(
    lake: Lake, project: Project, step: RecordingStep, jobs: list[BuildJob]
):
    base = landed(lake, step)
    done = transform(lake, project, base, step)
    (built,), publish = step.done("transform"), step.done("publish")[-1]
    code = code_digest(project.root / "dbt")
    named = [(f"edition:{base.id}", base.id), ("dbt:tiny", code[:12])]
    for entry in (built, publish):
        assert [(ref.name, str(ref.digest)[:12]) for ref in entry.inputs] == named
    assert (built.subject, built.facts["rows"], built.facts["passed_tests"]) == ("dbt:tiny", {"visits": 40}, 1)
    assert publish.subject == done.edition.subject
    assert [ref.name.partition("@")[0] for ref in publish.outputs] == [done.edition.subject, "snapshot:visits"]


FAILED = BuildProblem(
    kind="test", node="unique_visits", message="test unique_visits found 4 values", column="person", count=4
)


@pytest.mark.parametrize(
    ("problems", "error", "words"),
    [
        ([FAILED], Refused, "fails its dbt tests.*\ntest unique_visits found 4 values"),
        (
            [FAILED, BuildProblem(kind="model", node="m", message="model m did not run")],
            ProjectError,
            "\nmodel m did not run$",
        ),
    ],
)
def test_a_failed_build_leaves_readers_at_the_last_good_edition(
    lake: Lake,
    project: Project,
    step: RecordingStep,
    jobs: list[BuildJob],
    monkeypatch: pytest.MonkeyPatch,
    problems: list[BuildProblem],
    error: type[Refused | ProjectError],
    words: str,
):
    good = transform(lake, project, landed(lake, step), step).edition

    def fail(job: BuildJob, *_: Any, **__: Any) -> BuildResult:
        return build(job).model_copy(update={"problems": tuple(problems)})

    monkeypatch.setattr(build_module, "run_build_process", fail)
    with pytest.raises(error, match=words) as caught:
        transform(lake, project, landed(lake, step, "b", first=40), step)
    assert lake.get_edition(level="built") == good
    assert step.entries[-1].action == "transform"
    assert step.entries[-1].phase == ("refused" if error is Refused else "failed")
    if isinstance(caught.value, Refused):
        assert caught.value.verdict is not None
        assert [(reason.code, reason.column, reason.count) for reason in caught.value.verdict.reasons] == [
            ("dbt_test", "person", 4)
        ]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rows: pa.concat_tables([rows, rows]), "two rows have the same person, known_since, sequence"),
        (lambda rows: rows.set_column(0, "person", pa.nulls(40, pa.string())), "person is null in some rows"),
        (lambda rows: rows.set_column(2, "sequence", rows["sequence"].cast(pa.int32())), "sequence is not int64"),
        (
            lambda rows: rows.set_column(1, "known_since", rows["known_since"].cast(pa.timestamp("us"))),
            r"known_since is not timestamp\[us, tz=UTC\]",
        ),
        *((replaced(kind), rf"so_far is {re.escape(str(kind))}; cast it") for kind in UNKEEPABLE),
        (replaced(pa.date32(), 2**31 - 1), "so_far has dates outside the years 1 to 9999"),
        (replaced(pa.timestamp("us"), 2**63 - 1), "so_far has dates outside the years 1 to 9999"),
    ],
)
def test_a_table_that_cannot_be_history_is_refused(
    lake: Lake,
    project: Project,
    step: RecordingStep,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[pa.Table], pa.Table],
    words: str,
):
    monkeypatch.setattr(build_module, "run_build_process", lambda job, *_, **__: build(job, change=change))
    with pytest.raises(ProjectError, match=words):
        transform(lake, project, landed(lake, step), step)
    assert lake.get_edition(level="built") is None


@pytest.mark.parametrize(
    "broken", [{"extra_rows": 1}, {"change": lambda rows: rows.drop_columns(["so_far"])}], ids=["rows", "columns"]
)
def test_a_file_that_differs_from_the_dbt_result_is_refused(
    lake: Lake, project: Project, step: RecordingStep, monkeypatch: pytest.MonkeyPatch, broken: dict[str, Any]
):
    monkeypatch.setattr(build_module, "run_build_process", lambda job, *_, **__: build(job, **broken))
    with pytest.raises(CorruptedError, match="differ from what dbt built"):
        transform(lake, project, landed(lake, step), step)


def test_readers_are_never_taken_back_to_an_older_landed_edition(
    lake: Lake, project: Project, step: RecordingStep, clock: FixedClock, jobs: list[BuildJob]
):
    old = landed(lake, step)
    clock.pass_(days=1)
    now = transform(lake, project, landed(lake, step, "b", first=40), step).edition
    with pytest.raises(Refused, match="is newer than"):
        transform(lake, project, old, step)
    with pytest.raises(Refused, match="is a built edition"):
        transform(lake, project, now, step)
    assert lake.get_edition(level="built") == now


def test_without_a_dbt_project_it_is_said_what_is_missing(lake: Lake, project: Project, step: RecordingStep):
    base = landed(lake, step)
    for error in (
        project.model_copy(update={"dbt": None}),
        project.model_copy(update={"dbt": DbtSettings(folder=Path("none"))}),
    ):
        with pytest.raises(ProjectError, match="does not name a dbt project"):
            transform(lake, error, base, step)


def test_nothing_of_a_build_lies_about_and_its_code_reads_the_files_of_its_edition_only(
    lake: Lake, project: Project, step: RecordingStep, jobs: list[BuildJob], monkeypatch: pytest.MonkeyPatch
):
    base = landed(lake, step)
    folders: list[Path] = []

    def run(job: BuildJob, project_code: ProjectCode, *, readable: tuple[Path, ...], trace: str) -> BuildResult:
        folders.append(Path(job.scratch_dir))
        assert folders[0].stat().st_mode & 0o7777 == 0o2770
        files = [file for source in job.sources.values() for file in cast("list[str]", source.location["files"])]
        assert readable == tuple(map(Path, files))
        assert all(path.is_file() and path.is_relative_to(project.lake_dir) for path in readable)
        return build(job)

    monkeypatch.setattr(build_module, "run_build_process", run)
    transform(lake, project, base, step)
    assert not folders[0].exists()


class Answering:
    """Project code that answers these bytes, and leaves what `leave` does in the scratch folder."""

    def __init__(self, output: bytes, leave: Callable[[Path], object] = lambda folder: None) -> None:
        self.output = output
        self.leave = leave

    def open_folder(self, name: str) -> AbstractContextManager[Path]:
        return PROJECT_CODE.open_folder(name)

    def run(self, kind: str, request: bytes, files: ProjectCodeFiles, *, timeout: float, trace: str = "") -> Any:
        self.leave(files.folder)
        return ProjectCodeRun(0, self.output, b"")


TABLE = {"name": "visits", "keys": ["person"], "columns": ["person"], "rows": 1}


@pytest.mark.parametrize(
    "tables",
    [
        7, [{**TABLE, "name": "../../other"}], [{**TABLE, "name": ".hidden"}], [{**TABLE, "name": ""}],
        [{**TABLE, "rows": "many"}], [TABLE, TABLE], [{**TABLE, "name": "visit"}], [{**TABLE, "keys": ["absent"]}],
    ],
)  # fmt: skip
def test_an_answer_that_no_build_gives_is_an_error_of_the_project(
    lake: Lake, project: Project, step: RecordingStep, tables: object
):
    base = landed(lake, step)
    answer = Answering(json.dumps({"tables": tables}).encode())
    with pytest.raises(ProjectError, match="the dbt project made the process"):
        transform_with(answer, lake, project, base, step)
    assert lake.get_edition(level="built") is None


@pytest.mark.parametrize("kind", ["absent", "link", "text", "pipe"])
def test_a_file_that_no_build_leaves_is_an_error_of_the_project(
    lake: Lake, project: Project, step: RecordingStep, kind: str, tmp_path: Path
):
    base = landed(lake, step)
    secret = tmp_path / "secret.parquet"
    pq.write_table(pa.table({"person": ["x"]}), secret)

    def leave(folder: Path) -> None:
        for run in ("full", "audit-0", "audit-1"):
            path = folder / run / "visits.parquet"
            path.parent.mkdir()
            match kind:
                case "link":
                    path.symlink_to(secret)
                case "text":
                    path.write_text("no Parquet")
                case "pipe":
                    os.mkfifo(path)
                case _:
                    pass

    with pytest.raises(ProjectError, match=r"link or a special file|cannot be read"):
        transform_with(Answering(json.dumps({"tables": [TABLE]}).encode(), leave), lake, project, base, step)


def test_a_crash_in_the_publish_is_finished_by_recovery_and_not_built_again(
    lake: Lake, project: Project, step: RecordingStep, jobs: list[BuildJob]
):
    base = landed(lake, step)
    step.die_at = "built.publish:intent"
    with pytest.raises(Died):
        transform(lake, project, base, step)
    assert lake.get_edition(level="built") is None
    (finished,) = lake.recover(step.open_intents(), step=step)
    again = transform(lake, project, base, step)
    assert again[:3] == (finished, ("visits.in_all",), False)
    assert len(jobs) == 1


def test_a_table_without_a_row_is_a_source_all_the_same(
    lake: Lake, project: Project, step: RecordingStep, jobs: list[BuildJob]
):
    done = transform(lake, project, landed(lake, step, count=0), step)
    assert (done.leaks, jobs[0].audit_instants) == ((), ())
    assert lake.read_table(done.edition, "visits").num_rows == 0


def test_a_failed_child_is_reported_without_its_output(tmp_path: Path):
    scratch = tmp_path / "not there"
    scratch.mkdir()
    # Its profiles cannot be written.
    (scratch / "full").write_text("")
    with pytest.raises(Unavailable, match=r"exited with code 1 and FileExistsError$"):
        build_module.run_build_process(
            BuildJob(engine="duckdb", project_dir=str(tmp_path), scratch_dir=str(scratch), sources={}),
            PROJECT_CODE,
            readable=(),
            trace="ab" * 16,
        )


def test_with_dbt_itself_a_build_comes_out_whole(lake: Lake, project: Project, step: RecordingStep):
    done = transform(lake, project, landed(lake, step), step)
    assert done.leaks == ("visits.in_all",)
    assert lake.read_table(done.edition, "visits", ["in_all"])["in_all"].to_pylist() == [10] * 40
