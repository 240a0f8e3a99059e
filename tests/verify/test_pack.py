import ast
import base64
import dataclasses
import hashlib
import itertools
import json
import os
import random
import shutil
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import wellspring_verify
from tests.builders.journal_keys import SERVICE_KEY_LINES
from tests.builders.ledger import JournalStep, Ledger, LocalSigner
from tests.builders.pack_checks import blames, check, flipped, output
from tests.builders.packs import CONTRACTS, Built, built, pack
from wellspring.compliance import evidence
from wellspring_verify import notes, verify_pack
from wellspring_verify.canonical import MalformedError, dumps_canonical

ALL = [7, pytest.param(1, marks=pytest.mark.long)]
"""Every seventh bit is flipped in `make test`, each one in `make test-full`."""


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return built(tmp_path_factory.mktemp("sound"))


@pytest.fixture
def copy(sound: Built, tmp_path: Path) -> Built:
    shutil.copytree(sound.folder, tmp_path / "pack")
    return sound._replace(folder=tmp_path / "pack")


def test_a_sound_pack_verifies(sound: Built):
    report = check(sound)
    assert (report.outcome, report.findings, report.subject) == (0, (), "drop:d0")
    for key, witness, unchecked in (
        (sound.key, None, ("witness",)),
        (None, sound.witness, ("signer",)),
        (None, None, ("signer", "witness")),
    ):
        partial = verify_pack(sound.folder, key=key, witness=witness, services=SERVICE_KEY_LINES)
        assert (partial.outcome, partial.unchecked) == (10, unchecked)
    assert verify_pack(sound.folder, key=sound.key, witness=sound.witness).unchecked == ("services",)
    assert sorted({name.partition("/")[0] for name in sound.files()}) == [
        "checkpoint", "contracts", "entries", "manifest.json", "proofs.json", "seal.json", "story.json", "story.md",
    ]  # fmt: skip


@pytest.mark.parametrize("item", ALL)
def test_every_bit_of_the_signature_lines_counts(copy: Built, item: int):
    file = copy.folder / "checkpoint"
    content = file.read_bytes()
    start = content.index(b"\n\n") + 2
    for bit in range(8 * (start - 1), 8 * len(content), item):
        file.write_bytes(flipped(content, bit))
        report = check(copy)
        assert report.outcome == 20, bit
        assert all(finding.file in ("checkpoint", "proofs.json") for finding in report.findings)
        assert report.findings[0].file == "checkpoint"


