import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.builders.journal_keys import SERVICE_KEYS
from tests.builders.ledger import Ledger, LocalSigner
from wellspring.trust.ledger import keyring
from wellspring.trust.ledger.audit import JournalEvidence, audit_ledger
from wellspring.trust.ledger.tree import MerkleTree, decode_bundle, encode_bundle
from wellspring_verify import canonical, merkle, notes


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    item = Ledger(tmp_path)
    item.write(3, "enclave")
    item.write(3, "worker")
    item.sequencer.integrate()
    return item


def findings(ledger: Ledger) -> str:
    keys = keyring.read_verifier_keys(ledger.folder / "ledger", ledger.folder / "witness")
    report = audit_ledger(
        MerkleTree(ledger.paths),
        keys,
        journals=JournalEvidence(ledger.journals),
        index=ledger.index,
        service_keys=SERVICE_KEYS,
    )
    return "\n".join(report.findings)


def rewrite(ledger: Ledger, entries: list[bytes]) -> None:
    """What the database's owner can do: write every byte of the ledger anew, and sign it, but not cosign it."""
    for part in ("tile", "checkpoint"):
        target = ledger.folder / "ledger" / part
        shutil.rmtree(target) if target.is_dir() else target.unlink()
    leaves = [merkle.hash_leaf(item) for item in entries]
    ledger.paths.replace(f"tile/entries/000.p/{len(entries)}", encode_bundle(entries))
    ledger.paths.replace(f"tile/0/000.p/{len(entries)}", b"".join(leaves))
    head = notes.CheckpointHead(ledger.origin, len(entries), merkle.compute_root(leaves))
    key = notes.VerifierKey(ledger.origin, notes.KIND_LOG, LocalSigner().public_key())
    signature = notes.NoteSignature(key.name, key.key_id, LocalSigner().sign(head.to_text()))
    ledger.paths.replace("checkpoint", head.to_text() + b"\n" + signature.to_line())


def test_a_sound_ledger_has_no_findings(ledger: Ledger):
    assert findings(ledger) == ""


def test_empty_ledger_passes_and_removed_ledger_is_reported(tmp_path: Path, ledger: Ledger):
    assert audit_ledger(Ledger(tmp_path / "other").tree) == ((), ())
    (ledger.folder / "ledger" / "checkpoint").unlink()
    assert "the ledger was removed" in findings(ledger)


@pytest.mark.parametrize("name", ["tile/entries/000.p/6", "tile/0/000.p/6", "checkpoint"])
def test_every_byte_that_was_changed_is_named(ledger: Ledger, name: str):
    content = ledger.paths.read(name)
    for instant in range(0, len(content), 13):
        ledger.paths.replace(name, content[:instant] + bytes([content[instant] ^ 0x20]) + content[instant + 1 :])
        assert findings(ledger) != "", instant
    for second in (content[:-1], content + b"\0", b""):
        ledger.paths.replace(name, second)
        assert findings(ledger) != ""
    ledger.paths.remove(name)
    assert findings(ledger) != ""
    ledger.paths.replace(name, content)
    assert findings(ledger) == ""


def test_an_edited_deleted_reordered_or_inserted_entry_is_named(ledger: Ledger):
    entries = ledger.contents()
    edited = entries[2].replace(b'"n":2', b'"n":7')
    assert edited != entries[2]
    for rest in (
        [*entries[:2], edited, *entries[3:]],
        [*entries[:2], *entries[3:]],
        [entries[1], entries[0], *entries[2:]],
        [*entries[:2], entries[1], *entries[2:]],
        entries[:5],
    ):
        rewrite(ledger, rest)
        output = findings(ledger)
        assert "the signature of the witness" in output
        assert "fork" in output or "tail was cut" in output or "seen only" in output


def test_a_stream_that_was_dropped_whole_is_named_by_the_witness_alone(ledger: Ledger):
    rest = [item for item in ledger.contents() if b'"service":"enclave"' not in item]
    rewrite(ledger, rest)
    keys = keyring.read_verifier_keys(ledger.folder / "ledger", ledger.folder / "witness")
    assert any(
        "tail was cut, or it was rolled back" in item for item in audit_ledger(MerkleTree(ledger.paths), keys).findings
    )


def test_entries_of_a_service_follow_each_other(ledger: Ledger):
    entries = ledger.contents()
    rewrite(ledger, [item for item in entries if item != entries[1]])
    assert "was expected" in findings(ledger)
    rewrite(ledger, [*entries[:5], canonical.dumps_canonical({"version": 1})])
    assert "cannot be read" in findings(ledger)
    rewrite(ledger, [*entries[:5], entries[5].replace(b'"version":1', b'"version": 1')])
    assert "not in the canonical form" in findings(ledger)


