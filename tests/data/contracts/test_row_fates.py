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
