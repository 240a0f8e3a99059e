"""From one landed edition to the built one: what is published, what is refused, and which column knew the future."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data import dbt as made
from tests.data import drops
from tests.steps import Died, FixedClock, RecordingStep
from wellspring.data import transform
from wellspring.data.building import Answer, Job, Problem, Table
from wellspring.data.code import code_digest
from wellspring.data.lake import Lake
from wellspring.errors import Broken, ProjectError, Refused, Unavailable
from wellspring.project import Dbt, Named, Project
from wellspring.records.data import Column, Edition
from wellspring.records.record import stamp

VISIT = drops.contract(
    "visit",
    columns=(
        Column(name="person", type="string", leaves="token", classification="identifier", domain="member"),
        Column(name="amount", type="string", leaves="as_is", classification="financial"),
        Column(name="recorded_at", type="timestamp[us, tz=UTC]", leaves="as_is", classification="operational"),
    ),
    key=("person", "recorded_at"),
)
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
def here(tmp_path: Path) -> Project:
    made.project(tmp_path / "dbt", {"visits.sql": made.VISITS, "visits.yml": made.FEATURES})
    return Project(project=Named(name="tiny", tenant="acme"), sources={}, dbt=Dbt(), root=tmp_path)


@pytest.fixture
def lake(here: Project, clock: FixedClock) -> Iterator[Lake]:
    lake = Lake(here.lake, tenant="acme", clock=clock)
    yield lake
    lake.close()


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """Build without dbt: `visits` as the project's SQL would make it. Returns what was asked for."""
    asked: list[Job] = []

    def run(job: Job) -> Answer:
        asked.append(job)
        return build(job)

    monkeypatch.setattr(transform, "run", run)
    return asked


def build(job: Job, *, change: Callable[[pa.Table], pa.Table] = lambda rows: rows, tell: int = 0) -> Answer:
    """Write what the project's SQL would. change: of the whole build; tell: how many rows more are told."""
    everything = pa.concat_tables([pq.read_table(file) for file in job.sources["visit"].files])
    for run, cut in {"full": None, **{f"cut-{n}": cut for n, cut in enumerate(job.cuts)}}.items():
        visits = everything.to_pylist()
        known = [each for each in visits if cut is None or stamp(each["recorded_at"]) <= cut]
        rows = [
            {
                "person": each["person"],
                "known_since": each["recorded_at"],
                "sequence": (so_far := sum(_before(one, each) for one in known)),
                "so_far": so_far,
                "in_all": sum(one["person"] == each["person"] for one in known),
            }
            for each in known
        ]
        types = [pa.string(), pa.timestamp("us", "UTC"), *(pa.int64() for _ in range(3))]
        table = pa.Table.from_pylist(rows, pa.schema(zip(COLUMNS, types, strict=True)))
        ordered = table.sort_by([(name, "ascending") for name in ("person", "known_since")])
        made.written(change(ordered) if cut is None else ordered, Path(job.scratch) / run / "visits.parquet")
    told = pq.read_metadata(Path(job.scratch) / "full" / "visits.parquet").num_rows + tell
    return Answer(tables=(Table(name="visits", keys=("person",), columns=COLUMNS, rows=told),), tests=1)


def replaced(kind: pa.DataType, number: int | None = None) -> Callable[[pa.Table], pa.Table]:
    """Give `so_far` another type; number: how the file holds its value."""
    wide = pa.int32() if kind == pa.date32() else pa.int64()
    column = pa.nulls(40, kind) if number is None else pa.array([number] * 40, wide).cast(kind)
    return lambda rows: rows.set_column(3, "so_far", column)


def _before(one: dict[str, Any], each: dict[str, Any]) -> bool:
    return one["person"] == each["person"] and one["recorded_at"] <= each["recorded_at"]


def landed(lake: Lake, step: RecordingStep, name: str = "a", count: int = 40, *, first: int = 0) -> Edition:
    lake.stage(drops.intake(name, VISIT, made.visits(count, first=first)), VISIT, step=step)
    return lake.publish("clearinghouse", lake.staged(), step=step)


def test_a_build_is_published_with_the_landed_tables_it_was_made_of(
    lake: Lake, here: Project, step: RecordingStep, clock: FixedClock, jobs: list[Job]
):
    base = landed(lake, step)
    clock.pass_(minutes=5)
    done = transform.transform(lake, here, base, step=step)
    assert (done.fresh, done.edition) == (True, lake.edition(level="built"))
    assert (done.edition.parent, done.edition.known_since) == (base.id, clock.now())
    assert [each.table for each in done.edition.tables] == ["visit", "visits"]
    assert set(base.tables) <= set(done.edition.tables)
    assert lake.table(done.edition, "visits").num_rows == 40
    assert jobs[0].project == str(here.root / "dbt")


def test_a_build_reads_the_files_of_its_one_edition_and_of_no_other(
    lake: Lake, here: Project, step: RecordingStep, jobs: list[Job], monkeypatch: pytest.MonkeyPatch
):
    base = landed(lake, step)
    landed(lake, step, "later", first=40)
    monkeypatch.setattr(lake, "edition", lambda *_, **__: None)
    transform.transform(lake, here, base, step=step)
    assert list(jobs[0].sources["visit"].files) == lake.files(base, "visit")
    assert jobs[0].sources["visit"].known == ("recorded_at", "known_since")


