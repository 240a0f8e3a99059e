"""The pack of an answer, broken in every way that packs are: each is named."""

import itertools
import json
import random
import shutil
from pathlib import Path

import pytest

from tests.builders import prediction_story as told
from tests.builders.packs import Made
from tests.verify.test_pack import blames, check, flipped, said
from wellspring_verify import verify
from wellspring_verify.cli import main


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return told.made(tmp_path_factory.mktemp("sound"))


@pytest.fixture
def copy(sound: Made, tmp_path: Path) -> Made:
    shutil.copytree(sound.folder, tmp_path / "pack")
    return sound._replace(folder=tmp_path / "pack")


@pytest.mark.parametrize("kind", ["prediction", "model", "release", "candidate", "run", "edition"])
def test_a_sound_pack_of_each_kind_verifies(tmp_path: Path, kind: str):
    release = told.release().name
    subject = {
        "prediction": told.SUBJECT, "model": f"model:denials@{release.partition(':')[2]}", "release": release,
        "candidate": f"candidate:{told.CANDIDATE_ID}", "run": "run:r1", "edition": "edition:b1",
    }[kind]  # fmt: skip
    one = told.made(tmp_path, subject=subject)
    report = check(one)
    assert (report.outcome, report.findings, report.subject) == (0, (), subject)
    assert verify(one.folder).outcome == 10


def test_an_answer_that_was_given_while_its_edition_was_materialized_verifies(tmp_path: Path):
    steps = told.steps()
    one = told.made(tmp_path, {**steps, "materialize": steps["materialize"]._replace(intent=True, late=True)})
    assert (check(one).outcome, check(one).findings) == (0, ())


def test_the_texts_that_were_approved_lie_in_the_pack(sound: Made):
    release = told.release()
    name = f"documents/release/{release.name.partition(':')[2]}/{release.digest}"
    assert json.loads(sound.files()[name]) == told.RELEASE
    assert sorted({name.partition("/")[0] for name in sound.files()}) == [
        "checkpoint", "contracts", "entries", "manifest.json", "documents", "proofs.json", "seal.json", "story.json",
        "story.md",
    ]  # fmt: skip


ALL = [7, pytest.param(1, marks=pytest.mark.long)]
"""Every seventh bit is flipped in `make test`, each one in `make test-full`."""


@pytest.mark.parametrize("each", ALL)
def test_every_bit_of_the_signature_lines_counts(copy: Made, each: int):
    file = copy.folder / "checkpoint"
    content = file.read_bytes()
    for bit in range(8 * (content.index(b"\n\n") + 1), 8 * len(content), each):
        file.write_bytes(flipped(content, bit))
        report = check(copy)
        assert report.outcome == 20, bit
        assert report.findings[0].file == "checkpoint"


@pytest.mark.parametrize("each", ALL)
def test_every_bit_of_the_approval_counts(copy: Made, each: int):
    """As it stands in its entry: the proof and the manifest name the file, whatever the signature says."""
    name, content = next(
        (name, content)
        for name, content in copy.files().items()
        if name.startswith("entries/") and b'"action":"approve"' in content
    )
    start = content.index(b'"signature":"') + len(b'"signature":"')
    signature = content[start : content.index(b'"', start)]
    assert len(signature) == 88
    for bit in range(8 * start, 8 * (start + len(signature)), each):
        (copy.folder / name).write_bytes(flipped(content, bit))
        blames(copy, name)


@pytest.mark.parametrize("each", ALL)
def test_two_thousand_flipped_bits_are_named(copy: Made, each: int):
    files = copy.files()
    chance = random.Random(20261125)
    signatures = files["checkpoint"].index(b"\n\n") + 2
    bits = {name: 8 * (signatures if name == "checkpoint" else len(content)) for name, content in files.items()}
    chosen = [(name, chance.randrange(bits[name])) for name in chance.choices(list(bits), list(bits.values()), k=1500)]
    # Every file has its share, or the large ones would hide the small.
    chosen += [(name, chance.randrange(bits[name])) for name in files for _ in range(500 // len(files) + 1)]
    assert len(chosen) >= 2000
    for name, bit in chosen[::each]:
        (copy.folder / name).write_bytes(flipped(files[name], bit))
        blames(copy, name)
        (copy.folder / name).write_bytes(files[name])
    assert check(copy).outcome == 0


def test_a_file_that_was_removed_cut_or_swapped_is_named(copy: Made):
    files = copy.files()
    for name, content in files.items():
        (copy.folder / name).unlink()
        blames(copy, name)
        (copy.folder / name).write_bytes(content[:-1])
        blames(copy, name)
        (copy.folder / name).write_bytes(content)
    for one, other in itertools.pairwise(sorted(files)):
        (copy.folder / one).write_bytes(files[other])
        (copy.folder / other).write_bytes(files[one])
        blames(copy, one)
        blames(copy, other)
        (copy.folder / one).write_bytes(files[one])
        (copy.folder / other).write_bytes(files[other])
    assert check(copy).outcome == 0


@pytest.mark.parametrize(
    "name", ["documents/x", "documents/release/x/y", "documents/release/a/b/c", "documents/key/k/" + "0" * 64]
)
def test_a_paper_that_was_added_is_named(copy: Made, name: str):
    (copy.folder / name).parent.mkdir(parents=True, exist_ok=True)
    (copy.folder / name).write_bytes(b"{}")
    blames(copy, f"{name}: it is not listed")
    manifest = json.loads((copy.folder / "manifest.json").read_bytes())
    digest = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    manifest["files"][name] = digest
    (copy.folder / "manifest.json").write_bytes(json.dumps(manifest, separators=(",", ":"), sort_keys=True).encode())
    assert any(finding.file == name for finding in check(copy).findings), said(check(copy))


def test_a_pack_whose_text_was_left_out_is_broken(tmp_path: Path):
    one = told.made(tmp_path, content={**told.RELEASE, "threshold": "0.9"})
    assert check(one).outcome == 20
    assert "what was approved cannot be read" in said(check(one))


def test_an_answer_in_hand_is_checked_against_the_pack(sound: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    held = tmp_path / "answer.json"
    held.write_text(json.dumps(told.answer(), indent=1))
    keys = ["--key", sound.key, "--witness", sound.witness]
    assert main([str(sound.folder), *keys, "--answer", str(held)]) == 0
    out = capsys.readouterr().out
    assert "the promise under it holds" in out
    assert f"its row of 'claim_features' is that of '{told.TOKEN}'" in out
    held.write_text(json.dumps(told.answer(score=0.9)))
    assert main([str(sound.folder), *keys, "--answer", str(held)]) == 20
    assert "the answer: it is not the answer that was given" in capsys.readouterr().out
    held.write_text("\x1b[2J")
    assert main([str(sound.folder), *keys, "--answer", str(held)]) == 20
    assert capsys.readouterr().out.isascii()
    for missing in (str(tmp_path / "none"), str(tmp_path), "\0"):
        assert main([str(sound.folder), *keys, "--answer", missing]) == 66
