"""The files that a pack takes from sealed parts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders.ledger import Ledger
from tests.builders.packs import built_with_parts, sealed_parts
from wellspring.compliance import pack_parts
from wellspring.compliance.evidence import collect_story
from wellspring.errors import CorruptedError, NotFound


def test_a_document_that_is_gone_is_named(tmp_path: Path):
    ledger = Ledger(built_with_parts(tmp_path).project)
    sealed = sealed_parts(ledger)
    sealed.find_texts = lambda digests: {}
    parts = collect_story(ledger.index, "edition:e3", sealed).parts
    with pytest.raises(NotFound, match="contracts/medical_claim@1"):
        pack_parts.collect_files(parts, sealed, ledger.tree)


def test_an_entry_that_differs_from_the_sealed_one_is_never_packed(tmp_path: Path):
    ledger = Ledger(built_with_parts(tmp_path).project)
    sealed = sealed_parts(ledger)
    parts = collect_story(ledger.index, "edition:e3", sealed).parts
    bundle = f"tile/entries/000.p/{ledger.tree.size}"
    content = ledger.paths.read(bundle)
    ledger.paths.replace(bundle, content.replace(b'"received":10', b'"received":99'))
    with pytest.raises(CorruptedError, match="is not the one that was sealed"):
        pack_parts.collect_files(parts, sealed, ledger.tree)