def test_the_same_edition_and_code_change_nothing_and_other_code_builds_anew(
    lake: Lake, here: Project, step: RecordingStep, clock: FixedClock, jobs: list[Job]
):
    base = landed(lake, step)
    one = transform.transform(lake, here, base, step=step)
    entries = len(step.entries)
    again = transform.transform(lake, here, base, step=step)
    assert again == one._replace(fresh=False)
    assert (len(jobs), len(step.entries)) == (1, entries)
    clock.pass_(hours=1)
    (here.root / "dbt" / "models" / "more.sql").write_text("select 1 as one")
    two = transform.transform(lake, here, base, step=step)
    assert two.fresh
    assert two.edition.id != one.edition.id
    assert lake.editions("built") == (two.edition, one.edition)


def test_other_versions_of_what_builds_it_build_anew(
    lake: Lake, here: Project, step: RecordingStep, jobs: list[Job], monkeypatch: pytest.MonkeyPatch
):
    base = landed(lake, step)
    transform.transform(lake, here, base, step=step)
    told = step.done("transform")[-1].facts["tools"]
    assert {each.rpartition(" ")[0] for each in str(told).split(", ")} >= {"wellspring", "dbt-core", "duckdb"}
    monkeypatch.setattr(transform, "_tools", lambda: "duckdb 99")
    assert transform.transform(lake, here, base, step=step).fresh
    assert (len(jobs), step.done("transform")[-1].facts["tools"]) == (2, "duckdb 99")


def test_a_table_that_nothing_was_held_against_is_not_told_as_audited(
    lake: Lake, here: Project, step: RecordingStep, jobs: list[Job]
):
    done = transform.transform(lake, here, landed(lake, step, count=1), step=step)
    assert (jobs[0].cuts, done.leaks) == ((), ())
    assert step.done("publish")[-1].facts["audited"] == {"visits": 0}


def test_the_column_that_looked_ahead_is_named_and_stops_nothing(
    lake: Lake, here: Project, step: RecordingStep, jobs: list[Job]
):
    done = transform.transform(lake, here, landed(lake, step), step=step)
    assert done.leaks == ("visits.in_all",)
    assert len(jobs[0].cuts) == 1
    publish = step.done("publish")[-1]
    assert publish.facts["leaks"] == ["visits.in_all"]
    assert publish.facts["audited"] == {"visits": 29}
    assert lake.edition(level="built") == done.edition


def test_what_is_recorded_names_edition_code_and_snapshots(
    lake: Lake, here: Project, step: RecordingStep, jobs: list[Job]
):
    base = landed(lake, step)
    done = transform.transform(lake, here, base, step=step)
    (built,), publish = step.done("transform"), step.done("publish")[-1]
    code = code_digest(here.root / "dbt")
    named = [(f"edition:{base.id}", base.id), ("dbt:tiny", code[:12])]
    for entry in (built, publish):
        assert [(ref.name, str(ref.digest)[:12]) for ref in entry.inputs] == named
    assert (built.subject, built.facts["rows"], built.facts["tests"]) == ("dbt:tiny", {"visits": 40}, 1)
    assert publish.subject == done.edition.subject
    assert [ref.name.partition("@")[0] for ref in publish.outputs] == [done.edition.subject, "snapshot:visits"]


FAILED = Problem(kind="test", node="unique_visits", what="test unique_visits found 4 values", column="person", count=4)


@pytest.mark.parametrize(
    ("problems", "error", "words"),
    [
        ([FAILED], Refused, "does not keep its tests.*\ntest unique_visits found 4 values"),
        ([FAILED, Problem(kind="model", node="m", what="model m did not run")], ProjectError, "\nmodel m did not run$"),
    ],
)
def test_a_failed_build_leaves_readers_at_the_last_good_edition(
    lake: Lake,
    here: Project,
    step: RecordingStep,
    jobs: list[Job],
    monkeypatch: pytest.MonkeyPatch,
    problems: list[Problem],
    error: type[Refused | ProjectError],
    words: str,
):
    good = transform.transform(lake, here, landed(lake, step), step=step).edition

    def fail(job: Job) -> Answer:
        return build(job).model_copy(update={"problems": tuple(problems)})

    monkeypatch.setattr(transform, "run", fail)
    with pytest.raises(error, match=words) as caught:
        transform.transform(lake, here, landed(lake, step, "b", first=40), step=step)
    assert lake.edition(level="built") == good
    assert step.entries[-1].action == "transform"
    assert step.entries[-1].phase == ("refused" if error is Refused else "failed")
    if isinstance(caught.value, Refused):
        assert caught.value.verdict is not None
        assert [(each.code, each.column, each.count) for each in caught.value.verdict.reasons] == [
            ("dbt_test", "person", 4)
        ]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rows: pa.concat_tables([rows, rows]), "two rows have the same person, known_since, sequence"),
        (lambda rows: rows.set_column(0, "person", pa.nulls(40, pa.string())), "person is empty in some rows"),
        (lambda rows: rows.set_column(2, "sequence", rows["sequence"].cast(pa.int32())), "sequence is no int64"),
        (
            lambda rows: rows.set_column(1, "known_since", rows["known_since"].cast(pa.timestamp("us"))),
            r"known_since is no timestamp\[us, tz=UTC\]",
        ),
        *((replaced(kind), rf"so_far is {re.escape(str(kind))}; cast it") for kind in UNKEEPABLE),
        (replaced(pa.date32(), 2**31 - 1), "so_far holds days outside the years 1 to 9999"),
        (replaced(pa.timestamp("us"), 2**63 - 1), "so_far holds days outside the years 1 to 9999"),
    ],
)
def test_a_table_that_cannot_be_history_is_refused(
    lake: Lake,
    here: Project,
    step: RecordingStep,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[pa.Table], pa.Table],
    words: str,
):
    monkeypatch.setattr(transform, "run", lambda job: build(job, change=change))
    with pytest.raises(ProjectError, match=words):
        transform.transform(lake, here, landed(lake, step), step=step)
    assert lake.edition(level="built") is None


