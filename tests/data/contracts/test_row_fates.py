"""What a contract says about rows and drops that wait."""

from pathlib import Path

import pytest

from tests.builders.contract_texts import JOURNEY, load, problems

KEY_COLUMN = "{ property: egress, value: token }, { property: domain, value: claim }"
FATES = (
    "  - { property: format, value: csv }",
    "  - { property: format, value: csv }\n  - { property: set, value: claims }\n"
    "  - { property: same_key, value: corrects }\n  - { property: max_quarantined_share, value: 0.05 }",
)


def test_a_contract_says_what_becomes_of_rows_and_drops(tmp_path: Path):
    result = load(tmp_path, JOURNEY.replace(*FATES))
    assert (result.set, result.same_key, result.max_quarantined_share) == ("claims", "corrects", 0.05)
    result = load(tmp_path)
    assert (result.set, result.same_key, result.max_quarantined_share) == (None, "refuses", None)


@pytest.mark.parametrize(
    ("line", "twice", "output"),
    [
        (
            "  - { property: retention, value: 7, unit: d }",
            "  - { property: retention, value: 7, unit: d }\n  - { property: retention, value: 30, unit: d }",
            "retention stands twice",
        ),
        ("value: 24, unit: h", "value: 1.5, unit: h", "in whole hours"),
        ("role: owner }", "role: owner }\n  - { username: other@example.com, role: owner }", "name one owner"),
        (
            "        classification: financial\n        logicalTypeOptions",
            "        classification: financial\n        quality:\n"
            + "          - { type: library, metric: nullValues, mustBe: 0 }\n" * 2
            + "        logicalTypeOptions",
            "",
        ),
    ],
)
def test_what_a_contract_says_twice_is_refused(tmp_path: Path, line: str, twice: str, output: str):
    if output:
        assert output in problems(tmp_path, (line, twice))[0]
    else:
        load(tmp_path, JOURNEY.replace(line, twice))


def test_a_column_has_one_list_of_valid_values(tmp_path: Path):
    check = "          - {{ type: library, metric: invalidValues, mustBe: 0, arguments: {{ validValues: [{}] }} }}\n"
    twice = f"        quality:\n{check.format('a')}{check.format('a, b')}        customProperties: [{KEY_COLUMN}]"
    assert "join the two lists" in problems(tmp_path, (f"        customProperties: [{KEY_COLUMN}]", twice))[0]


@pytest.mark.parametrize(
    ("changed", "output"),
    [
        (("claims }\n  - { property: same_key", "Claims }\n  - { property: same_key"), "lower-case letters"),
        (("corrects", "wins"), "`corrects` or `refuses`"),
        (("0.05", "1"), "a share from 0 to below 1"),
        (("0.05", "-0.1"), "a share from 0 to below 1"),
        (("0.05", '"0.05"'), "a share from 0 to below 1"),
        (("0.05", "[0.05]"), "a share from 0 to below 1"),
    ],
)
def test_what_becomes_of_rows_is_checked(tmp_path: Path, changed: tuple[str, str], output: str):
    assert output in problems(tmp_path, (FATES[0], FATES[1].replace(*changed)))[0]
