"""A story is proved while the house is up, and once sealed when nothing runs; the pack verifies without the house."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cryptography
import psutil
import pytest

from examples.health_plan import drops
from tests.architecture import repository
from tests.journeys.conftest import ProjectFixture

pytestmark = pytest.mark.live


class Result:
    """What was published, what its first story was, and the keys by which it verifies."""

    edition = ""
    drop = ""
    log = ""
    witness = ""


@pytest.fixture(scope="module")
def published(project: ProjectFixture) -> ProjectFixture:
    """A house that has published one set."""
    drops.good(project.outbox, lines=60, members=60)
    received = project.receive()
    Result.edition = received["edition"]["id"]
    Result.drop = next(item["drop"] for item in received["files"].values() if item["contract"] == "medical_claim")
    keys = project.run("ledger", "key", "--json").document
    Result.log, Result.witness = keys["log"], keys["witness"]
    return project


def verified(pack: Path, *keys: str) -> Any:
    """Verify as an auditor would: only wellspring_verify and its one library can be imported."""
    alone = pack.parent / "auditor"
    if not alone.exists():
        shutil.copytree(repository.SRC / "wellspring_verify", alone / "wellspring_verify")
        libraries = Path(cryptography.__file__).parents[1]
        for name in ("cryptography", "cffi", "_cffi_backend*", "pycparser"):
            for matches in libraries.glob(name):
                (alone / matches.name).symlink_to(matches)
    # -I and -S: no site-packages, no PYTHONPATH, no folder that we stand in.
    start = f"import sys; sys.path.insert(0, {str(alone)!r}); from wellspring_verify.cli import main; sys.exit(main())"
    absent = "import importlib.util as u; assert u.find_spec('wellspring') is None; "
    words = [sys.executable, "-I", "-S", "-c", absent + start, str(pack), "--json", *keys]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=60, cwd="/", check=False)
    assert ran.stderr == ""
    report = json.loads(ran.stdout)
    assert report["outcome"] == ran.returncode
    return report


def keys() -> tuple[str, ...]:
    return ("--key", Result.log, "--witness", Result.witness)


@pytest.mark.parametrize("kind", ["drop", "edition", "dataset"])
def test_a_story_is_proved_and_verifies_alone(published: ProjectFixture, tmp_path: Path, kind: str):
    subject = {
        "drop": f"drop:{Result.drop}",
        "edition": f"edition:{Result.edition}",
        "dataset": "dataset:medical_claim",
    }
    output = published.run("prove", subject[kind], "--out", tmp_path / "pack", "--json")
    assert output.code == 0, output.err
    report = verified(tmp_path / "pack", *keys())
    assert (report["outcome"], report["subject"], report["findings"]) == (0, subject[kind], [])
    story = json.loads((tmp_path / "pack" / "story.json").read_bytes())
    actions = {entry["action"] for entry in json_entries(tmp_path / "pack")}
    assert actions >= {"land", "admit", "stage", "publish"}
    assert story
    # The contract of that day lies in the pack.
    contract = tmp_path / "pack" / "contracts" / "medical_claim@1.0.0.yaml"
    assert contract.read_bytes() == (published.project.contracts_dir / "medical_claim.odcs.yaml").read_bytes()


def json_entries(pack: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_bytes()) for path in sorted((pack / "entries").iterdir())]


def test_without_a_key_the_signer_is_not_checked_and_a_flipped_byte_is_named(published: ProjectFixture, tmp_path: Path):
    pack = tmp_path / "pack"
    assert published.run("prove", f"edition:{Result.edition}", "--out", pack).code == 0
    assert verified(pack)["outcome"] == 10
    entry = sorted((pack / "entries").iterdir())[2]
    content = bytearray(entry.read_bytes())
    content[len(content) // 2] ^= 1
    entry.write_bytes(content)
    report = verified(pack, *keys())
    assert report["outcome"] == 20
    assert f"entries/{entry.name}" in {finding["file"] for finding in report["findings"]}


def test_another_house_did_not_sign_it(published: ProjectFixture, tmp_path: Path):
    from tests.builders.packs import built

    second = built(tmp_path / "other")
    assert published.run("prove", f"drop:{Result.drop}", "--out", tmp_path / "pack").code == 0
    assert verified(tmp_path / "pack", "--key", second.key)["outcome"] == 20


@pytest.mark.parametrize("subject", ["drop:{drop}x", "edition:{edition}x", "dataset:medical_clam"])
def test_an_unknown_subject_is_answered_with_the_nearest(published: ProjectFixture, tmp_path: Path, subject: str):
    requests = subject.format(drop=Result.drop, edition=Result.edition)
    output = published.run("prove", requests, "--out", tmp_path / "pack")
    assert output.code == 66
    assert "did you mean" in output.err
    assert not (tmp_path / "pack").exists()


def test_an_older_pack_still_verifies_after_more_was_received(published: ProjectFixture, tmp_path: Path):
    pack = tmp_path / "pack"
    assert published.run("prove", f"edition:{Result.edition}", "--out", pack).code == 0
    drops.corrected(published.outbox, lines=60, members=60)
    assert published.receive()["newly_published"]
    assert verified(pack, *keys())["outcome"] == 0


def test_a_sealed_story_is_proved_with_the_servers_down_and_one_that_is_not_is_69(
    published: ProjectFixture, tmp_path: Path
):
    # A drop that stops is told in the log, and nobody has sealed its story.
    drops.broken_schema(published.outbox, lines=60, members=60, month="2026-12")
    received = published.receive(code=75)
    stopped = received["files"]["medical_claim_2026-12.csv"]["drop"]
    published.down()
    try:
        newest = f"edition:{received['edition']['id']}"
        assert published.run("prove", newest, "--out", tmp_path / "pack").code == 0
        assert verified(tmp_path / "pack", *keys())["outcome"] == 0
        output = published.run("prove", f"drop:{stopped}", "--out", tmp_path / "more")
        assert output.code == 69
        assert output.err.endswith("fix: run `wellspring up`\n")
        assert published.run("ledger", "verify").code == 0
        assert not (published.root / ".wellspring" / "run.json").exists()
        running = [item.info["cmdline"] for item in psutil.process_iter(["cmdline"]) if item.info["cmdline"]]
        assert [line for line in running if any(str(published.root) in word for word in line)] == []
    finally:
        published.up()
    assert published.run("prove", f"drop:{stopped}", "--out", tmp_path / "more").code == 0
    report = verified(tmp_path / "more", *keys())
    assert report["outcome"] == 0
    assert {entry["action"] for entry in json_entries(tmp_path / "more")} == {"land", "admit", "alert"}


def test_as_the_worker_a_pack_is_never_written_over_another_folder(published: ProjectFixture, tmp_path: Path):
    out = tmp_path / "mine"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    assert published.run("prove", "dataset:medical_claim", "--out", out).code == 77
    assert [path.name for path in out.iterdir()] == ["thesis.txt"]
