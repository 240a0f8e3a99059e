from pathlib import Path

import pytest

from tests.trust.ledger.ledgers import Ledger
from wellspring.errors import Broken, NotFound
from wellspring.trust.ledger import keyring


def test_the_keys_are_read_when_nothing_runs(tmp_path: Path):
    ledger = Ledger(tmp_path)
    ledger.write(1)
    note = ledger.sequencer.integrate().note
    keys = keyring.read(tmp_path / "ledger", tmp_path / "witness")
    assert (keys.log, keys.witness) == (ledger.sequencer.vkey(), ledger.witness.vkey())
    assert (keys.seen, keys.registered) == (note, keys.log)


def test_what_is_not_there_is_not_found_and_what_is_damaged_is_broken(tmp_path: Path):
    with pytest.raises(NotFound):
        keyring.read(tmp_path / "ledger", tmp_path / "witness")
    (tmp_path / "ledger").mkdir()
    (tmp_path / "ledger" / "vkey").write_bytes(b"\xffnonsense")
    with pytest.raises(Broken):
        keyring.read(tmp_path / "ledger", tmp_path / "witness")
