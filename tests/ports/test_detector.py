"""Precision and recall of every detector pack over its labelled corpus.

The suite runs over each registered pack. A new pack adds `tests/ports/corpora/PACK.txt`, and nothing here. A text is a
line of the corpus; a value in it is marked as {kind|value}.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.builders.pii import SCANNER
from wellspring.plugins import PluginRegistry
from wellspring.settings import DlpSettings
from wellspring.trust.dlp.detector import DetectorPack
from wellspring.trust.dlp.registry import ENTRY_POINT_GROUP, build_scanner
from wellspring.trust.dlp.scanner import PiiScanner

CORPORA = Path(__file__).parent / "corpora"
MINIMUM_PRECISION = 0.95
MINIMUM_RECALL = 0.95
_MARK = re.compile(r"\{([a-z_]+)\|([^}]*)\}")


class LabelledText(NamedTuple):
    """A text, and the values in it: kind and value, in order."""

    text: str
    values: tuple[tuple[str, str], ...]


def load_corpus(pack: str) -> list[LabelledText]:
    lines = (CORPORA / f"{pack}.txt").read_text(encoding="utf-8").splitlines()
    texts = [line for line in lines if line and not line.startswith("#")]
    return [LabelledText(_MARK.sub(r"\2", line), tuple(_MARK.findall(line))) for line in texts]


def list_packs() -> list[str]:
    return PluginRegistry(ENTRY_POINT_GROUP, DetectorPack, noun="detector pack").names()


@pytest.fixture(params=sorted(path.stem for path in CORPORA.glob("*.txt")))
def pack(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def scanner(pack: str) -> PiiScanner:
    return build_scanner(DlpSettings(packs=(pack,)))


def test_each_registered_pack_has_a_corpus():
    assert sorted(path.stem for path in CORPORA.glob("*.txt")) == list_packs()


def test_each_kind_occurs_in_the_corpus_with_clean_texts_beside_it(pack: str, scanner: PiiScanner):
    corpus = load_corpus(pack)
    marked = Counter(kind for labelled in corpus for kind, _ in labelled.values)
    assert set(marked) == set(scanner.kinds)
    assert min(marked.values()) >= 3
    assert sum(not labelled.values for labelled in corpus) >= 10


def test_precision_and_recall(pack: str, scanner: PiiScanner):
    right, reported, expected = Counter[str](), Counter[str](), Counter[str]()
    mistakes: list[str] = []
    for text, values in load_corpus(pack):
        hits = [(hit.kind, text[hit.start : hit.end]) for hit in scanner.find_pii(text)]
        reported.update(kind for kind, _ in hits)
        expected.update(kind for kind, _ in values)
        right.update(kind for kind, _ in set(hits) & set(values))
        if set(hits) != set(values):
            mistakes.append(f"{text!r}: {hits}")
    for kind in scanner.kinds:
        assert right[kind] >= MINIMUM_PRECISION * reported[kind], mistakes
        assert right[kind] >= MINIMUM_RECALL * expected[kind], mistakes


def test_a_column_scan_and_a_masked_column_agree_with_the_search_of_each_text(pack: str, scanner: PiiScanner):
    texts = [labelled.text for labelled in load_corpus(pack)]
    scan = scanner.scan_column(texts)
    assert scan.matches.to_list() == [bool(scanner.find_pii(text)) for text in texts]
    assert scanner.mask_column(texts)[0].to_list() == [scanner.mask_text(text) for text in texts]


def test_a_masked_text_contains_nothing_more_to_find(pack: str, scanner: PiiScanner):
    for text, values in load_corpus(pack):
        masked = scanner.mask_text(text)
        assert scanner.find_pii(masked) == []
        assert not [value for _, value in values if value in masked]


def test_all_packs_together_find_at_least_what_each_finds(pack: str):
    for text, values in load_corpus(pack):
        covered = SCANNER.find_pii(text)
        for _, value in values:
            start = text.index(value)
            assert any(hit.start <= start and start + len(value) <= hit.end for hit in covered), text
