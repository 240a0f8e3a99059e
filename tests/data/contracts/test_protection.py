"""A new version of a contract is compared with the old one: does it protect the values as well?"""

from typing import Any

import pytest

from tests.builders.contracts import column, contract
from wellspring.data.contracts.protection import changed_normalizations, weakened_protections, weaker_than_others
from wellspring.records.contracts import DataContract

ORDER = ("never", "token", "year", "plain")


@pytest.mark.parametrize(
    ("old", "new", "weakened"),
    [
        ("prefix(3)", "prefix(5)", True), ("prefix(9)", "prefix(10)", True), ("prefix(3)", "plain", True),
        ("token", "prefix(3)", True), ("never", "prefix(1)", True), ("prefix(3)", "prefix(3)", False),
        ("prefix(10)", "prefix(9)", False), ("prefix(1)", "masked", False), ("plain", "prefix(10)", False),
        ("year", "prefix(10)", True), ("year", "prefix(1)", True), ("prefix(10)", "year", False),
        ("masked", "year", True),
    ],
)  # fmt: skip
def test_a_longer_prefix_weakens_protection(old: str, new: str, weakened: bool):
    def with_egress(egress: str) -> DataContract:
        return contract(column("code", egress=egress, domain="code" if egress == "token" else None))

    assert bool(weakened_protections(with_egress(old), with_egress(new))) == weakened


def test_a_date_that_left_as_its_year_may_not_leave_as_the_first_characters_of_a_text():
    year = contract(column("day", "date32[day]", egress="year"))
    text = contract(column("day", "string", egress="prefix(10)"))
    assert weakened_protections(year, text) == ("day changes its egress from 'year' to 'prefix(10)'",)


@pytest.mark.parametrize("was", ORDER)
@pytest.mark.parametrize("now", ORDER)
def test_less_protective_egress_weakens_protection(was: str, now: str):
    def item(leaves: str) -> DataContract:
        return contract(column("day", egress=leaves, domain="day" if leaves == "token" else None))

    assert bool(weakened_protections(item(was), item(now))) == (ORDER.index(now) > ORDER.index(was))


@pytest.mark.parametrize(
    ("was", "now", "lowered"),
    [
        ("identifier", "operational", True), ("identifier", "", True), ("clinical", "financial", True),
        ("identifier", "ours", True), ("ours", "identifier", True), ("public", "identifier", False), ("", "public",
            False),
        ("clinical", "clinical", False), ("ours", "ours", False),
    ],
)  # fmt: skip
def test_lowered_or_removed_classification_weakens_protection(was: str, now: str, lowered: bool):
    old, new = (contract(column("a", egress="never", classification=item)) for item in (was, now))
    assert bool(weakened_protections(old, new)) == lowered


def test_another_token_domain_weakens_protection():
    old, new = (contract(column("a", egress="token", domain=domain)) for domain in ("claim", "member"))
    assert weakened_protections(old, new) == ("a changes its token domain from 'claim' to 'member'",)


def test_new_egress_column_weakens_protection_and_removed_column_does_not():
    small, wide = contract(column("a")), contract(column("a"), column("b"))
    assert weakened_protections(small, wide) == ("b changes its egress from 'never' to 'plain'",)
    assert weakened_protections(wide, small) == ()
    assert weakened_protections(small, contract(column("a"), column("b", egress="never"))) == ()


def test_a_column_read_from_another_path_has_the_protection_of_a_new_column():
    def read_from(path: str | None, egress: str) -> DataContract:
        return contract(column("zip", egress=egress, path=path), format="jsonl")

    assert weakened_protections(read_from("address.zip", "plain"), read_from("member.zip", "plain"))
    assert weakened_protections(read_from(None, "plain"), read_from("member.zip", "plain"))
    assert not weakened_protections(read_from("address.zip", "plain"), read_from("address.zip", "plain"))
    assert not weakened_protections(read_from("address.zip", "never"), read_from("member.zip", "never"))


def test_a_token_column_keeps_its_normalization():
    def version(*steps: str, domain: str = "claim", egress: Any = "token") -> DataContract:
        return contract(
            column("id", egress=egress, domain=domain, normalization=steps), column("b", normalization=steps)
        )

    assert changed_normalizations(version("trim", "nfc"), version("trim", "nfc")) == ()
    (changed,) = changed_normalizations(version("trim", "nfc"), version())
    assert changed.startswith("id changes its normalization from 'trim nfc' to 'none'")
    assert changed_normalizations(version("trim"), version(domain="other")) == ()
    assert changed_normalizations(version("trim", egress="never"), version()) == ()


def test_contracts_of_one_source_are_compared_whatever_their_names():
    first = contract(column("name", egress="never"), column("id", egress="token", domain="claim"), name="first")
    second = contract(column("n", egress="plain", path="name"), column("other"), name="second")
    (weaker,) = weaker_than_others([first], second)
    assert weaker == "n leaves as 'plain'; first 1.0.0, an earlier contract of the source vendor, has 'never'"
    assert weaker_than_others([second], first) == ()
    # Versions of one contract are compared by `weakened_protections`.
    assert weaker_than_others([first.model_copy(update={"name": "second"})], second) == ()


@pytest.mark.parametrize("egress", ["masked", "plain", "prefix(1)"])
def test_another_contract_of_the_source_lets_nothing_leave_that_was_a_token(egress: str):
    first = contract(column("id", egress="token", domain="claim"), name="first")
    assert weaker_than_others([first], contract(column("ID", egress=egress), name="second"))


@pytest.mark.parametrize(
    ("files", "columns", "compared"),
    [
        ("claim_*.csv", ("id", "name"), True),
        ("*.csv", ("id", "name"), True),
        ("incoming/**/claim_*", ("NAME", "id", "other"), True),
        ("claim_*.csv", ("name",), True),
        ("order_*.csv", ("id", "name"), False),
        ("claim_*.csv", ("name", "one", "two"), False),
    ],
)
def test_contracts_of_the_same_files_under_another_source_are_compared(
    files: str, columns: tuple[str, ...], compared: bool
):
    first = contract(column("name", egress="never"), column("id", egress="token", domain="claim"), name="first")
    first = first.model_copy(update={"files": "claim_*.csv"})
    second = contract(*(column(name) for name in columns), name="second")
    second = second.model_copy(update={"source": "another", "files": files})
    described = weaker_than_others([first], second)
    assert bool(described) == compared
    assert all("first 1.0.0, an earlier contract of the source vendor" in text for text in described)