@pytest.mark.parametrize(
    "broken", [{"tell": 1}, {"change": lambda rows: rows.drop_columns(["so_far"])}], ids=["rows", "columns"]
)
def test_a_file_that_is_not_what_dbt_told_of_is_refused(
    lake: Lake, here: Project, step: RecordingStep, monkeypatch: pytest.MonkeyPatch, broken: dict[str, Any]
):
    monkeypatch.setattr(transform, "run", lambda job: build(job, **broken))
    with pytest.raises(Broken, match="not in its file as dbt built it"):
        transform.transform(lake, here, landed(lake, step), step=step)


def test_readers_are_never_taken_back_to_an_older_landed_edition(
    lake: Lake, here: Project, step: RecordingStep, clock: FixedClock, jobs: list[Job]
):
    old = landed(lake, step)
    clock.pass_(days=1)
    now = transform.transform(lake, here, landed(lake, step, "b", first=40), step=step).edition
    with pytest.raises(Refused, match="is newer than"):
        transform.transform(lake, here, old, step=step)
    with pytest.raises(Refused, match="is a built one"):
        transform.transform(lake, here, now, step=step)
    assert lake.edition(level="built") == now


def test_without_a_dbt_project_it_is_said_what_is_missing(lake: Lake, here: Project, step: RecordingStep):
    base = landed(lake, step)
    for wrong in (here.model_copy(update={"dbt": None}), here.model_copy(update={"dbt": Dbt(folder=Path("none"))})):
        with pytest.raises(ProjectError, match="names no dbt project"):
            transform.transform(lake, wrong, base, step=step)


def test_nothing_of_a_build_lies_about_and_what_a_killed_one_left_is_cleared(
    lake: Lake, here: Project, step: RecordingStep, jobs: list[Job], monkeypatch: pytest.MonkeyPatch
):
    base = landed(lake, step)
    left = here.lake / "building" / "of-another"
    left.mkdir(parents=True)
    modes: list[int] = []

    def run(job: Job) -> Answer:
        modes.append(Path(job.scratch).parent.stat().st_mode & 0o777)
        assert not left.exists()
        return build(job)

    monkeypatch.setattr(transform, "run", run)
    transform.transform(lake, here, base, step=step)
    assert modes == [0o700]
    assert not (here.lake / "building").exists()


def test_a_crash_in_the_publish_is_finished_by_recovery_and_not_built_again(
    lake: Lake, here: Project, step: RecordingStep, jobs: list[Job]
):
    base = landed(lake, step)
    step.die_at = "built.publish:intent"
    with pytest.raises(Died):
        transform.transform(lake, here, base, step=step)
    assert lake.edition(level="built") is None
    (finished,) = lake.recover(step.open_intents(), step=step)
    again = transform.transform(lake, here, base, step=step)
    assert again == (finished, ("visits.in_all",), False)
    assert len(jobs) == 1


def test_a_table_without_a_row_is_a_source_all_the_same(
    lake: Lake, here: Project, step: RecordingStep, jobs: list[Job]
):
    done = transform.transform(lake, here, landed(lake, step, count=0), step=step)
    assert (done.leaks, jobs[0].cuts) == ((), ())
    assert lake.table(done.edition, "visits").num_rows == 0


def test_a_child_that_dies_is_told_without_a_word_of_what_it_said(tmp_path: Path):
    scratch = tmp_path / "not there"
    scratch.mkdir()
    # Its profiles cannot be written.
    (scratch / "full").write_text("")
    with pytest.raises(Unavailable, match=r"ended with 1 and FileExistsError$"):
        transform.run(Job(project=str(tmp_path), scratch=str(scratch), sources={}))


def test_with_dbt_itself_a_build_comes_out_whole(lake: Lake, here: Project, step: RecordingStep):
    done = transform.transform(lake, here, landed(lake, step), step=step)
    assert done.leaks == ("visits.in_all",)
    assert lake.table(done.edition, "visits", ["in_all"])["in_all"].to_pylist() == [10] * 40
