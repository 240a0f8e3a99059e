from pathlib import Path

import pymerkle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders.ledger import Ledger
from tests.builders.merkle import subproof
from wellspring.errors import CorruptedError, NotFound
from wellspring.stores.objects.disk import DiskBlobStore
from wellspring.trust.ledger.tree import (
    ENTRIES_LEVEL,
    MerkleTree,
    decode_bundle,
    encode_bundle,
    load_log_origin,
    partial_widths,
    tile_name,
    updated_tiles,
)
from wellspring_verify import merkle


class Memory:
    """Paths in a dict, quick enough for trees of many thousand leaves."""

    def __init__(self) -> None:
        self.stored: dict[str, bytes] = {}

    def write_once(self, name: str, content: bytes) -> None:
        if self.stored.setdefault(name, content) != content:
            raise CorruptedError(f"{name} holds other bytes", fix="")

    def replace(self, name: str, content: bytes) -> None:
        self.stored[name] = content

    def read(self, name: str) -> bytes:
        if name not in self.stored:
            raise NotFound(name, fix="")
        return self.stored[name]

    def list(self, prefix: str):
        return iter(sorted(item for item in self.stored if item.startswith(f"{prefix}/")))

    def remove(self, name: str) -> None:
        self.stored.pop(name, None)


def grow(leaves: list[bytes], cuts: list[int]) -> MerkleTree:
    """Write tiles in several steps, as the sequencer does."""
    paths = Memory()
    tree = MerkleTree(paths)
    instant = 0
    for cut in [*sorted(cuts), len(leaves)]:
        for tile, content in updated_tiles(tree, instant, leaves[instant:cut]):
            paths.write_once(tile, content)
        instant = cut
    return tree


def test_tile_names_are_the_published_ones():
    assert tile_name(0, 1234067) == "tile/0/x001/x234/067"
    assert tile_name(ENTRIES_LEVEL, 0) == "tile/entries/000"
    assert tile_name(1, 999, 17) == "tile/1/999.p/17"
    assert tile_name(1, 1000) == "tile/1/x001/000"


def test_a_tree_of_70000_has_the_published_tiles():
    paths = Memory()
    tree = MerkleTree(paths)
    for tile, content in updated_tiles(tree, 0, [merkle.hash_leaf(n.to_bytes(4, "big")) for n in range(70_000)]):
        paths.write_once(tile, content)
    full = [item for item in paths.stored if ".p/" not in item]
    assert len([item for item in full if item.startswith("tile/0/")]) == 273
    assert [item for item in full if not item.startswith("tile/0/")] == ["tile/1/000"]
    partial = {item for item in paths.stored if ".p/" in item}
    assert partial == {"tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1"}
    assert all(len(paths.stored[item]) == 8192 for item in full)


@settings(max_examples=40)
@given(st.integers(1, 1200), st.lists(st.integers(0, 1200), max_size=4), st.data())
def test_roots_and_proofs_agree_with_an_independent_tree(size: int, cuts: list[int], data: st.DataObject):
    entries = [n.to_bytes(3, "big") for n in range(size)]
    leaves = [merkle.hash_leaf(item) for item in entries]
    tree = grow(leaves, [cut for cut in cuts if cut < size])
    second = pymerkle.InmemoryTree()
    second.append_entries(entries)
    part = data.draw(st.integers(1, size))
    assert tree.root_hash(size) == second.get_root(size) == merkle.compute_root(leaves)
    assert tree.root_hash(part) == second.get_root(part)
    place = data.draw(st.integers(0, part - 1))
    assert tree.inclusion_proof(place, part) == list(second.prove_inclusion(place + 1, part).path[1:])
    assert merkle.verify_inclusion(leaves[place], place, part, tree.inclusion_proof(place, part), second.get_root(part))
    proof = tree.consistency_proof(part, size)
    assert proof == subproof(part, leaves)
    assert merkle.verify_consistency(part, size, second.get_root(part), second.get_root(size), proof)


def test_index_beyond_the_tree_is_an_error():
    tree = grow([merkle.hash_leaf(b"a")], [])
    for error in (
        lambda: tree.inclusion_proof(1, 1),
        lambda: tree.inclusion_proof(-1, 1),
        lambda: tree.consistency_proof(2, 1),
    ):
        with pytest.raises(NotFound):
            error()
    assert tree.root_hash(0) == merkle.EMPTY_ROOT
    assert tree.consistency_proof(0, 1) == tree.consistency_proof(1, 1) == []
    with pytest.raises(CorruptedError, match="lacks tile/0/000"):
        tree.root_hash(2)


def test_bundles_are_read_as_they_are_written():
    entries = [b"", b"a", b"b" * 65_535]
    assert decode_bundle(encode_bundle(entries)) == entries
    for cut in (1, 3, 4):
        with pytest.raises(CorruptedError):
            decode_bundle(encode_bundle([b"abc"])[:cut])


def test_a_reader_of_an_old_size_takes_the_full_tile_when_the_partial_one_is_gone(tmp_path: Path):
    ledger = Ledger(tmp_path)
    ledger.write(200)
    old = ledger.sequencer.integrate()
    ledger.write(100)
    ledger.sequencer.integrate()
    assert partial_widths(ledger.paths, 0, 0) == partial_widths(ledger.paths, ENTRIES_LEVEL, 0) == []
    assert MerkleTree(ledger.paths).root_hash(200) == old.root
    assert len(MerkleTree(ledger.paths).read_bundle(0, 200)) == 200


def test_an_empty_ledger_has_no_checkpoint(tmp_path: Path):
    tree = MerkleTree(DiskBlobStore(tmp_path))
    assert tree.size == 0
    with pytest.raises(NotFound):
        tree.read_checkpoint()
    with pytest.raises(NotFound):
        tree.read_entry(0)
    DiskBlobStore(tmp_path).replace("checkpoint", b"nonsense")
    with pytest.raises(CorruptedError):
        _ = tree.size


def test_a_log_keeps_its_name(tmp_path: Path):
    paths = DiskBlobStore(tmp_path)
    first = load_log_origin(paths, "health_plan")
    assert first.startswith("wellspring.example.com/health_plan/")
    assert len(first.rpartition("/")[2]) == 8
    assert load_log_origin(paths, "health_plan") == first
