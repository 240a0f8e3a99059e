"""The commands prove, verify and ledger without running servers."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import psutil
import pytest

from tests.builders.command_line import Run
from tests.builders.journal_keys import journal_key, write_service_keys
from tests.builders.ledger import CONTRACT
from tests.builders.packs import built
from wellspring.cli.proof import copy_pack
from wellspring.embedded import layout
from wellspring.errors import Refused
from wellspring.project import load_project
from wellspring.runtime.privileges import detect_privileges
from wellspring.workflows.prove import contract_archive_dir
from wellspring_verify import canonical


@pytest.fixture
def project(root: Path, tmp_path: Path) -> Path:
    """A stopped project with two drops in its ledger; the story of drop:d0 is sealed."""
    result = built(tmp_path)
    project, granted = load_project(root), detect_privileges(load_project(root))
    project.state_dir.mkdir()
    write_service_keys(project.state_dir)
    layout.create_folders(project, granted)
    for name, place in (
        ("ledger", project.ledger_dir),
        ("witness", root / "witness"),
        ("journals", project.journals_dir),
    ):
        shutil.copytree(result.project / name, place, dirs_exist_ok=True)
    owners = {project.ledger_dir: "sequencer", project.journals_dir / "worker": "worker", root / "witness": "witness"}
    for folder, service in owners.items():
        for path in (folder, *folder.rglob("*")):
            granted.set_owner(path, service, 0o755 if path.is_dir() else 0o644)
    stored = contract_archive_dir(project) / f"{hashlib.sha256(CONTRACT).hexdigest()}.odcs.yaml"
    stored.parent.mkdir()
    stored.write_bytes(CONTRACT)
    return root


def test_a_sealed_story_is_proved_offline_and_verifies(run: Run, project: Path, tmp_path: Path):
    out = tmp_path / "mine"
    output = run("prove", "drop:d0", "--out", out, "--project", project)
    assert (output.code, output.err) == (0, "")
    assert f"the story of drop:d0: 6 entries with proofs, in {out}" in output.out
    keys = tmp_path / "keys.txt"
    keys.write_text(run("ledger", "key", "--project", project).out)
    assert run("verify", out, "--key", keys, "--witness", keys).code == 0
    assert run("verify", out).code == 10
    document = run("verify", out, "--key", keys, "--json").document
    assert (document["outcome"], document["unchecked"]) == (10, ["witness"])
    document = run("verify", out, "--key", keys, "--witness", keys, "--json").document
    assert (document["outcome"], document["unchecked"]) == (0, [])
    assert document["subject"] == "drop:d0"


def test_a_flipped_byte_exits_20_and_its_file_is_named(run: Run, project: Path, tmp_path: Path):
    out = tmp_path / "mine"
    run("prove", "drop:d0", "--out", out, "--project", project)
    entry = sorted((out / "entries").iterdir())[1]
    content = bytearray(entry.read_bytes())
    content[40] ^= 1
    entry.write_bytes(content)
    output = run("verify", out)
    assert output.code == 20
    assert f"entries/{entry.name}" in output.out


@pytest.mark.parametrize("subject", ["drop:d1", "edition:e1", "dataset:medical_claim"])
def test_a_story_that_is_not_sealed_exits_69_with_the_servers_down(
    run: Run, project: Path, tmp_path: Path, subject: str
):
    output = run("prove", subject, "--out", tmp_path / "mine", "--project", project)
    assert output.code == 69
    assert "is not sealed in the ledger" in output.err
    assert output.err.endswith("fix: run `wellspring up`\n")
    assert not (tmp_path / "mine").exists()
    assert not (project / ".wellspring" / "run.json").exists()
    assert not [item for item in psutil.process_iter(["cmdline"]) if str(project) in str(item.info["cmdline"])]


@pytest.mark.parametrize(
    ("requests", "meant"),
    [("drop:d9", "drop:d"), ("edition:e9", "edition:e"), ("dataset:medical_claims", "dataset:medical_claim")],
)
def test_an_unknown_subject_gets_the_nearest_as_a_suggestion(
    run: Run, project: Path, tmp_path: Path, requests: str, meant: str
):
    output = run("prove", requests, "--out", tmp_path / "mine", "--project", project)
    assert output.code == 66
    assert f"the ledger has no entry of {requests}" in output.err
    assert f"did you mean '{meant}" in output.err


@pytest.mark.parametrize("requests", ["d0", "model:", "drop:", "../../etc"])
def test_a_malformed_subject_gets_the_forms_of_subjects(run: Run, project: Path, tmp_path: Path, requests: str):
    output = run("prove", requests, "--out", tmp_path / "mine", "--project", project)
    assert output.code == 66
    assert "name drop:ID, edition:ID, dataset:NAME, pipeline:SOURCE, prediction:ID" in output.err


def test_prove_before_the_first_up_exits_69_and_creates_nothing(run: Run, root: Path, tmp_path: Path):
    files = sorted(root.rglob("*"))
    output = run("prove", "drop:d0", "--out", tmp_path / "mine", "--project", root)
    assert output.code == 69
    assert output.err.endswith("fix: run `wellspring up`\n")
    assert sorted(root.rglob("*")) == files


def test_a_pack_does_not_replace_other_files(run: Run, project: Path, tmp_path: Path):
    out = tmp_path / "mine"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    output = run("prove", "drop:d0", "--out", out, "--project", project)
    assert output.code == 77
    assert [path.name for path in out.iterdir()] == ["thesis.txt"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_pack_is_not_written_through_a_link_of_another_user(tmp_path: Path):
    pack = tmp_path / "pack"
    pack.mkdir()
    (pack / "seal.json").touch()
    (tmp_path / "theirs").symlink_to(tmp_path / "elsewhere")
    os.chown(tmp_path / "theirs", 65432, 65432, follow_symlinks=False)
    with pytest.raises(Refused, match="theirs is a link of another user"):
        copy_pack(pack, tmp_path / "theirs" / "out")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "own").symlink_to(tmp_path / "elsewhere")
    copy_pack(pack, tmp_path / "own" / "out")
    assert (tmp_path / "elsewhere/out/seal.json").exists()


def test_a_pack_replaces_an_older_pack_of_its_subject(tmp_path: Path):
    for name, subject in (("old", "drop:1"), ("new", "drop:1"), ("other", "drop:2")):
        (tmp_path / name / "entries").mkdir(parents=True)
        (tmp_path / name / "manifest.json").write_text(json.dumps({"subject": subject, "of": name}))
        (tmp_path / name / "seal.json").touch()
    (tmp_path / "old" / "entries" / "left").touch()
    (tmp_path / "empty").mkdir()
    copy_pack(tmp_path / "new", tmp_path / "empty")
    assert (tmp_path / "empty" / "manifest.json").is_file()
    copy_pack(tmp_path / "new", tmp_path / "old")
    assert '"of": "new"' in (tmp_path / "old" / "manifest.json").read_text()
    assert not (tmp_path / "old" / "entries" / "left").exists()
    with pytest.raises(Refused, match="holds the story of drop:1"):
        copy_pack(tmp_path / "other", tmp_path / "old")
    assert '"of": "new"' in (tmp_path / "old" / "manifest.json").read_text()


def test_a_folder_with_another_manifest_is_not_a_pack(tmp_path: Path):
    (tmp_path / "new").mkdir()
    site = tmp_path / "site"
    site.mkdir()
    (site / "manifest.json").write_text('{"name": "a page", "start_url": "/"}')
    (site / "index.html").write_text("a page")
    with pytest.raises(Refused, match="not a pack"):
        copy_pack(tmp_path / "new", site)
    assert (site / "index.html").read_text() == "a page"


def test_verify_of_a_name_that_is_too_long_for_a_folder(run: Run):
    output = run("verify", "a" * 5000)
    assert (output.code, output.err.startswith("not-found: no folder aaa")) == (66, True)


def test_verify_of_a_folder_that_is_not_a_pack(run: Run, tmp_path: Path):
    (tmp_path / "notes.txt").write_bytes(b"\x1b[2Jhello\xff")
    output = run("verify", tmp_path)
    assert (output.code, "is not a pack" in output.err) == (66, True)
    (tmp_path / "checkpoint").touch()
    output = run("verify", tmp_path)
    assert output.code == 20
    assert "manifest.json: it is missing" in output.out
    assert "\x1b" not in output.out
    assert run("verify", tmp_path, "--json").document["outcome"] == 20


def test_verify_of_missing_files_and_of_a_malformed_key(run: Run, tmp_path: Path):
    assert run("verify", tmp_path / "nowhere", "--json").error["error"] == "not-found"
    (tmp_path / "checkpoint").touch()
    output = run("verify", tmp_path, "--key", "nonsense")
    assert output.code == 64
    assert "--key nonsense is neither a key nor a file" in output.err
    output = run("verify", tmp_path, "--answer", tmp_path / "nowhere.json")
    assert (output.code, "predict MODEL --newest" in output.err) == (66, True)


def test_verify_needs_no_project(run: Run, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run("prove", "drop:d0", "--out", tmp_path / "mine", "--project", project)
    keys = run("ledger", "key", "--json", "--project", project).document
    monkeypatch.chdir("/")
    output = run("verify", tmp_path / "mine", "--key", keys["log"], "--witness", keys["witness"])
    assert (output.code, "the signatures of the services were NOT checked" in output.out) == (10, True)


def test_ledger_verify_exits_20_for_a_changed_tile(run: Run, project: Path):
    output = run("ledger", "verify", "--project", project)
    assert output.code == 0
    assert "every hash, signature and cosignature is valid" in output.out
    tile = next(path for path in (project / ".wellspring/ledger/tile/entries").rglob("*") if path.is_file())
    content = bytearray(tile.read_bytes())
    content[60] ^= 1
    tile.write_bytes(content)
    output = run("ledger", "verify", "--json", "--project", project)
    assert output.code == 20
    assert output.document["findings"]


def test_ledger_tail_shows_the_newest_entries(run: Run, project: Path):
    output = run("ledger", "tail", "-n", "2", "--project", project)
    assert output.code == 0
    assert [line.split()[3] for line in output.out.splitlines()[2:4]] == ["settle", "seal"]
    document = run("ledger", "tail", "-n", "1000", "--json", "--project", project).document
    assert [entry["index"] for entry in document] == list(range(len(document)))
    assert json.dumps(document[0]["inputs"]).count("source:clearinghouse/") == 1


def test_the_ledger_before_the_first_entry(run: Run, root: Path):
    assert run("ledger", "key", "--project", root).code == 66
    assert run("ledger", "verify", "--project", root).code == 66
    assert run("ledger", "tail", "--json", "--project", root).document == []


def test_ledger_verify_names_acknowledged_entries_that_are_not_in_the_log(run: Run, project: Path):
    journal = next(
        path for path in sorted((project / ".wellspring/journals/enclave").iterdir()) if path.suffix == ".log"
    )
    lines = journal.read_bytes().splitlines()
    last = json.loads(lines[-1])
    pending = {**last, "sequence": last["sequence"] + 1, "known_since": "2026-11-25T15:00:00.000000Z"}
    journal.write_bytes(b"\n".join([*lines, canonical.dumps_canonical(pending), b""]))
    output = run("ledger", "verify", "--project", project)
    assert (output.code, f"line {pending['sequence']}: its signature is not valid" in output.out) == (20, True)
    del pending["signature"]
    pending["signature"] = journal_key("enclave").sign_line(canonical.dumps_canonical(pending)).model_dump()
    journal.write_bytes(b"\n".join([*lines, canonical.dumps_canonical(pending), b""]))
    output = run("ledger", "verify", "--project", project)
    assert output.code == 0
    assert "every hash" not in output.out
    assert "not every acknowledged entry is in the log" in output.out
    assert (
        "1 entries of enclave, the oldest of 2026-11-25T15:00:00.000000Z: acknowledged, not yet in the log"
        in output.out
    )
    document = run("ledger", "verify", "--json", "--project", project).document
    oldest = "2026-11-25T15:00:00.000000Z"
    assert document["pending"] == [{"service": "enclave", "entries": 1, "oldest": oldest}]
