"""What the tree holds of an entry."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.builders.ledger import Ledger
from wellspring.trust.ledger.journal import encode_entry
from wellspring.trust.ledger.leaf import HASHED_ACTIONS, encode_leaf
from wellspring_verify.leaf import LineLeaf, parse_leaf


@pytest.mark.parametrize("action", ["stage", "approve", "pack_lines", *sorted(HASHED_ACTIONS)])
def test_only_answers_are_held_as_a_digest(tmp_path: Path, action: str):
    (entry,) = Ledger(tmp_path).write(1, action=action)
    line = encode_entry(entry)
    leaf = LineLeaf("worker", 0, hashlib.sha256(line).hexdigest())
    assert parse_leaf(encode_leaf(entry, line)) == (leaf if action in HASHED_ACTIONS else None)
    assert (encode_leaf(entry, line) == line) == (action not in HASHED_ACTIONS)
