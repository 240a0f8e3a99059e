from pathlib import Path

import pymerkle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trust.ledger.ledgers import Ledger
from tests.verify.test_merkle import subproof
from wellspring.errors import Broken, NotFound
from wellspring.stores.objects.disk import DiskPaths
from wellspring.trust.ledger.tree import ENTRIES, Tree, bundle, grown, name, origin, unbundle, widths
from wellspring_verify import merkle


class Memory:
    """Paths in a dict, quick enough for trees of many thousand leaves."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def write_once(self, name: str, content: bytes) -> None:
        if self.kept.setdefault(name, content) != content:
            raise Broken(f"{name} holds other bytes", fix="")

    def swap(self, name: str, content: bytes) -> None:
        self.kept[name] = content

    def read(self, name: str) -> bytes:
        if name not in self.kept:
            raise NotFound(name, fix="")
        return self.kept[name]

    def list(self, prefix: str):
        return iter(sorted(one for one in self.kept if one.startswith(f"{prefix}/")))

    def remove(self, name: str) -> None:
        self.kept.pop(name, None)


def grow(leaves: list[bytes], cuts: list[int]) -> Tree:
    """Write tiles in several steps, as the sequencer does."""
    paths = Memory()
    tree = Tree(paths)
    at = 0
    for cut in [*sorted(cuts), len(leaves)]:
        for tile, content in grown(tree, at, leaves[at:cut]):
            paths.write_once(tile, content)
        at = cut
    return tree


def test_tile_names_are_the_published_ones():
    assert name(0, 1234067) == "tile/0/x001/x234/067"
    assert name(ENTRIES, 0) == "tile/entries/000"
    assert name(1, 999, 17) == "tile/1/999.p/17"
    assert name(1, 1000) == "tile/1/x001/000"


def test_a_tree_of_70000_has_the_published_tiles():
    paths = Memory()
    tree = Tree(paths)
    for tile, content in grown(tree, 0, [merkle.leaf(n.to_bytes(4, "big")) for n in range(70_000)]):
        paths.write_once(tile, content)
    full = [one for one in paths.kept if ".p/" not in one]
    assert len([one for one in full if one.startswith("tile/0/")]) == 273
    assert [one for one in full if not one.startswith("tile/0/")] == ["tile/1/000"]
    partial = {one for one in paths.kept if ".p/" in one}
    assert partial == {"tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1"}
    assert all(len(paths.kept[one]) == 8192 for one in full)


@settings(max_examples=40)
@given(st.integers(1, 1200), st.lists(st.integers(0, 1200), max_size=4), st.data())
def test_roots_and_proofs_agree_with_an_independent_tree(size: int, cuts: list[int], data: st.DataObject):
    entries = [n.to_bytes(3, "big") for n in range(size)]
    leaves = [merkle.leaf(one) for one in entries]
    tree = grow(leaves, [cut for cut in cuts if cut < size])
    other = pymerkle.InmemoryTree()
    other.append_entries(entries)
    part = data.draw(st.integers(1, size))
    assert tree.root(size) == other.get_root(size) == merkle.root(leaves)
    assert tree.root(part) == other.get_root(part)
    place = data.draw(st.integers(0, part - 1))
    assert tree.inclusion(place, part) == list(other.prove_inclusion(place + 1, part).path[1:])
    assert merkle.included(leaves[place], place, part, tree.inclusion(place, part), other.get_root(part))
    proof = tree.consistency(part, size)
    assert proof == subproof(part, leaves)
    assert merkle.consistent(part, size, other.get_root(part), other.get_root(size), proof)


def test_questions_beyond_the_tree_are_named():
    tree = grow([merkle.leaf(b"a")], [])
    for wrong in (lambda: tree.inclusion(1, 1), lambda: tree.inclusion(-1, 1), lambda: tree.consistency(2, 1)):
        with pytest.raises(NotFound):
            wrong()
    assert tree.root(0) == merkle.EMPTY
    assert tree.consistency(0, 1) == tree.consistency(1, 1) == []
    with pytest.raises(Broken, match="lacks tile/0/000"):
        tree.root(2)


def test_bundles_are_read_as_they_are_written():
    entries = [b"", b"a", b"b" * 65_535]
    assert unbundle(bundle(entries)) == entries
    for cut in (1, 3, 4):
        with pytest.raises(Broken):
            unbundle(bundle([b"abc"])[:cut])


def test_a_reader_of_an_old_size_takes_the_full_tile_when_the_partial_one_is_gone(tmp_path: Path):
    ledger = Ledger(tmp_path)
    ledger.write(200)
    old = ledger.sequencer.integrate()
    ledger.write(100)
    ledger.sequencer.integrate()
    assert widths(ledger.paths, 0, 0) == widths(ledger.paths, ENTRIES, 0) == []
    assert Tree(ledger.paths).root(200) == old.root
    assert len(Tree(ledger.paths).bundle(0, 200)) == 200


def test_an_empty_ledger_has_no_checkpoint(tmp_path: Path):
    tree = Tree(DiskPaths(tmp_path))
    assert tree.size == 0
    with pytest.raises(NotFound):
        tree.checkpoint()
    with pytest.raises(NotFound):
        tree.entry(0)
    DiskPaths(tmp_path).swap("checkpoint", b"nonsense")
    with pytest.raises(Broken):
        _ = tree.size


def test_a_log_keeps_its_name(tmp_path: Path):
    paths = DiskPaths(tmp_path)
    first = origin(paths, "health_plan")
    assert first.startswith("wellspring.example.com/health_plan/")
    assert len(first.rpartition("/")[2]) == 8
    assert origin(paths, "health_plan") == first
