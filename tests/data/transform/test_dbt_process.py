"""dbt in its child process: what comes out, and what is said when nothing does."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import pytest

from tests.builders import dbt_builds
from tests.builders import dbt_projects as built
from wellspring.data.transform import dbt_process
from wellspring.data.transform.dbt_process import BuildJob, BuildResult
from wellspring.query.duckdb.dbt_backend import DuckDbDbtBackend
from wellspring.query.port import DbtSource
from wellspring.records.record import format_instant

TESTED = """
models:
  - name: codes
    config: {contract: {enforced: true}, meta: {keys: [person]}}
    columns:
      - {name: person, data_type: varchar, data_tests: [unique, not_null]}
      - {name: amount, data_type: varchar, data_tests: [{accepted_values: {arguments: {values: [one]}}}]}
"""
SOUND = {
    "sound.sql": "select 'a' as person",
    "sound.yml": "models: [{name: sound, config: {contract: {enforced: true}, meta: {keys: [person]}}, columns: "
    "[{name: person, data_type: varchar}]}]",
}
UNLIKE = "its columns differ from its contract: "
DIALECT = DuckDbDbtBackend.dialect
OUTPUT = 'Binder Error: Referenced column "{}" not found!'


class Ran(NamedTuple):
    """A job that was done, and where."""

    answer: BuildResult
    scratch: Path


def ran(folder: Path, files: dict[str, str], *, cuts: tuple[str, ...] = (), sources: Any = None) -> Ran:
    """Do a job in the child."""
    file = built.written(built.visits(), folder / "visit.parquet")
    scratch = folder / "scratch"
    arguments = {"visit": dbt_builds.source(file)} if sources is None else sources
    project = built.project(folder / "dbt", files)
    return Ran(dbt_builds.run_build(project, scratch, arguments, audit_instants=cuts), scratch)


@pytest.fixture(scope="module")
def visits(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """A history of which one column is honest and one looks ahead, as built whole and up to its twentieth day."""
    cut = format_instant(built.visits()["recorded_at"][19].as_py())
    warns = '{{ config(severity="warn") }} select * from {{ ref("visits") }}'
    files = {"visits.sql": built.VISITS, "visits.yml": built.FEATURES, "../tests/only_warns.sql": warns}
    return ran(tmp_path_factory.mktemp("building"), files, cuts=(cut,))


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """Models and tests that fail, each in its own way."""
    folder = tmp_path_factory.mktemp("broken")
    file = built.written(built.visits(), folder / "elsewhere.parquet")
    source = '{{ source("landed", "visit") }}'
    files = {
        "codes.sql": f"select person, amount from {source}",
        "codes.yml": TESTED,
        "converts.sql": f"select cast(amount as int) as amount from {source}",
        "misspelt.sql": f"select amnount from {source}",
        "elsewhere.sql": f"select * from '{file}'",
        "unlike.sql": f"select person, amount as cents from {source}",
        "unlike.yml": "models: [{name: unlike, config: {contract: {enforced: true}, meta: {keys: [person]}}, columns: "
        "[{name: person, data_type: varchar}, {name: amount, data_type: varchar}]}]",
        "../tests/nobody_came_twice.sql": 'select * from {{ ref("codes") }}',
    }
    return ran(folder, files)


def test_each_table_with_a_contract_is_written_with_its_keys_and_rows(visits: Ran):
    (table,) = visits.answer.tables
    assert (visits.answer.problems, visits.answer.warned_tests) == ((), ("only_warns",))
    assert (table.name, table.keys, table.rows, visits.answer.passed_tests) == ("visits", ("person",), 40, 1)
    rows = pq.read_table(visits.scratch / "full" / "visits.parquet")
    assert tuple(rows.column_names) == table.columns
    assert rows.num_rows == 40
    assert str(rows.schema.field("known_since").type) == "timestamp[us, tz=UTC]"


def test_of_a_cut_the_rows_are_those_recorded_up_to_it(visits: Ran):
    assert pq.read_table(visits.scratch / "audit-0" / "visits.parquet").num_rows == 20


def test_the_column_that_looks_ahead_is_found_by_name(visits: Ran):
    cut = format_instant(built.visits()["recorded_at"][19].as_py())
    assert dbt_builds.audit(visits.answer, visits.scratch, [cut]) == (("visits.in_all",), {"visits": 20})


def test_nothing_is_written_outside_the_scratch_folder(visits: Ran):
    project = visits.scratch.parent / "dbt"
    assert sorted(path.name for path in project.iterdir()) == ["dbt_project.yml", "models", "tests"]
    assert {"target", "full", "audit-0", "profiles.yml"} <= {path.name for path in visits.scratch.iterdir()}


def test_what_one_run_may_write_is_closed_to_the_next(visits: Ran):
    outputs = json.loads((visits.scratch / "profiles.yml").read_text())["wellspring"]["outputs"]
    places = [output["plugins"][0]["config"][name] for output in outputs.values() for name in ("folder", "spill")]
    assert len(set(places)) == len(places) == 4


def test_a_model_that_goes_for_the_landed_files_finds_them_closed_and_as_they_were(tmp_path: Path):
    file = tmp_path / "visit.parquet"
    take = "select 'forged' as person) to '{file}' (format parquet, use_tmp_file false)"
    files = {
        "forges.sql": f'{{{{ config(pre_hook="copy ({take.format(file=file)}") }}}} select 1 as one',
        "peeks.sql": f"select * from read_parquet('{file}')",
    }
    words = {problem.node: problem.message for problem in ran(tmp_path, files | SOUND).answer.problems}
    assert {"forges", "peeks"} == set(words)
    assert all("Permission Error" in output for output in words.values())
    assert pq.read_table(file).equals(built.visits())


def test_rows_stand_in_the_order_of_their_keys_and_knowledge(visits: Ran):
    rows = pq.read_table(visits.scratch / "full" / "visits.parquet")
    assert rows.equals(rows.sort_by([(name, "ascending") for name in ("person", "known_since", "sequence")]))


def test_a_failed_dbt_test_is_described_with_a_count(broken: Ran):
    output = {
        problem.node: (problem.kind, problem.column, problem.count)
        for problem in broken.answer.problems
        if problem.kind == "test"
    }
    assert output["unique_codes_person"] == ("test", "person", 4)
    assert output["nobody_came_twice"] == ("test", None, 40)
    words = {problem.node: problem.message for problem in broken.answer.problems}
    assert words["unique_codes_person"] == (
        "test unique_codes_person failed: 4 values of codes.person occur more than once"
    )


def test_a_model_that_does_not_run_is_named_with_its_file_and_what_is_wrong_with_its_sql(broken: Ran):
    words = {problem.node: problem.message for problem in broken.answer.problems}
    assert words["misspelt"].startswith("model misspelt (models/misspelt.sql) failed: Binder Error:")
    assert "Permission Error" in words["elsewhere"]
    assert words["unlike"].endswith(
        "its columns differ from its contract: amount (missing in definition); cents (missing in contract)"
    )


def test_no_value_of_the_data_is_in_what_is_said(broken: Ran):
    words = {problem.node: problem.message for problem in broken.answer.problems}
    assert words["converts"].endswith("failed: Conversion Error")
    assert "secret-" not in broken.answer.model_dump_json()
    assert broken.answer.tables == ()


def test_project_problems_are_reported_before_dbt_runs(tmp_path: Path):
    source = '{{ source("landed", "visit") }}'
    files = {
        "visits.sql": built.VISITS,
        "visits.yml": built.FEATURES.replace("meta: {keys: [person]}", "materialized: view"),
        "visit.sql": f"select person from {source}",
        "visit.yml": "models: [{name: visit, config: {contract: {enforced: true}, meta: {keys: [person]}}, "
        "columns: [{name: person, data_type: varchar}, {name: sequence, data_type: bigint}]}]",
        "late.sql": 'select * from {{ source("landed", "late") }} where 1 = {{ 1 }}',
        "sources.yml": built.SOURCES.replace("{name: visit}", "{name: visit}, {name: late}, {name: never_read}"),
        "snake.py": "def model(dbt, session):\n    return dbt.ref('late')\n",
        "../seeds/codes.csv": "code,what\n1,one\n",
        "huge.sql": f"select person, count(*)::hugeint as n from {source} group by person",
        "huge.yml": "models: [{name: huge, config: {contract: {enforced: true}, meta: {keys: [person]}}, columns: "
        "[{name: person, data_type: varchar}, {name: n, data_type: HUGEINT}]}]",
        "twice_v1.sql": "select 'a' as person",
        "twice_v2.sql": "select 'b' as person",
        "twice.yml": "models: [{name: twice, latest_version: 2, config: {contract: {enforced: true}, meta: {keys: "
        "[person]}}, columns: [{name: person, data_type: varchar}], versions: [{v: 1}, {v: 2}]}]",
        ".hidden/unseen.sql": "select 1 as one",
    }
    answer = ran(tmp_path, files).answer
    assert [problem.message for problem in answer.problems] == [
        "source late has no published drop",
        "seed codes: deliver data as drops instead",
        "models/.hidden/unseen.sql is not covered by the code digest; move it to another folder",
        "model snake is not SQL",
        "model twice is defined 2 times (give each version of a model its own name)",
        "model huge: n is HUGEINT; cast it to bigint or decimal",
        "model visit has the name of a landed table",
        "model visit needs both known_since and sequence to be a feature table, or neither",
        "model visits has no valid key columns (config: meta: keys: [...])",
        "model visits has a contract; it must be materialized as a table",
    ]


def test_an_unreadable_dbt_project_is_reported_with_the_reason(tmp_path: Path):
    answer = ran(tmp_path, {"../dbt_project.yml": "name: tiny\nversion: [\n"}).answer
    (problem,) = answer.problems
    assert problem.kind == "project"
    assert problem.message.startswith("the dbt project cannot be read: Runtime Error Syntax error near line 3")


@pytest.mark.parametrize(
    ("message", "output"),
    [
        ('Runtime Error in model m\n  Binder Error: Referenced column "x" not found!\nLINE 1', None),
        (
            "Runtime Error in model m\n  Conversion Error: Could not convert string 'secret' to INT32",
            "Conversion Error",
        ),
        ("Runtime Error in model m\n  Constraint Error: Duplicate key 'secret'", "Constraint Error"),
        ("Runtime Error in model m\n  Invalid Input Error: secret", "Invalid Input Error"),
        ("secret", "unknown error"),
        (PermissionError("secret"), "PermissionError"),
        (None, "unknown error"),
        # At run time a macro may say what it read.
        ("Compilation Error in model m\n  bad secret", "Compilation Error"),
        ("Runtime Error in m\n  Conversion Error: 'x\nBinder Error: secret' is no INT32", "Conversion Error"),
        ('Runtime Error in m\n  Binder Error: Referenced column "secret" not found!', OUTPUT.format("…")),
        ('Runtime Error in m\n  Binder Error: Referenced column "amount" not found!', OUTPUT.format("amount")),
        (
            "Runtime Error in m\n  Catalog Error: Table with name secret does not exist!",
            "Catalog Error: Table with name … does not exist!",
        ),
        (
            "| secret | a | b | missing in contract |\n| amount | a | | missing in definition |",
            f"{UNLIKE}… (missing in contract); amount (missing in definition)",
        ),
    ],
)
def test_of_an_error_only_what_is_about_the_sql_is_passed_on(message: Any, output: str | None):
    node = SimpleNamespace(raw_code="select {{ read() }}, x", compiled_code="select secret, x")
    result = dbt_process._describe_error(message, DIALECT, node, frozenset({"amount"}))
    assert "secret" not in result
    assert result == (output or OUTPUT.format("x"))


def test_a_job_and_an_answer_are_one_line_of_json():
    job = BuildJob(
        engine="duckdb",
        project_dir="p",
        scratch_dir="s",
        sources={"visit": DbtSource(location={"files": ["a\nb"]}, known_since_columns=("recorded_at",))},
        audit_instants=("x",),
    )
    assert "\n" not in job.model_dump_json()
    assert BuildJob.model_validate_json(job.model_dump_json()) == job
    assert json.loads(BuildResult().model_dump_json()) == {
        "tables": [],
        "problems": [],
        "passed_tests": 0,
        "warned_tests": [],
        "models": [],
        "has_hooks": False,
    }