@pytest.mark.parametrize("item", ALL)
def test_a_thousand_flipped_bits_are_named(copy: Built, item: int):
    files = copy.files()
    signatures = files["checkpoint"].index(b"\n\n") + 2
    places = [
        (name, bit)
        for name, content in files.items()
        for bit in range(8 * (signatures if name == "checkpoint" else len(content)))
    ]
    chance = random.Random(20261125)
    # Every file has its share, or the large ones would hide the small.
    chosen = chance.sample(places, 700)
    for name in files:
        chosen += chance.sample([place for place in places if place[0] == name], 300 // len(files) + 1)
    assert len(chosen) >= 1000
    for name, bit in chosen[::item]:
        (copy.folder / name).write_bytes(flipped(files[name], bit))
        blames(copy, name)
        (copy.folder / name).write_bytes(files[name])
    assert check(copy).outcome == 0


def test_a_file_that_was_removed_emptied_or_cut_is_named(copy: Built):
    for name, content in copy.files().items():
        file = copy.folder / name
        file.unlink()
        blames(copy, name)
        for shorter in (b"", content[:-1], content[: len(content) // 2]):
            file.write_bytes(shorter)
            blames(copy, name)
        file.write_bytes(content + b"\n")
        blames(copy, name)
        file.write_bytes(content)


@pytest.mark.parametrize(
    "name", ["keys.txt", "entries/000000000099.json", "contracts/other@1.yaml", "entries/x", "a/b"]
)
def test_a_file_that_was_added_is_named(copy: Built, name: str):
    (copy.folder / name).parent.mkdir(exist_ok=True)
    (copy.folder / name).write_bytes((copy.folder / "story.json").read_bytes())
    blames(copy, f"{name}: it is not listed")


def test_what_is_no_plain_file_is_named(copy: Built, tmp_path: Path):
    (copy.folder / "empty").mkdir()
    blames(copy, "empty: it is an empty folder")
    (copy.folder / "empty").rmdir()
    os.mkfifo(copy.folder / "pipe")
    blames(copy, "pipe: it is not a regular file")
    (copy.folder / "pipe").unlink()
    story = copy.folder / "story.md"
    story.rename(tmp_path / "story.md")
    story.symlink_to(tmp_path / "story.md")
    blames(copy, "story.md: it is not a regular file")
    story.unlink()
    (tmp_path / "story.md").rename(story)
    (copy.folder / "away").symlink_to(tmp_path)
    blames(copy, "away: it is not a regular file")


def test_more_than_any_pack_holds_is_never_read(copy: Built, monkeypatch: pytest.MonkeyPatch):
    """Sparse files: a gigabyte costs whoever wrote them nothing."""
    read, taken = Path.read_bytes, list[int]()

    def counted(path: Path) -> bytes:
        taken.append(path.stat().st_size)
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", counted)
    whole = sum(map(len, copy.files().values()))
    monkeypatch.setattr("wellspring_verify.pack_files._MAX_PACK_BYTES", whole)
    assert check(copy).outcome == 0
    monkeypatch.setattr("wellspring_verify.pack_files._MAX_PACK_BYTES", 2 * whole)
    for name in ("contracts/a.yaml", "contracts/b.yaml", "contracts/c.yaml"):
        with (copy.folder / name).open("wb") as file:
            file.truncate(whole)
    taken.clear()
    report = check(copy)
    assert (report.outcome, report.findings[0].file) == (20, "contracts/b.yaml")
    assert "with it the pack is larger than" in report.findings[0].message
    assert sum(taken) <= 2 * whole


def test_two_files_that_were_swapped_are_named(copy: Built):
    names = sorted(copy.files())
    for item, second_value in [*itertools.pairwise(names), (names[0], names[-1])]:
        first, second = (copy.folder / item).read_bytes(), (copy.folder / second_value).read_bytes()
        (copy.folder / item).write_bytes(second)
        (copy.folder / second_value).write_bytes(first)
        blames(copy, item)
        blames(copy, second_value)
        (copy.folder / item).write_bytes(first)
        (copy.folder / second_value).write_bytes(second)


def test_a_tail_that_was_cut_is_named_even_if_the_manifest_is_mended(copy: Built):
    last = max(name for name in copy.files() if name.startswith("entries/"))
    (copy.folder / last).unlink()
    blames(copy, last)
    mend(copy)
    blames(copy, "manifest.json: it is not the manifest that seal.json binds")
    blames(copy, "story.json: it differs from what its entries render to")


def mend(item: Built) -> None:
    """Write the manifest anew for the files that are there, as a forger would."""
    manifest = json.loads((item.folder / "manifest.json").read_bytes())
    loose = ("manifest.json", "seal.json", "proofs.json", "checkpoint")
    manifest["files"] = {name: sha(content) for name, content in item.files().items() if name not in loose}
    (item.folder / "manifest.json").write_bytes(dumps_canonical(manifest))


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("name", ["story.json", "story.md"])
def test_a_story_never_says_what_its_entries_do_not(copy: Built, name: str):
    content = (copy.folder / name).read_bytes()
    (copy.folder / name).write_bytes(content.replace(b"8 admitted", b"9 admitted"))
    assert (copy.folder / name).read_bytes() != content
    mend(copy)
    blames(copy, f"{name}: it differs from what its entries render to")
    blames(copy, "manifest.json: it is not the manifest that seal.json binds")


def test_an_entry_is_never_accepted_without_its_proof(copy: Built):
    """A forger mends everything that can be mended without the log's key."""
    entry = copy.folder / min(name for name in copy.files() if name.startswith("entries/"))
    entry.write_bytes(entry.read_bytes().replace(b'"received":10', b'"received":11'))
    mend(copy)
    seal = json.loads((copy.folder / "seal.json").read_bytes())
    seal["entry"]["outputs"][0]["digest"] = sha((copy.folder / "manifest.json").read_bytes())
    (copy.folder / "seal.json").write_bytes(dumps_canonical(seal))
    report = check(copy)
    assert f"does not lead from entries/{entry.name} to the root" in output(report)
    assert "does not lead from seal.json to the root" in output(report)
    assert not any(finding.file == "manifest.json" for finding in report.findings)


def test_a_pack_that_was_signed_by_another_key_is_named(sound: Built, tmp_path: Path):
    second = built(tmp_path, signer=LocalSigner(b"\x09" * 32))
    assert check(second).outcome == 0
    report = verify_pack(second.folder, key=sound.key, witness=second.witness, services=SERVICE_KEY_LINES)
    assert report.outcome == 20
    assert "checkpoint: it is signed by another log" in output(report)
    report = verify_pack(second.folder, key=second.key, witness=sound.witness, services=SERVICE_KEY_LINES)
    assert "checkpoint: it is signed by another witness" in output(report)


def test_a_pack_that_was_signed_again_under_the_same_name_is_named(copy: Built):
    """Whoever has no key may write another one's signature under the log's own name, and even its key id."""
    note = notes.parse_note((copy.folder / "checkpoint").read_bytes())
    key, forger = notes.parse_verifier_key(copy.key), LocalSigner(b"\x09" * 32)
    second = notes.VerifierKey(key.name, notes.KIND_LOG, forger.public_key())
    for key_id, what in ((second.key_id, "signed by another log"), (key.key_id, "the log's signature is invalid")):
        line = notes.NoteSignature(key.name, key_id, forger.sign(note.text)).to_line()
        (copy.folder / "checkpoint").write_bytes(note.text + b"\n" + line + note.signatures[1].to_line())
        blames(copy, what)
        assert verify_pack(copy.folder, key=copy.key, services=SERVICE_KEY_LINES).outcome == 20


def test_signature_lines_are_exactly_the_logs_and_the_witness_s(copy: Built):
    note = notes.parse_note((copy.folder / "checkpoint").read_bytes())
    log, witness = (item.to_line() for item in note.signatures)
    for lines in (log, witness, witness + log, log + witness + witness, log + log, log + witness + log):
        (copy.folder / "checkpoint").write_bytes(note.text + b"\n" + lines)
        for keys in ((copy.key, copy.witness), (copy.key, None), (None, None)):
            report = verify_pack(copy.folder, key=keys[0], witness=keys[1], services=SERVICE_KEY_LINES)
            assert report.outcome == 20
            assert report.findings[0].file == "checkpoint"


def test_an_older_file_is_named(tmp_path: Path):
    now = built(tmp_path)
    ledger = Ledger(now.project)
    old = now.files()
    with JournalStep(ledger, "enclave")("expire", "drop:d0", facts={"discarded": 2}):
        pass
    ledger.sequencer.integrate()
    pack(ledger, now.folder)
    assert check(now).outcome == 0
    new = now.files()
    for name in sorted(old.keys() & new.keys()):
        if old[name] == new[name]:
            continue
        (now.folder / name).write_bytes(old[name])
        blames(now, name)
        (now.folder / name).write_bytes(new[name])
    assert {"checkpoint", "manifest.json", "proofs.json", "seal.json"} <= {
        name for name in old if old[name] != new[name]
    }
    ledger.close()


@pytest.mark.parametrize(
    ("subject", "left_out"),
    [
        ("drop:d0", "admit"),
        ("drop:d0", "land"),
        ("dataset:medical_claim", "admit"),
        ("edition:e1", "land"),
        ("edition:e1", "publish"),
    ],
)
def test_a_story_that_skips_a_step_is_named_even_if_it_was_sealed(tmp_path: Path, subject: str, left_out: str):
    now = built(tmp_path, subject=subject)
    assert check(now).outcome == 0
    ledger = Ledger(now.project)
    result = evidence.collect_story(ledger.index, subject)
    skipped = ("drop:d0", "edition:e0")
    stored = [item for item in result.entries if (item.entry.action, item.entry.subject in skipped) != (left_out, True)]
    assert len(stored) < len(result.entries)
    shorter = dataclasses.replace(result, entries=tuple(stored))
    documents = CONTRACTS if any(item.entry.action == "admit" for item in stored) else {}
    evidence.seal_story(JournalStep(ledger, "worker"), ledger.index, shorter, documents)
    ledger.sequencer.integrate()
    evidence.write_pack(now.folder, shorter, documents, ledger.tree, ledger.index)
    ledger.close()
    report = check(now)
    assert report.outcome == 20
    assert "no entry of the pack produced it" in output(report) or "the pack has no entry of that" in output(report)


def test_no_key_is_taken_from_the_pack(copy: Built):
    (copy.folder / "keys.txt").write_text(f"{copy.key}\n{copy.witness}\n")
    assert verify_pack(copy.folder).outcome == 20
    (copy.folder / "keys.txt").unlink()
    assert verify_pack(copy.folder).outcome == 10


def test_a_key_that_is_none_is_malformed(sound: Built):
    for keys in ({"key": "x"}, {"witness": ""}, {"key": sound.witness}, {"witness": sound.key}):
        with pytest.raises(MalformedError):
            verify_pack(sound.folder, key=keys.get("key"), witness=keys.get("witness"), services=SERVICE_KEY_LINES)
    with pytest.raises(NotADirectoryError):
        verify_pack(sound.folder / "checkpoint")


def test_a_key_of_another_origin_is_named(copy: Built):
    key = notes.parse_verifier_key(copy.key)
    second = key._replace(name="wellspring.example.com/other/00000000")
    report = verify_pack(copy.folder, key=str(second), witness=copy.witness, services=SERVICE_KEY_LINES)
    assert "checkpoint: it is signed by another log" in output(report)


SCRAPS = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**53 - 1) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60)
@given(st.data())
def test_no_bytes_whatsoever_make_it_fail_in_another_way(sound: Built, data: st.DataObject):
    files = sound.files()
    name = data.draw(st.sampled_from(sorted(files)))
    folder = sound.folder.parent / "fuzzed"
    if not folder.exists():
        shutil.copytree(sound.folder, folder)
    content = data.draw(
        st.binary(max_size=80)
        | SCRAPS.map(dumps_canonical)
        | st.tuples(st.sampled_from(_fields(files[name])), SCRAPS).map(lambda pair: _exchanged(files[name], *pair))
    )
    (folder / name).write_bytes(content)
    try:
        report = verify_pack(folder, key=sound.key, witness=sound.witness, services=SERVICE_KEY_LINES)
        assert report.outcome == (0 if content == files[name] else 20)
    finally:
        (folder / name).write_bytes(files[name])


def _fields(content: bytes) -> list[str]:
    value = json.loads(content) if content.startswith(b"{") else {}
    return sorted(value) or ["version"]


def _exchanged(content: bytes, field: str, value: object) -> bytes:
    """Put anything at all under one field of a JSON file."""
    return (
        dumps_canonical({**json.loads(content), field: value}) if content.startswith(b"{") else dumps_canonical(value)
    )


def test_proofs_of_a_wrong_form_are_named(copy: Built):
    proofs = json.loads((copy.folder / "proofs.json").read_bytes())
    some = min(proofs["proofs"])
    good = proofs["proofs"][some]
    for error in ("x", [1], ["x"], ["AAAA"], good[:-1], [*good, good[0]], [base64.b64encode(b"x" * 32).decode()] * 65):
        proofs["proofs"][some] = error
        (copy.folder / "proofs.json").write_bytes(dumps_canonical(proofs))
        blames(copy, "proofs.json")
    del proofs["proofs"][some]
    (copy.folder / "proofs.json").write_bytes(dumps_canonical(proofs))
    blames(copy, f"the proof of entry {some}")
    proofs["proofs"] = {**proofs["proofs"], some: good, "99": []}
    (copy.folder / "proofs.json").write_bytes(dumps_canonical(proofs))
    blames(copy, "a proof for '99'")


def test_it_imports_the_standard_library_and_cryptography_only():
    allowed = set(sys.stdlib_module_names) | {"cryptography", "wellspring_verify"}
    for path in Path(wellspring_verify.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [item.name for item in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert {name.partition(".")[0] for name in names} <= allowed


def test_an_entry_that_its_service_has_not_signed_is_named(sound: Built):
    """Whoever signs for the log cannot make an entry of a service: here the worker's key is another one."""
    without_worker = [line for line in SERVICE_KEY_LINES if "/worker+" not in line]
    wrong_key = notes.VerifierKey("wellspring.example.com/test/journals/worker", notes.KIND_LOG, bytes(32))
    report = verify_pack(sound.folder, key=sound.key, witness=sound.witness, services=[*without_worker, str(wrong_key)])
    assert report.outcome == 20
    assert {finding.message for finding in report.findings} == {
        "the key that signed it is not certified for the journal worker by worker"
    }
    assert "seal.json" in {finding.file for finding in report.findings}
    missing = verify_pack(sound.folder, key=sound.key, witness=sound.witness, services=without_worker)
    assert "'worker' is not a service whose key is known" in str(missing.findings[0])
