"""The `ingest` command: its text, document and exit code; no server is started."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from tests.builders.command_line import Run, StubWorker
from tests.builders.ingest_results import ACCOUNT, ingest_result
from wellspring.cli import ingest as module
from wellspring.project import load_project
from wellspring.supervisor import client

COMMANDS = (
    ["ingest"],
    ["ingest", "clearinghouse"],
    ["quarantine", "list"],
    ["quarantine", "show", "d"],
    ["quarantine", "replay", "d"],
)


@pytest.mark.parametrize("words", COMMANDS)
def test_with_the_servers_down_a_command_exits_69_and_starts_nothing(run: Run, root: Path, words: list[str]):
    before, files = {process.pid for process in psutil.Process().children(recursive=True)}, sorted(root.rglob("*"))
    output = run(*words, "--project", root)
    assert output.code == 69
    assert output.err == f"unavailable: the servers of {root} are not up\nfix: run `wellspring up`\n"
    assert sorted(root.rglob("*")) == files
    assert not load_project(root).runtime_dir.exists()
    assert {process.pid for process in psutil.Process().children(recursive=True)} == before
    assert run(*words, "--json", "--project", root).error["error"] == "unavailable"


def test_an_unknown_source_is_refused_with_a_suggestion(run: Run, root: Path):
    output = run("ingest", "clearinghose", "--project", root)
    assert output.code == 66
    assert "no source 'clearinghose'" in output.err
    assert "did you mean 'clearinghouse'?" in output.err


def test_of_several_sources_one_must_be_named(run: Run, root: Path, stub_worker: StubWorker):
    with (root / "wellspring.toml").open("a") as toml:
        toml.write('\n[sources.lab]\nkind = "sftp"\n')
    output = run("ingest", "--project", root)
    assert output.code == 64
    assert "clearinghouse, lab" in output.err
    calls = stub_worker(module, ingest_result(source="lab"))
    run("ingest", "lab", "--project", root)
    assert calls == [("ingest", "lab", None)]


def test_the_only_source_needs_no_name(run: Run, root: Path, stub_worker: StubWorker):
    calls = stub_worker(module, ingest_result())
    output = run("ingest", "--project", root)
    assert calls == [("ingest", "clearinghouse", None)]
    assert output.code == 0
    assert "a.csv  published        10          8       0            2         0        0" in output.out
    assert "a.csv: 2 x enum in kind: not in the list" in output.out
    assert "published edition abc" in output.out
    assert output.out.splitlines()[-1] == "next: wellspring quarantine list"


def test_the_json_document_is_the_result_of_the_worker(run: Run, root: Path, stub_worker: StubWorker):
    stub_worker(module, ingest_result())
    assert run("ingest", "--json", "--project", root).document == ingest_result()


def test_nothing_new_exits_3_and_names_the_current_edition(run: Run, root: Path, stub_worker: StubWorker):
    stub_worker(module, ingest_result(files=[], newly_published=False, age_seconds=7_300))
    output = run("ingest", "--project", root)
    assert output.code == 3
    assert output.out.splitlines()[0] == (
        "nothing new in clearinghouse; readers keep the last good edition abc, 2 h old"
    )


def test_before_the_first_edition_no_edition_is_named(run: Run, root: Path, stub_worker: StubWorker):
    stub_worker(module, ingest_result(files=[], newly_published=False, edition=None, age_seconds=None))
    output = run("ingest", "--project", root)
    assert output.code == 3
    assert "nothing is published yet" in output.out


def test_a_finding_alone_exits_75(run: Run, root: Path, stub_worker: StubWorker):
    reason = {"code": "unmatched", "message": "it fits no contract", "column": None, "count": None}
    odd = {"name": "odd.csv", "status": "finding", "drop": None, "contract": None, "account": None, "reasons": [reason]}
    stub_worker(module, ingest_result(files=[odd], newly_published=False))
    output = run("ingest", "--project", root)
    assert output.code == 75
    assert "odd.csv: unmatched: it fits no contract" in output.out


def test_a_file_that_is_still_written_is_named_and_exits_3(run: Run, root: Path, stub_worker: StubWorker):
    reason = {"code": "still_writing", "message": "it may be unfinished", "column": None, "count": None}
    half = {"name": "half\x1b[2J\nok.csv", "status": "still_writing", "drop": None, "contract": None, "account": None}
    stub_worker(module, ingest_result(files=[{**half, "reasons": [reason]}], newly_published=False))
    output = run("ingest", "--project", root)
    assert output.code == 3
    assert "half\\x1b[2J\\nok.csv  still_writing" in output.out
    assert "\x1b" not in output.out
    assert "half\\x1b[2J\\nok.csv: still_writing: it may be unfinished" in output.out.splitlines()[3]
    document = run("ingest", "--json", "--project", root)
    assert document.document["files"][0]["name"] == "half\x1b[2J\nok.csv"
    assert "\x1b" not in document.out


def test_open_findings_are_counted_and_change_no_exit_code(run: Run, root: Path, stub_worker: StubWorker):
    stub_worker(module, ingest_result(files=[], newly_published=False, open_findings=1_200))
    output = run("ingest", "--project", root)
    assert output.code == 3
    assert "1,200 open findings: wellspring --project" in output.out
    assert "finding list" in output.out


def test_a_stopped_drop_exits_75_and_names_the_last_good_edition(run: Run, root: Path, stub_worker: StubWorker):
    reason = {"code": "set_incomplete", "message": "drop c-2 is stopped", "column": None, "count": None}
    stopped = {"name": "b.csv", "status": "stopped", "drop": "c-2", "contract": "claim", "reasons": []}
    stopped["account"] = {**ACCOUNT, "published": 0, "quarantined": 0, "rejected": 10}
    stub_worker(
        module,
        ingest_result(
            files=[stopped], newly_published=False, age_seconds=40, verdict={"outcome": "fail", "reasons": [reason]}
        ),
    )
    output = run("ingest", "--project", root)
    assert output.code == 75
    assert "readers keep the last good edition abc, 40 s old" in output.out
    assert "set_incomplete: drop c-2 is stopped" in output.out
    assert "next: wellspring ingest " in output.out.splitlines()[-1]


@pytest.mark.parametrize("words", [*COMMANDS, ["prove", "drop:d", "--out", "nowhere"]])
def test_no_command_starts_a_server(run: Run, root: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]):
    started: list[Path] = []
    monkeypatch.setattr(client, "start_servers", lambda project, **_: started.append(project.root))
    assert run(*words, "--project", root).code == 69
    assert started == []
