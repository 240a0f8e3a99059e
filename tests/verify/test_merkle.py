import hashlib

import pymerkle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders.merkle import subproof
from wellspring_verify import merkle

# RFC 6962's published test leaves, and the roots of their first n.
LEAVES = [bytes.fromhex(item) for item in (
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
)]  # fmt: skip
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


@pytest.mark.parametrize("count", range(9))
def test_roots_agree_with_the_published_ones(count: int):
    assert merkle.compute_root(merkle.hash_leaf(item) for item in LEAVES[:count]).hex() == ROOTS[count]


@given(st.lists(st.binary(max_size=8), min_size=1, max_size=70, unique=True), st.data())
def test_roots_and_inclusion_agree_with_an_independent_tree(entries: list[bytes], data: st.DataObject):
    second = pymerkle.InmemoryTree()
    second.append_entries(entries)
    leaves = [merkle.hash_leaf(item) for item in entries]
    root = merkle.compute_root(leaves)
    assert root == second.get_root()
    place = data.draw(st.integers(0, len(entries) - 1))
    proof = list(second.prove_inclusion(place + 1).path[1:])
    assert merkle.verify_inclusion(leaves[place], place, len(leaves), proof, root)
    assert not merkle.verify_inclusion(merkle.hash_leaf(b"another"), place, len(leaves), proof, root)
    assert not merkle.verify_inclusion(leaves[place], place, len(leaves), [*proof, b"\0" * 32], root)
    assert not proof or not merkle.verify_inclusion(leaves[place], place, len(leaves), proof[:-1], root)
    for elsewhere in {place - 1, place + 1, len(entries)} - {place}:
        assert not merkle.verify_inclusion(leaves[place], elsewhere, len(leaves), proof, root)


def test_consistency_holds_for_every_pair_up_to_forty_and_for_no_other_tree():
    leaves = [merkle.hash_leaf(bytes([item])) for item in range(40)]
    for new in range(1, 41):
        for old in range(1, new + 1):
            before, after = merkle.compute_root(leaves[:old]), merkle.compute_root(leaves[:new])
            proof = subproof(old, leaves[:new])
            assert merkle.verify_consistency(old, new, before, after, proof)
            assert not merkle.verify_consistency(old, new, merkle.EMPTY_ROOT, after, proof)
            assert not merkle.verify_consistency(old, new, before, merkle.EMPTY_ROOT, proof)
            assert not merkle.verify_consistency(old, new, before, after, [*proof, after])
            if proof:
                assert not merkle.verify_consistency(old, new, before, after, proof[1:])
                assert not merkle.verify_consistency(old, new, before, after, proof[:-1])


def test_a_tree_is_never_consistent_with_a_longer_old_one():
    assert not merkle.verify_consistency(2, 1, merkle.EMPTY_ROOT, merkle.EMPTY_ROOT, [])
    assert not merkle.verify_consistency(0, 1, merkle.hash_leaf(b""), merkle.hash_leaf(b""), [])
    assert merkle.verify_consistency(0, 1, merkle.EMPTY_ROOT, merkle.hash_leaf(b""), [])


def test_a_leaf_is_no_node():
    remaining, right = merkle.hash_leaf(b"a"), merkle.hash_leaf(b"b")
    assert merkle.hash_leaf(remaining + right) != merkle.hash_node(remaining, right)
    assert merkle.hash_leaf(b"") == hashlib.sha256(b"\0").digest()
