"""Global options in any position, error output, exit codes, and no traceback."""

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from tests.builders.command_line import Run
from wellspring.cli import cli
from wellspring.cli.context import USAGE_EXIT_CODE, CliContext, hoist_global_options, print_error, run_command
from wellspring.errors import ERRORS_BY_SLUG, Refused
from wellspring.records.verdict import Reason, Verdict


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["status", "--json"], ["--json", "status"]),
        (["ingest", "clearinghouse", "--project", "there"], ["--project", "there", "ingest", "clearinghouse"]),
        (["prove", "drop:1", "--project=there", "--out", "p"], ["--project=there", "prove", "drop:1", "--out", "p"]),
        (["quarantine", "show", "d", "--json"], ["--json", "quarantine", "show", "d"]),
        (["status", "--project"], ["--project", "status"]),
        (["verify", "--", "--json", "--project"], ["verify", "--", "--json", "--project"]),
    ],
)
def test_global_options_are_hoisted_from_any_position(typed: list[str], meant: list[str]):
    assert hoist_global_options(typed) == meant


def test_with_json_only_the_document_is_printed(run: Run, root: Path):
    output = run("status", "--json", "--project", root)
    assert output.document == {
        "servers": [],
        "running": None,
        "policies": "",
        "unread_changes": [],
        "edition": None,
        "accounts": {},
        "incidents": [],
        "total": None,
        "log": None,
        "simulated_at": None,
        "mode": "governed",
    }
    assert output.err == ""


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["ingset"], "ingest"),
        (["statsu"], "status"),
        (["quarantine", "lst"], "list"),
        (["ledger", "tial"], "tail"),
        (["ledger", "verfy"], "verify"),
    ],
)
def test_an_unknown_command_gets_the_nearest_as_a_suggestion(run: Run, typed: list[str], meant: str):
    output = run(*typed)
    assert output.code == USAGE_EXIT_CODE
    assert f"did you mean {meant!r}?" in output.err
    assert output.out == ""


def test_an_unknown_command_without_a_near_one_gets_the_list(run: Run):
    output = run("xyzzy")
    assert output.code == USAGE_EXIT_CODE
    assert "commands: demo, new, up, down" in output.err


@pytest.mark.parametrize(
    ("words", "page"),
    [
        (["--nonsense"], "wellspring"),
        (["ingest", "a", "b"], "wellspring ingest"),
        (["prove", "drop:1"], "wellspring prove"),
        (["ledger", "tail", "-n", "0"], "wellspring ledger tail"),
        (["status", "--project"], "wellspring"),
    ],
)
def test_wrong_usage_exits_64_and_names_the_help(run: Run, words: list[str], page: str):
    output = run(*words)
    assert output.code == USAGE_EXIT_CODE
    assert output.err.startswith("usage: ")
    assert f"fix: see `{page} --help`" in output.err


