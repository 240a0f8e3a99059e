"""The same seed makes the same people; every identity is of a kind that nobody was ever given."""

from __future__ import annotations

import re
import time
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pytest

from examples.health_plan import population

SEED = 7


@pytest.fixture(scope="module")
def people() -> pa.Table:
    return population.members(3000, SEED, planted=12)


@pytest.fixture(scope="module")
def claims(people: pa.Table) -> pa.Table:
    return population.claims(9000, SEED, people=people)


def test_same_seed_same_people_and_another_seed_others() -> None:
    assert population.members(500, 1).equals(population.members(500, 1))
    assert not population.members(500, 1).equals(population.members(500, 2))
    people = population.members(500, 1)
    assert population.claims(800, 1, people=people).equals(population.claims(800, 1, people=people))
    assert not population.claims(800, 1, people=people).equals(
        population.claims(800, 1, people=people, month="2026-08")
    )


def test_a_smaller_population_is_the_start_of_a_larger_one() -> None:
    few, many = population.members(100, SEED, planted=5), population.members(1000, SEED, planted=5)
    assert few.equals(many.slice(0, 100).combine_chunks())
    assert population.claims(300, SEED, people=few).equals(population.claims(900, SEED, people=few).slice(0, 300))


@pytest.mark.parametrize("month", ["2026-02", "2026-12"])
def test_claims_are_received_within_the_month(people: pa.Table, month: str) -> None:
    days = population.claims(500, SEED, people=people, month=month)["received_date"].to_pylist()
    assert {day.strftime("%Y-%m") for day in days} == {month}


def test_no_row_makes_a_table_of_no_rows(people: pa.Table) -> None:
    assert population.claims(0, SEED, people=people).num_rows == 0


def test_identities_were_never_issued(people: pa.Table) -> None:
    for ssn in people["social_security_number"].drop_null().to_pylist():
        area, group, _ = ssn.split("-")
        assert 900 <= int(area) <= 999
        assert 10 <= int(group) <= 49  # 50-99 of these areas are taxpayer numbers that people do have
    assert all(re.fullmatch(r"[2-9]\d\d-555-01\d\d", phone) for phone in people["phone"].to_pylist())
    assert all(re.search(r"@example\.(com|org)$", mail) for mail in people["email"].to_pylist())
    medicare = people["medicare_beneficiary_identifier"].drop_null().to_pylist()
    assert medicare
    assert all(len(item) == 11 and item[1] == "S" for item in medicare)


def test_provider_numbers_start_with_nine_and_have_a_valid_check_digit() -> None:
    numbers = population.providers(2000, SEED).to_pylist()
    assert len(set(numbers)) == 2000
    assert {number[0] for number in numbers} == {"9"}
    assert all(_luhn("80840" + number) for number in numbers)
    assert _luhn("808401234567893")  # the published example
    assert not _luhn("808401234567890")


def test_what_tells_a_person_is_unique(people: pa.Table) -> None:
    for name in ("person_id", "member_id", "social_security_number", "medicare_beneficiary_identifier", "email"):
        values = people[name].drop_null().to_pylist()
        assert len(values) == len(set(values)), name


def test_planted_people_have_every_identifier_and_nobody_else_has_theirs(people: pa.Table) -> None:
    planted = population.planted(12, SEED)
    rows = people.select(population.Person._fields).to_pylist()
    assert [population.Person(**row) for row in rows[:12]] == planted
    rest = {value for row in rows[12:] for value in row.values()}
    for person in planted:
        assert len(person.marks) == len(set(person.marks)) == 9
        assert not set(person.marks) & rest
        assert all(len(mark) >= 9 for mark in person.marks)  # long enough not to be met by chance


def test_planted_names_are_in_no_other_text(people: pa.Table, tmp_path: Path) -> None:
    rest = population.write_csv(people.slice(12), tmp_path / "rest.csv").read_text()
    for person in population.planted(12, SEED):
        assert person.first_name not in rest
        assert person.last_name not in rest


def test_spans_are_ordered_and_their_key_is_unique(people: pa.Table) -> None:
    spans = population.spans(people, SEED)
    assert people.num_rows < spans.num_rows < people.num_rows * 1.6
    rows = spans.to_pylist()
    key = ("person_id", "member_id", "payer", "plan", "enrollment_start_date", "recorded_at")
    assert len({tuple(row[name] for name in key) for row in rows}) == len(rows)
    for row in rows:
        assert row["birth_date"] <= row["enrollment_start_date"] <= (row["enrollment_end_date"] or date.max)
        assert (row["subscriber_relation"] == "self") == (row["subscriber_id"] == row["member_id"])


def test_claims_look_like_claims(people: pa.Table, claims: pa.Table) -> None:
    rows = claims.to_pylist()
    assert len({(row["claim_id"], row["claim_line_number"]) for row in rows}) == len(rows)
    heads = [row for row in rows if row["claim_line_number"] == 1]
    assert 1.8 < len(rows) / len(heads) < 3
    assert 0.7 < sum(row["claim_type"] == "professional" for row in heads) / len(heads) < 0.86
    waits = [(row["received_date"] - row["claim_end_date"]).days for row in heads]
    assert min(waits) >= 0
    assert 0.005 < sum(wait > 140 for wait in waits) / len(waits) < 0.05  # some come late
    for row in rows:
        assert row["charge_amount"] > 0
        assert row["claim_start_date"] <= row["claim_end_date"] <= row["received_date"] == row["recorded_at"].date()
    born = dict(zip(people["member_id"].to_pylist(), people["birth_date"].to_pylist(), strict=True))
    assert all(born[row["member_id"]] <= row["claim_start_date"] for row in heads)
    assert len({row["billing_npi"] for row in rows}) == 80


def test_notes_hold_no_name(people: pa.Table, claims: pa.Table) -> None:
    """Nothing here finds names in free text yet, so no note may hold one."""
    names = {*people["first_name"].to_pylist(), *people["last_name"].to_pylist()}
    notes = claims["note"].drop_null().to_pylist()
    assert notes
    assert not {word for note in notes for word in re.findall(r"\w+", note)} & names


def test_a_file_is_whole_or_not_there(people: pa.Table, tmp_path: Path) -> None:
    path = population.write_csv(people, tmp_path / "eligibility_2026-09.csv")
    assert [item.name for item in tmp_path.iterdir()] == [path.name]
    assert pyarrow.csv.read_csv(path).num_rows == people.num_rows


@pytest.mark.slow
def test_a_month_of_a_plan_takes_less_than_three_seconds_of_a_processor() -> None:
    start = time.process_time()
    people = population.members(20_000, SEED)
    population.spans(people, SEED)
    population.claims(150_000, SEED, people=people)
    assert time.process_time() - start < 3


def _luhn(digits: str) -> bool:
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if place % 2 else 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0
