from pathlib import Path

import pytest

from tests.builders.ledger import Ledger
from wellspring.errors import CorruptedError, NotFound
from wellspring.trust.ledger import keyring


def test_the_keys_are_read_when_nothing_runs(tmp_path: Path):
    ledger = Ledger(tmp_path)
    ledger.write(1)
    note = ledger.sequencer.integrate().note
    keys = keyring.read_verifier_keys(tmp_path / "ledger", tmp_path / "witness")
    assert (keys.log_key, keys.witness_key) == (ledger.sequencer.verifier_key(), ledger.witness.verifier_key())
    assert (keys.last_cosigned, keys.registered_key) == (note, keys.log_key)


def test_missing_key_is_not_found_and_damaged_key_is_corrupted(tmp_path: Path):
    with pytest.raises(NotFound):
        keyring.read_verifier_keys(tmp_path / "ledger", tmp_path / "witness")
    (tmp_path / "ledger").mkdir()
    (tmp_path / "ledger" / "vkey").write_bytes(b"\xffnonsense")
    with pytest.raises(CorruptedError):
        keyring.read_verifier_keys(tmp_path / "ledger", tmp_path / "witness")