def test_the_next_command_includes_program_path_and_project(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    place, elsewhere = tmp_path / "a place" / "bin", tmp_path / "bin"
    for folder in (place, elsewhere):
        folder.mkdir(parents=True)
        (folder / "wellspring").touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    plain, named = CliContext(folder=None, as_json=False), CliContext(folder=Path("a project"), as_json=False)
    monkeypatch.setenv("PATH", str(place))
    monkeypatch.setattr("sys.argv", [str(place / "wellspring")])
    assert plain.full_command("wellspring up && wellspring status") == "wellspring up && wellspring status"
    assert named.full_command("wellspring up") == f"wellspring --project '{tmp_path}/a project' up"
    monkeypatch.setenv("PATH", str(elsewhere))
    once = f"'{place}/wellspring'"
    assert plain.full_command("wellspring up; wellspring status") == f"{once} up; {once} status"


def test_help_shows_whole_sentences_and_the_global_options(run: Run):
    output = " ".join(run("--help").out.split())
    assert "the signed Merkle log of every action; an independent witness cosigns it" in output
    assert "... " not in output.partition("Commands:")[2]
    assert "--json" in run("ledger", "tail", "--help").out


def test_with_json_an_error_is_a_document(run: Run):
    output = run("ingset", "--json")
    assert output.code == USAGE_EXIT_CODE
    assert output.out == ""
    assert set(output.error) == {"error", "what", "fix"}


def test_outside_a_project_the_error_names_the_project_option(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    for words in (["status"], ["ingest"], ["up"], ["ledger", "key"], ["prove", "drop:1", "--out", "p"]):
        output = run(*words)
        assert output.code == 66
        assert f"no wellspring.toml in {tmp_path} or above it" in output.err
        assert "--project FOLDER" in output.err
    assert list(tmp_path.iterdir()) == []


def test_the_nearest_project_upwards_is_used(run: Run, root: Path, monkeypatch: pytest.MonkeyPatch):
    deep = root / "contracts" / "old"
    deep.mkdir()
    monkeypatch.chdir(deep)
    assert "fix" not in (output := run("status", "--json")).err
    assert output.code == 69


def test_every_problem_of_a_wrong_toml_is_reported_with_its_line(run: Run, root: Path):
    toml = root / "wellspring.toml"
    toml.write_text(
        '[project]\nname = "Health Plan"\ntenant = "wellspring-benefits"\n\n'
        '[sources.clearinghouse]\nkind = "sftp"\nadress = "embedded"\nsettle_seconds = -1\n'
    )
    output = run("ingest", "--project", root)
    assert output.code == 78
    lines = output.err.splitlines()
    assert any(line.startswith(f"project: {toml}:2: 'project.name'") for line in lines)
    assert any(f"{toml}:7: unknown key" in line and "did you mean 'address'?" in line for line in lines)
    assert any(f"{toml}:8: 'sources.clearinghouse.settle_seconds'" in line for line in lines)
    assert lines[-1] == f"fix: edit {toml}"
    assert run("ingest", "--project", root, "--json").error["error"] == "project"


def test_invalid_toml_is_reported_with_its_line(run: Run, root: Path):
    (root / "wellspring.toml").write_text("[project\n")
    output = run("status", "--project", root)
    assert output.code == 78
    assert "line 1" in output.err


def failing(problem: BaseException) -> click.Command:
    @click.command()
    def command() -> None:
        raise problem

    return command


@pytest.mark.parametrize("slug", sorted(ERRORS_BY_SLUG))
def test_each_error_class_has_its_exit_code_and_prints_its_fix(capsys: pytest.CaptureFixture[str], slug: str):
    problem = ERRORS_BY_SLUG[slug]("the server is down", fix="start it")
    assert run_command(failing(problem), []) == problem.exit_code
    assert capsys.readouterr().err == f"{slug}: the server is down\nfix: start it\n"
    assert len({kind.exit_code for kind in ERRORS_BY_SLUG.values()}) == len(ERRORS_BY_SLUG)


def test_an_interrupt_exits_130_without_a_traceback(capsys: pytest.CaptureFixture[str]):
    assert run_command(failing(KeyboardInterrupt()), []) == 130
    assert "stopped: interrupted" in capsys.readouterr().err


@pytest.mark.parametrize("as_json", [True, False])
def test_a_refusal_prints_the_reasons_of_its_verdict(capsys: pytest.CaptureFixture[str], as_json: bool):
    reason = Reason(code="range", message="3 rows are out of range", column="units", count=3)
    verdict = Verdict(subject="drop:1", outcome="fail", reasons=(reason,))
    print_error(Refused("no", fix="mend it", verdict=verdict), as_json)
    output = capsys.readouterr().err
    if as_json:
        assert json.loads(output)["verdict"]["reasons"][0]["code"] == "range"
    else:
        assert output == "refused: no\n  range in units: 3 rows are out of range\nfix: mend it\n"


def test_a_closed_standard_output_is_not_an_error(root: Path):
    # As in `wellspring --help | head -1`.
    read, write = os.pipe()
    os.close(read)
    words = [sys.executable, "-m", "wellspring.cli", "doctor", "--project", str(root)]
    ran = subprocess.run(words, stdout=write, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    os.close(write)
    assert ran.stderr == ""
    assert ran.returncode == 0


def test_the_last_line_is_the_next_command(capsys: pytest.CaptureFixture[str]):
    CliContext(folder=None, as_json=False).print_result({}, next_command="wellspring up")
    assert capsys.readouterr().out == "next: wellspring up\n"
    CliContext(folder=None, as_json=True).print_result({"a": 1}, next_command="wellspring up")
    assert json.loads(capsys.readouterr().out) == {"a": 1}


def test_every_command_has_help(run: Run):
    for name in cli.list_commands(click.Context(cli)):
        output = run(name, "--help")
        assert output.code == 0
        assert output.out.startswith(f"Usage: wellspring {name}")


def test_version_and_help_load_no_heavy_module():
    heavy = "pyarrow polars duckdb pyiceberg sqlalchemy asyncssh psycopg numpy pandas hvac openlineage rich"
    for word in ("--version", "--help", "verify"):
        code = (
            "import sys; from wellspring.cli import cli; from wellspring.cli.context import run_command; "
            f"run_command(cli, {[word]!r} + (['/nowhere'] if {word!r} == 'verify' else [])); "
            f"print(sorted(set({heavy!r}.split()) & set(sys.modules)))"
        )
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
        assert ran.stdout.splitlines()[-1] == "[]", word


def test_a_file_of_another_user_names_who_may_read_it(capsys: pytest.CaptureFixture[str]):
    @click.command()
    def read_closed_file() -> None:
        raise PermissionError(13, "Permission denied", "/srv/shop/.wellspring/run.json")

    assert run_command(read_closed_file, []) == 77
    message = capsys.readouterr().err
    assert f"uid {os.geteuid()} may not read or change /srv/shop/.wellspring/run.json" in message
    assert "run as the user who ran `wellspring up`" in message
