"""The pack of an answer, broken in every way that packs are: each is named."""

import itertools
import json
import random
import shutil
from pathlib import Path

import pytest

from tests.builders import prediction_story
from tests.builders.pack_checks import blames, check, flipped, output
from tests.builders.packs import Built
from wellspring_verify import verify_pack
from wellspring_verify.cli import main


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return prediction_story.built(tmp_path_factory.mktemp("sound"))


@pytest.fixture
def copy(sound: Built, tmp_path: Path) -> Built:
    shutil.copytree(sound.folder, tmp_path / "pack")
    return sound._replace(folder=tmp_path / "pack")


@pytest.mark.parametrize("kind", ["prediction", "model", "release", "candidate", "run", "edition"])
def test_a_sound_pack_of_each_kind_verifies(tmp_path: Path, kind: str):
    release = prediction_story.release().name
    subject = {
        "prediction": prediction_story.SUBJECT, "model": f"model:denials@{release.partition(':')[2]}",
        "release": release,
        "candidate": f"candidate:{prediction_story.CANDIDATE_ID}", "run": "run:r1", "edition": "edition:b1",
    }[kind]  # fmt: skip
    item = prediction_story.built(tmp_path, subject=subject)
    report = check(item)
    assert (report.outcome, report.findings, report.subject) == (0, (), subject)
    assert verify_pack(item.folder).outcome == 10


def test_an_answer_that_was_given_while_its_edition_was_materialized_verifies(tmp_path: Path):
    steps = prediction_story.steps()
    item = prediction_story.built(
        tmp_path, {**steps, "materialize": steps["materialize"]._replace(intent=True, late=True)}
    )
    assert (check(item).outcome, check(item).findings) == (0, ())


def test_the_texts_that_were_approved_lie_in_the_pack(sound: Built):
    release = prediction_story.release()
    name = f"documents/release/{release.name.partition(':')[2]}/{release.digest}"
    assert json.loads(sound.files()[name]) == prediction_story.RELEASE
    assert sorted({name.partition("/")[0] for name in sound.files()}) == [
        "checkpoint", "contracts", "documents", "entries", "manifest.json", "proofs.json", "seal.json", "story.json",
        "story.md",
    ]  # fmt: skip


ALL = [7, pytest.param(1, marks=pytest.mark.long)]
"""Every seventh bit is flipped in `make test`, each one in `make test-full`."""


@pytest.mark.parametrize("item", ALL)
def test_every_bit_of_the_signature_lines_counts(copy: Built, item: int):
    file = copy.folder / "checkpoint"
    content = file.read_bytes()
    for bit in range(8 * (content.index(b"\n\n") + 1), 8 * len(content), item):
        file.write_bytes(flipped(content, bit))
        report = check(copy)
        assert report.outcome == 20, bit
        assert report.findings[0].file == "checkpoint"


@pytest.mark.parametrize("item", ALL)
def test_every_bit_of_the_approval_counts(copy: Built, item: int):
    """As it stands in its entry: the proof and the manifest name the file, whatever the signature says."""
    name, content = next(
        (name, content)
        for name, content in copy.files().items()
        if name.startswith("entries/") and b'"action":"approve"' in content
    )
    start = content.index(b'"signature":"') + len(b'"signature":"')
    signature = content[start : content.index(b'"', start)]
    assert len(signature) == 88
    for bit in range(8 * start, 8 * (start + len(signature)), item):
        (copy.folder / name).write_bytes(flipped(content, bit))
        blames(copy, name)


@pytest.mark.parametrize("item", ALL)
def test_a_thousand_flipped_bits_are_named(copy: Built, item: int):
    files = copy.files()
    chance = random.Random(20261125)
    signatures = files["checkpoint"].index(b"\n\n") + 2
    bits = {name: 8 * (signatures if name == "checkpoint" else len(content)) for name, content in files.items()}
    chosen = [(name, chance.randrange(bits[name])) for name in chance.choices(list(bits), list(bits.values()), k=700)]
    # Every file has its share, or the large ones would hide the small.
    chosen += [(name, chance.randrange(bits[name])) for name in files for _ in range(300 // len(files) + 1)]
    assert len(chosen) >= 1000
    for name, bit in chosen[::item]:
        (copy.folder / name).write_bytes(flipped(files[name], bit))
        blames(copy, name)
        (copy.folder / name).write_bytes(files[name])
    assert check(copy).outcome == 0


def test_a_file_that_was_removed_cut_or_swapped_is_named(copy: Built):
    files = copy.files()
    for name, content in files.items():
        (copy.folder / name).unlink()
        blames(copy, name)
        (copy.folder / name).write_bytes(content[:-1])
        blames(copy, name)
        (copy.folder / name).write_bytes(content)
    for item, second in itertools.pairwise(sorted(files)):
        (copy.folder / item).write_bytes(files[second])
        (copy.folder / second).write_bytes(files[item])
        blames(copy, item)
        blames(copy, second)
        (copy.folder / item).write_bytes(files[item])
        (copy.folder / second).write_bytes(files[second])
    assert check(copy).outcome == 0


@pytest.mark.parametrize(
    "name", ["documents/x", "documents/release/x/y", "documents/release/a/b/c", "documents/key/k/" + "0" * 64]
)
def test_an_added_document_is_reported(copy: Built, name: str):
    (copy.folder / name).parent.mkdir(parents=True, exist_ok=True)
    (copy.folder / name).write_bytes(b"{}")
    blames(copy, f"{name}: it is not listed")
    manifest = json.loads((copy.folder / "manifest.json").read_bytes())
    digest = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    manifest["files"][name] = digest
    (copy.folder / "manifest.json").write_bytes(json.dumps(manifest, separators=(",", ":"), sort_keys=True).encode())
    assert any(finding.file == name for finding in check(copy).findings), output(check(copy))


def test_a_pack_whose_text_was_left_out_is_broken(tmp_path: Path):
    item = prediction_story.built(tmp_path, content=prediction_story.with_threshold("0.9"))
    assert check(item).outcome == 20
    assert "does not contain the text of" in output(check(item))


def test_an_answer_in_hand_is_checked_against_the_pack(
    sound: Built, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    current = tmp_path / "answer.json"
    current.write_text(json.dumps(prediction_story.answer(), indent=1))
    keys = ["--key", sound.write_keys(tmp_path), "--witness", sound.witness]
    assert main([str(sound.folder), *keys, "--answer", str(current)]) == 0
    out = capsys.readouterr().out
    assert "its signature is valid" in out
    assert f"its row of 'claim_features' has the key '{prediction_story.TOKEN}'" in out
    current.write_text(json.dumps(prediction_story.answer(score=0.9)))
    assert main([str(sound.folder), *keys, "--answer", str(current)]) == 20
    assert "the prediction: it is not the prediction that the API returned" in capsys.readouterr().out
    current.write_text("\x1b[2J")
    assert main([str(sound.folder), *keys, "--answer", str(current)]) == 20
    assert capsys.readouterr().out.isascii()
    for missing in (str(tmp_path / "none"), str(tmp_path), "\0"):
        assert main([str(sound.folder), *keys, "--answer", missing]) == 66