def test_the_witness_s_copy_is_compared(ledger: Ledger):
    keys = keyring.read_verifier_keys(ledger.folder / "ledger", ledger.folder / "witness")
    assert "has no checkpoint of this log" in "".join(
        audit_ledger(ledger.tree, keys._replace(last_cosigned=None)).findings
    )
    assert "damaged" in "".join(audit_ledger(ledger.tree, keys._replace(last_cosigned=b"nonsense")).findings)
    assert "it differs from the key of this log that the witness has" in "".join(
        audit_ledger(ledger.tree, keys._replace(registered_key="x")).findings
    )
    older = notes.CheckpointHead(
        ledger.origin, 2, merkle.compute_root(merkle.hash_leaf(item) for item in ledger.contents()[:2])
    )
    assert "it was rolled back" in "".join(
        audit_ledger(
            ledger.tree, keys._replace(last_cosigned=older.to_text() + b"\n" + b"\xe2\x80\x94 a AAAAAAA=\n")
        ).findings
    )
    second = notes.VerifierKey("example.com/other", notes.KIND_LOG, LocalSigner().public_key())
    assert "and the key is of" in "".join(audit_ledger(ledger.tree, keys._replace(log_key=str(second))).findings)


@pytest.mark.parametrize(
    ("statement", "table"),
    [
        ("update entries set action = 'approve' where tree_index = 2", "entries"),
        ("update entries set subject = 'release:other' where tree_index = 2", "entries"),
        ("insert into lines values ('prediction:1', 3)", "lines"),
        ("insert into packs values (3, 0, 'ab')", "packs"),
        ("update counts set value = value + 1 where name = 'service:worker'", "counts"),
    ],
)
def test_a_changed_row_of_the_index_is_named_with_its_table(ledger: Ledger, statement: str, table: str):
    assert findings(ledger) == ""
    with closing(sqlite3.connect(ledger.folder / "ledger" / "index.sqlite")) as file, file:
        file.execute(statement)
    assert findings(ledger) == (
        f"index.sqlite: it differs from the log in its tables {table}: remove it, and run `wellspring restart "
        "sequencer`, which builds it anew"
    )


def test_an_entry_that_its_service_has_not_signed_is_named(ledger: Ledger):
    keys = {**SERVICE_KEYS, "worker": SERVICE_KEYS["api"]}
    assert audit_ledger(ledger.tree, service_keys=SERVICE_KEYS).findings == ()
    messages = audit_ledger(ledger.tree, service_keys=keys).findings
    assert "worker:0: the key that signed it is not certified for the journal worker by worker" in messages[0]


def test_journals_and_index_are_compared(ledger: Ledger):
    with closing(sqlite3.connect(ledger.folder / "ledger" / "index.sqlite")) as file, file:
        file.execute("delete from entries where tree_index = 2")
    assert "index.sqlite: it differs from the log in its tables entries" in findings(ledger)
    ledger.index.rebuild()
    line = ledger.journals / "worker" / "000000000000.log"
    content = line.read_bytes()
    line.write_bytes(content.replace(b'"n":1', b'"n":4'))
    assert "journals/worker: line 1 is not the entry" in findings(ledger)
    line.write_bytes(content[: content.rfind(b"\n", 0, -1) + 1])
    assert "journals/worker: line 2 is in the tree, but missing" in findings(ledger)
    shutil.rmtree(ledger.journals / "enclave")
    assert "journals/enclave: line 0 is in the tree, but missing" in findings(ledger)


def test_a_full_tile_is_checked_like_a_partial_one(tmp_path: Path):
    ledger = Ledger(tmp_path)
    ledger.write(258)
    ledger.sequencer.integrate()
    assert findings(ledger) == ""
    for name in ("tile/1/000.p/1", "tile/0/000", "tile/0/001.p/2", "tile/entries/000"):
        content = ledger.paths.read(name)
        ledger.paths.replace(name, content[:-1] + bytes([content[-1] ^ 1]))
        assert name in findings(ledger)
        ledger.paths.replace(name, content)
    assert len(decode_bundle(ledger.paths.read("tile/entries/000"))) == 256


def test_acknowledged_entries_that_are_not_in_the_log_are_counted(ledger: Ledger):
    ledger.write(4, "worker")
    ledger.write(2, "api")
    report = audit_ledger(MerkleTree(ledger.paths), journals=JournalEvidence(ledger.journals))
    assert report.findings == ()
    assert [(pending.service, pending.entries) for pending in report.pending] == [("api", 2), ("worker", 4)]
    written_at = json.loads((ledger.journals / "worker" / "000000000000.log").read_bytes().splitlines()[3])
    assert report.pending[1].oldest == written_at["known_since"]
    ledger.sequencer.integrate()
    assert audit_ledger(MerkleTree(ledger.paths), journals=JournalEvidence(ledger.journals)) == ((), ())


def test_before_the_first_checkpoint_every_acknowledged_entry_is_pending(tmp_path: Path):
    ledger = Ledger(tmp_path)
    ledger.write(3, "enclave")
    (pending,) = audit_ledger(MerkleTree(ledger.paths), journals=JournalEvidence(ledger.journals)).pending
    assert (pending.service, pending.entries) == ("enclave", 3)
