"""The review of a contract version: what is new in it, and what a second person was asked before."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.builders.contracts import column, contract
from wellspring.enclave.contract_review import ContractReviewer, refuse_exceptions
from wellspring.errors import Refused
from wellspring.records.contracts import DataContract


class NoDetectors:
    """A scanner that knows no column by its name."""

    def find_column_kind(self, name: str) -> str:
        return ""


def reviewer(*in_force: DataContract, is_published: bool = True) -> ContractReviewer:
    """Review against these contracts in force."""
    store: Any = SimpleNamespace(
        list_latest_contracts=lambda: {item.name: item for item in in_force},
        decisions=SimpleNamespace(has_published=lambda name: is_published),
    )
    scanner: Any = NoDetectors()
    return ContractReviewer(store, scanner)


def test_a_first_contract_changes_nothing():
    review = reviewer().review_contract(contract())
    assert (review.replaced_version, review.changes, review.effect, review.exceptions) == ("", (), "compatible", ())
    assert not review.needs_second_person


def test_every_change_is_named_with_its_effect():
    old = contract(column("a", enum=("x",)), column("b", classification="identifier"))
    new = contract(column("a", enum=("x", "y")), column("b"), version="1.1.0")
    review = reviewer(old).review_contract(new)
    assert review.changes == (
        "compatible: a has new valid values: y",
        "weakened: b changes its classification from 'identifier' to 'operational'",
    )
    assert review.effect == "weakened"
    assert [(reason.code, reason.column) for reason in review.exceptions] == [("weakened_protection", "b")]
    assert review.needs_second_person


@pytest.mark.parametrize(("version", "is_lower"), [("1.9.9", True), ("1.10.0", False), ("2.0.0", False)])
def test_versions_are_compared_as_numbers(version: str, is_lower: bool):
    in_force = reviewer(contract(version="1.9.10"))
    if is_lower:
        with pytest.raises(Refused, match=r"1\.9\.9 is lower than 1\.9\.10"):
            in_force.review_contract(contract(version=version))
    else:
        assert in_force.review_contract(contract(version=version)).replaced_version == "1.9.10"


def test_a_breaking_change_is_refused_with_every_column_and_the_way_to_mend_it():
    old = contract(column("name"), column("amount", "decimal128(12, 2)"))
    new = contract(column("first_name"), column("last_name"), column("amount", "decimal128(9, 2)"), version="2.0.0")
    with pytest.raises(Refused) as refused:
        reviewer(old).review_contract(new)
    assert refused.value.what.splitlines() == [
        "claim 2.0.0 would break the rows of 1.0.0 that landed:",
        "name is split into first_name, last_name",
        "amount is narrower: from decimal128(12, 2) to decimal128(9, 2)",
    ]
    assert "write another contract with a name of its own" in refused.value.fix
    assert reviewer(old, is_published=False).review_contract(new).effect == "breaking"


def test_what_the_version_in_force_has_too_is_not_asked_again():
    earlier = contract(column("last_name", egress="never"), name="earlier")
    weak = contract(column("last_name"), column("id", egress="token", domain="d", pattern="^d"))
    first = reviewer(earlier).review_contract(weak)
    assert [reason.code for reason in first.exceptions] == [
        "personal_column", "weakened_protection", "revealing_check",
    ]  # fmt: skip
    later = weak.model_copy(update={"version": "1.1.0", "owner": "another"})
    assert reviewer(earlier, weak).review_contract(later).exceptions == ()
    error = refuse_exceptions(weak, first.exceptions)
    assert "last_name holds names by its name" in error.what
    assert "wellspring release propose --kind contract claim" in error.fix
