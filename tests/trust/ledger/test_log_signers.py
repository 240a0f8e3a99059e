from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders.ledger import Ledger, LocalKeyVersions, LocalSigner
from tests.builders.recording_step import Died
from wellspring.errors import CorruptedError, Unavailable
from wellspring.trust.ledger.audit import audit_ledger
from wellspring.trust.ledger.keyring import read_verifier_keys
from wellspring.trust.ledger.proved_entries import ProvedEntries
from wellspring_verify import notes


class FirstKeyOnly(LocalKeyVersions):
    """A key server that signs with the first key, whatever it is asked for."""

    def open_signer(self, version: int) -> LocalSigner:
        assert version
        return LocalSigner()


def signing_key(ledger: Ledger) -> bytes:
    """Return the id of the key that signed the checkpoint."""
    return notes.parse_note(ledger.tree.read_checkpoint()).signatures[0].key_id


def find_problems(ledger: Ledger) -> tuple[str, ...]:
    keys = read_verifier_keys(ledger.folder / "ledger", ledger.folder / "witness")
    return audit_ledger(ledger.tree, keys).findings


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    ledger = Ledger(tmp_path, key_versions=LocalKeyVersions())
    ledger.write(3)
    ledger.sequencer.integrate()
    return ledger


def test_the_new_key_signs_what_comes_after_and_the_log_verifies_with_the_first_key(ledger: Ledger):
    first = signing_key(ledger)
    new_key = ledger.sequencer.add_log_key(ledger.tree.size)
    assert find_problems(ledger) == ()
    ledger.write(300)
    ledger.sequencer.integrate()
    assert signing_key(ledger) == new_key.key_id != first
    assert find_problems(ledger) == ()
    keys = read_verifier_keys(ledger.folder / "ledger", ledger.folder / "witness")
    assert keys.log_key == ledger.sequencer.verifier_key() == str(ledger.sequencer.signers.first_key)
    proved = ProvedEntries(ledger.tree, ledger.sequencer.signers.first_key, ("stage",))
    proved.refresh()
    assert len(proved.list_entries()) == 303


def test_a_log_has_several_keys_one_after_the_other(ledger: Ledger):
    for count in (2, 3, 4):
        ledger.sequencer.add_log_key(ledger.tree.size)
        ledger.write(2)
        ledger.sequencer.integrate()
        assert ledger.sequencer.signers.count == count
    assert find_problems(ledger) == ()


def test_a_former_key_signs_nothing_more(ledger: Ledger):
    ledger.sequencer.add_log_key(ledger.tree.size)
    ledger.write(2)
    again = Ledger(ledger.folder, key_versions=FirstKeyOnly())
    with pytest.raises(CorruptedError, match="does not match its own public key"):
        again.sequencer.integrate()


def test_the_witness_cosigns_no_later_tree_of_a_former_key(ledger: Ledger):
    ledger.sequencer.add_log_key(ledger.tree.size)
    head = notes.CheckpointHead(ledger.origin, 4, bytes(32))
    first = ledger.sequencer.signers.first_key
    line = notes.NoteSignature(first.name, first.key_id, LocalSigner().sign(head.to_text()))
    assert ledger.witness.add_checkpoint(3, [], head.to_text() + b"\n" + line.to_line()).status == 403


@pytest.mark.parametrize("moment", ["version-made", "succession-written", "registered"])
def test_a_killed_rotation_is_completed_and_makes_one_key(tmp_path: Path, moment: str):
    versions = LocalKeyVersions()

    def reached(name: str) -> None:
        if name == f"ledger.rotate:{moment}":
            raise Died(name)

    killed = Ledger(tmp_path, key_versions=versions, reached=reached)
    killed.write(3)
    killed.sequencer.integrate()
    with pytest.raises(Died):
        killed.sequencer.add_log_key(3)
    killed.close()
    ledger = Ledger(tmp_path, key_versions=versions)
    ledger.sequencer.complete_key_rotation()
    if ledger.sequencer.signers.count == 1:
        ledger.sequencer.add_log_key(3)
    ledger.write(2)
    ledger.sequencer.integrate()
    assert (ledger.sequencer.signers.count, versions.latest, versions.retired) == (2, 2, 2)
    assert find_problems(ledger) == ()


def test_a_log_without_versions_keeps_its_key(tmp_path: Path):
    ledger = Ledger(tmp_path)
    ledger.write(1)
    ledger.sequencer.integrate()
    with pytest.raises(Unavailable, match="cannot change"):
        ledger.sequencer.add_log_key(1)


def test_damaged_successions_are_corrupted(ledger: Ledger):
    ledger.sequencer.add_log_key(ledger.tree.size)
    (ledger.folder / "ledger" / "log-keys.json").write_bytes(b"[]x")
    with pytest.raises(CorruptedError, match=r"log-keys\.json of the ledger is damaged"):
        Ledger(ledger.folder, key_versions=LocalKeyVersions()).sequencer.integrate()
    assert "damaged" in find_problems(ledger)[0]
