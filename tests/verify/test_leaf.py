"""Leaves that hold the digest of a line, and packs in which the line of such a leaf is wrong."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from tests.builders import prediction_story
from tests.builders.pack_checks import check
from tests.builders.packs import Built
from tests.builders.verifier_entries import ENTRY
from wellspring_verify.canonical import MalformedError, dumps_canonical
from wellspring_verify.entries import parse_entry, parse_stored_entry
from wellspring_verify.leaf import LineLeaf, parse_leaf

LINE = dumps_canonical(ENTRY)
LEAF = LineLeaf("enclave", 4, hashlib.sha256(LINE).hexdigest())


def test_a_leaf_is_what_it_was_encoded_from():
    assert parse_leaf(LEAF.encode()) == LEAF
    assert LEAF.encode() == dumps_canonical({"id": "enclave:4", "line": LEAF.digest})


@pytest.mark.parametrize(
    "content",
    [
        LINE,
        b"",
        LEAF.encode() + b"\n",
        LEAF.encode().replace(b":4", b":04"),
        LEAF.encode().replace(b"enclave:", b"enclave"),
        LEAF.encode().replace(b'"id"', b' "id"'),
        dumps_canonical({"id": "enclave:4", "line": LEAF.digest.upper()}),
        dumps_canonical({"id": "enclave:4", "line": LEAF.digest, "more": 1}),
    ],
)
def test_anything_else_is_no_leaf(content: bytes):
    assert parse_leaf(content) is None


def test_the_entry_of_a_leaf_is_its_line():
    assert parse_stored_entry(7, LEAF.encode(), {LEAF.document: LINE}) == parse_entry(7, LINE)
    assert parse_stored_entry(7, LINE, {}) == parse_entry(7, LINE)


@pytest.mark.parametrize(
    ("leaf", "files", "message"),
    [
        (LEAF, {}, "is missing"),
        (LEAF, {LEAF.document: LINE + b" "}, "is not the line"),
        (
            LEAF._replace(sequence=5),
            {LEAF._replace(sequence=5).document: LINE},
            "it is the leaf of enclave:5, and its line is of 'enclave:4'",
        ),
    ],
)
def test_a_wrong_line_is_named(leaf: LineLeaf, files: dict[str, bytes], message: str):
    with pytest.raises(MalformedError, match=message):
        parse_stored_entry(7, leaf.encode(), files)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return prediction_story.built(tmp_path_factory.mktemp("sound"))


@pytest.fixture
def copy(sound: Built, tmp_path: Path) -> Built:
    shutil.copytree(sound.folder, tmp_path / "pack")
    return sound._replace(folder=tmp_path / "pack")


def line_file(copy: Built) -> Path:
    (path,) = (copy.folder / "documents" / "line").glob("*/*")
    return path


def test_a_pack_has_the_line_of_its_answer_as_a_document(copy: Built):
    assert json.loads(line_file(copy).read_bytes())["subject"] == prediction_story.SUBJECT
    assert check(copy).outcome == 0


@pytest.mark.parametrize("damage", ["removed", "changed", "cut", "replaced by the line of another answer"])
def test_a_pack_whose_line_is_wrong_is_broken(copy: Built, damage: str):
    path = line_file(copy)
    content = path.read_bytes()
    match damage:
        case "removed":
            path.unlink()
        case "changed":
            path.write_bytes(content.replace(b'"service":"api"', b'"service":"abi"'))
        case "cut":
            path.write_bytes(content[:-1])
        case _:
            path.write_bytes(dumps_canonical(json.loads(content) | {"sequence": 999}))
    report = check(copy)
    assert report.outcome == 20
    assert any("line" in finding.message or "missing" in finding.message for finding in report.findings)


def test_a_line_that_no_leaf_names_is_reported(copy: Built):
    path = line_file(copy)
    extra = path.parent.parent / "api:999" / hashlib.sha256(b"{}").hexdigest()
    extra.parent.mkdir()
    extra.write_bytes(b"{}")
    assert check(copy).outcome == 20
