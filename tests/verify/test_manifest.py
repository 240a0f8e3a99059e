"""A pack whose manifest refers to sealed parts: what is changed, removed, added or exchanged in a part is named."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from pathlib import Path

import pytest

from tests.builders.pack_checks import blames, check, flipped, output
from tests.builders.packs import Built, built_with_parts
from wellspring_verify.canonical import dumps_canonical


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return built_with_parts(tmp_path_factory.mktemp("sound"))


@pytest.fixture
def copy(sound: Built, tmp_path: Path) -> Built:
    shutil.copytree(sound.folder, tmp_path / "pack")
    return sound._replace(folder=tmp_path / "pack")


def parts_of(built: Built) -> list[str]:
    """The files of the parts, from the nearest to the oldest."""
    files, names = built.files(), list[str]()
    manifest = json.loads(files["manifest.json"])
    while manifest.get("parts"):
        (digest,) = manifest["parts"].values()
        names.append(f"parts/{digest}.json")
        manifest = json.loads(files[names[-1]])
    return names


def test_a_pack_with_parts_verifies(sound: Built):
    assert check(sound).outcome == 0
    assert len(parts_of(sound)) == 3


@pytest.mark.parametrize("count", [7, pytest.param(25, marks=pytest.mark.long)])
def test_flipped_bits_are_named(copy: Built, count: int):
    chance, files = random.Random(20261130), copy.files()
    for name, content in files.items():
        # Of the checkpoint, only the signature lines are covered bit by bit in test_pack.py.
        for bit in chance.sample(range(8 * len(content)), count):
            (copy.folder / name).write_bytes(flipped(content, bit))
            blames(copy, name if name != "checkpoint" else "checkpoint")
        (copy.folder / name).write_bytes(content)
    assert check(copy).outcome == 0


def test_a_removed_file_is_named(copy: Built):
    for name, content in copy.files().items():
        (copy.folder / name).unlink()
        blames(copy, name)
        (copy.folder / name).parent.mkdir(exist_ok=True)
        (copy.folder / name).write_bytes(content)


def test_an_added_part_is_named(copy: Built):
    content = dumps_canonical({"version": 1, "subject": "drop:x", "origin": "x", "files": {}})
    name = f"parts/{hashlib.sha256(content).hexdigest()}.json"
    (copy.folder / name).write_bytes(content)
    blames(copy, f"{name}: it is not listed")


def test_two_parts_that_were_swapped_are_named(copy: Built):
    first, second, _ = parts_of(copy)
    files = copy.files()
    (copy.folder / first).write_bytes(files[second])
    (copy.folder / second).write_bytes(files[first])
    blames(copy, first)
    blames(copy, second)


def test_a_part_that_was_cut_off_is_named_even_if_all_manifests_are_mended(copy: Built):
    """A forger drops the oldest part, and writes the manifests above it anew."""
    names = parts_of(copy)
    oldest = json.loads((copy.folder / names[-1]).read_bytes())
    for name in oldest["files"]:
        if name.startswith("entries/"):
            (copy.folder / name).unlink()
    (copy.folder / names[-1]).unlink()
    child: dict[str, str] = {}
    for name in (*reversed(names[:-1]), "manifest.json"):
        value = json.loads((copy.folder / name).read_bytes())
        value["parts"] = child
        if not child:
            del value["parts"]
            value["version"] = 1
        content = dumps_canonical(value)
        digest = hashlib.sha256(content).hexdigest()
        (copy.folder / name).unlink()
        target = name if name == "manifest.json" else f"parts/{digest}.json"
        (copy.folder / target).write_bytes(content)
        child = {value["subject"]: digest}
    report = check(copy)
    assert report.outcome == 20
    assert "manifest.json: it is not the manifest that seal.json binds" in output(report)
    assert "its parent is edition:e0, and the pack has no entry of that" in output(report)


def change(copy: Built, field: str, value: object) -> None:
    """Write the nearest part anew with another value, and have the manifest refer to it."""
    name = parts_of(copy)[0]
    content = dumps_canonical({**json.loads((copy.folder / name).read_bytes()), field: value})
    (copy.folder / name).unlink()
    digest = hashlib.sha256(content).hexdigest()
    (copy.folder / f"parts/{digest}.json").write_bytes(content)
    manifest = json.loads((copy.folder / "manifest.json").read_bytes())
    manifest["parts"] = {"edition:e2": digest}
    (copy.folder / "manifest.json").write_bytes(dumps_canonical(manifest))


@pytest.mark.parametrize(
    ("field", "value", "what"),
    [
        ("subject", "edition:e9", "it is not the part 'edition:e2' of this log"),
        ("origin", "another", "it is not the part 'edition:e2' of this log"),
        ("files", [], "it is not the part 'edition:e2' of this log"),
        ("version", 3, "it is not an object of version 1"),
        ("version", True, "it is not an object of version 1"),
        ("parts", {}, "its parts must be an object with at least one part"),
        ("parts", {"edition:e1": "x"}, "the digest of its part 'edition:e1' is not a SHA-256"),
        ("parts", {"edition:e1": "0" * 64}, "a manifest refers to it, but it is missing"),
        ("files", {"story.json": "0" * 64}, "it lists 'story.json', or its digest, in a wrong way"),
        ("files", {"parts/x.json": "0" * 64}, "it lists 'parts/x.json', or its digest, in a wrong way"),
        ("files", {"seal.json": "0" * 64}, "it lists 'seal.json', or its digest, in a wrong way"),
    ],
)
def test_a_part_of_a_wrong_form_is_named(copy: Built, field: str, value: object, what: str):
    change(copy, field, value)
    blames(copy, what)
    blames(copy, "manifest.json: it is not the manifest that seal.json binds")


def test_two_parts_that_contradict_each_other_are_named(copy: Built):
    name = parts_of(copy)[0]
    files = json.loads((copy.folder / name).read_bytes())["files"]
    change(copy, "files", {**files, "contracts/medical_claim@1.0.0.yaml": "0" * 64})
    assert "with another digest than another manifest" in output(check(copy))


def test_a_story_of_a_part_never_leaves_the_rendered_one_unchecked(copy: Built):
    content = (copy.folder / "story.json").read_bytes()
    (copy.folder / "story.json").write_bytes(content.replace(b"8 admitted", b"9 admitted"))
    blames(copy, "story.json: it differs from what its entries render to")
