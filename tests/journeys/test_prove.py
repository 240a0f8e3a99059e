"""Packs are written with running servers, and after sealing without them; they verify offline."""

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
from tests.builders.journeys import ProjectFixture

pytestmark = pytest.mark.live


class Shared:
    """What was published, and the keys with which its packs verify."""

    edition = ""
    drop = ""
    log = ""
    witness = ""
    keys = Path()


@pytest.fixture(scope="module")
def published(project: ProjectFixture) -> ProjectFixture:
    """A project that has published one set."""
    drops.good(project.outbox, lines=60, members=60)
    ingested = project.ingest()
    Shared.edition = ingested["edition"]["id"]
    Shared.drop = next(item["drop"] for item in ingested["files"].values() if item["contract"] == "medical_claim")
    keys = project.run("ledger", "key", "--json").document
    Shared.log, Shared.witness = keys["log"], keys["witness"]
    Shared.keys = project.root / "auditor-keys.txt"
    Shared.keys.write_text("\n".join([keys["log"], keys["witness"], *keys["services"]]))
    return project


def verified(pack: Path, *keys: str) -> Any:
    """Verify as an auditor does: only wellspring_verify and its one library can be imported."""
    alone = pack.parent / "auditor"
    if not alone.exists():
        shutil.copytree(repository.SRC / "wellspring_verify", alone / "wellspring_verify")
        libraries = Path(cryptography.__file__).parents[1]
        for name in ("cryptography", "cffi", "_cffi_backend*", "pycparser"):
            for library in libraries.glob(name):
                (alone / library.name).symlink_to(library)
    # -I and -S: no site-packages, no PYTHONPATH, no working directory.
    start = f"import sys; sys.path.insert(0, {str(alone)!r}); from wellspring_verify.cli import main; sys.exit(main())"
    absent = "import importlib.util as u; assert u.find_spec('wellspring') is None; "
    words = [sys.executable, "-I", "-S", "-c", absent + start, str(pack), "--json", *keys]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=60, cwd="/", check=False)
    assert ran.stderr == ""
    report = json.loads(ran.stdout)
    assert report["outcome"] == ran.returncode
    return report


def keys() -> tuple[str, ...]:
    return ("--key", str(Shared.keys), "--witness", Shared.witness)


@pytest.mark.parametrize("kind", ["drop", "edition", "dataset", "pipeline"])
def test_a_pack_verifies_offline(published: ProjectFixture, tmp_path: Path, kind: str):
    subject = {
        "drop": f"drop:{Shared.drop}",
        "edition": f"edition:{Shared.edition}",
        "dataset": "dataset:medical_claim",
        "pipeline": "pipeline:clearinghouse",
    }
    output = published.run("prove", subject[kind], "--out", tmp_path / "pack", "--json")
    assert output.code == 0, output.err
    report = verified(tmp_path / "pack", *keys())
    assert (report["outcome"], report["subject"], report["findings"]) == (0, subject[kind], [])
    story = json.loads((tmp_path / "pack" / "story.json").read_bytes())
    actions = {entry["action"] for entry in json_entries(tmp_path / "pack")}
    assert actions >= {"land", "admit", "stage", "publish"}
    assert story
    # The pack holds the contract of that time.
    contract = tmp_path / "pack" / "contracts" / "medical_claim@1.0.0.yaml"
    assert contract.read_bytes() == (published.project.contracts_dir / "medical_claim.odcs.yaml").read_bytes()


def json_entries(pack: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_bytes()) for path in sorted((pack / "entries").iterdir())]


def test_without_a_key_the_signer_is_not_checked_and_a_flipped_byte_is_named(published: ProjectFixture, tmp_path: Path):
    pack = tmp_path / "pack"
    assert published.run("prove", f"edition:{Shared.edition}", "--out", pack).code == 0
    assert verified(pack)["outcome"] == 10
    entry = sorted((pack / "entries").iterdir())[2]
    content = bytearray(entry.read_bytes())
    content[len(content) // 2] ^= 1
    entry.write_bytes(content)
    report = verified(pack, *keys())
    assert report["outcome"] == 20
    assert f"entries/{entry.name}" in {finding["file"] for finding in report["findings"]}


def test_a_pack_does_not_verify_with_the_key_of_another_log(published: ProjectFixture, tmp_path: Path):
    from tests.builders.packs import built

    second = built(tmp_path / "other")
    assert published.run("prove", f"drop:{Shared.drop}", "--out", tmp_path / "pack").code == 0
    assert verified(tmp_path / "pack", "--key", second.key)["outcome"] == 20


@pytest.mark.parametrize("subject", ["drop:{drop}x", "edition:{edition}x", "dataset:medical_clam"])
def test_an_unknown_subject_gets_the_nearest_as_a_suggestion(published: ProjectFixture, tmp_path: Path, subject: str):
    requests = subject.format(drop=Shared.drop, edition=Shared.edition)
    output = published.run("prove", requests, "--out", tmp_path / "pack")
    assert output.code == 66
    assert "did you mean" in output.err
    assert not (tmp_path / "pack").exists()


def test_an_older_pack_still_verifies_after_a_later_ingest(published: ProjectFixture, tmp_path: Path):
    pack = tmp_path / "pack"
    assert published.run("prove", f"edition:{Shared.edition}", "--out", pack).code == 0
    drops.corrected(published.outbox, lines=60, members=60)
    assert published.ingest()["newly_published"]
    assert verified(pack, *keys())["outcome"] == 0


def test_with_the_servers_down_only_a_sealed_story_is_proved(published: ProjectFixture, tmp_path: Path):
    # The story of a stopped drop is in the ledger and is not sealed.
    drops.broken_schema(published.outbox, lines=60, members=60, month="2026-12")
    ingested = published.ingest(code=75)
    stopped = ingested["files"]["medical_claim_2026-12.csv"]["drop"]
    published.down()
    try:
        newest = f"edition:{ingested['edition']['id']}"
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
    assert {entry["action"] for entry in json_entries(tmp_path / "more")} == {"land", "admit", "alert", "mode"}


def test_a_pack_does_not_replace_other_files(published: ProjectFixture, tmp_path: Path):
    out = tmp_path / "mine"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    assert published.run("prove", "dataset:medical_claim", "--out", out).code == 77
    assert [path.name for path in out.iterdir()] == ["thesis.txt"]


def test_packs_verify_on_both_sides_of_a_rotation_of_the_logs_key(published: ProjectFixture, tmp_path: Path):
    """An auditor has the keys of before: the former key has signed the new one in."""
    before, after = tmp_path / "before", tmp_path / "after"
    assert published.run("prove", f"edition:{Shared.edition}", "--out", before).code == 0
    rotated = published.run("ledger", "rotate-key", "--json")
    assert rotated.code == 0, rotated.err
    drops.broken_schema(published.outbox, lines=60, members=60, month="2027-01")
    stopped = published.ingest(code=75)["files"]["medical_claim_2027-01.csv"]["drop"]
    assert published.run("prove", f"drop:{stopped}", "--out", after).code == 0
    assert not (before / "log-keys.json").exists()
    assert [verified(pack, *keys())["outcome"] for pack in (before, after)] == [0, 0]
    assert rotated.document["key"].split("+")[2] not in Shared.keys.read_text()
    assert published.run("ledger", "verify").code == 0
    assert [entry["phase"] for entry in published.list_entries("rotate_key")] == ["intent", "done"]
    # Without the signature of the former key, nobody knows the new one.
    (after / "log-keys.json").unlink()
    assert verified(after, *keys())["outcome"] == 20
