import pytest

from tests.builders.prediction_story import RELEASE
from wellspring_verify.canonical import CanonicalValue, dumps_canonical
from wellspring_verify.releases import decide_label, parse_release


def test_a_release_is_read_from_its_one_text():
    assert parse_release(dumps_canonical(RELEASE)) == RELEASE
    for error in (b"", b"[]", b"{", b'{"a": 1}', b"\xff", dumps_canonical(RELEASE) + b"\n"):
        assert parse_release(error) is None


@pytest.mark.parametrize(
    ("score", "threshold", "due"),
    [(0.5, "0.5", "denies"), (0.49999999999999994, "0.5", "pays"), (0.3, "0.30", "denies"), (0.0, "0.001", "pays")],
)
def test_the_second_label_is_for_a_score_at_or_above_the_threshold(score: float, threshold: str, due: str):
    assert decide_label({"labels": ["pays", "denies"], "threshold": threshold}, score.hex()) == due


@pytest.mark.parametrize(
    "odd",
    [
        {"threshold": None}, {"threshold": 1}, {"threshold": "half"}, {"threshold": ""}, {"labels": "pd"},
        {"labels": []}, {"labels": ["pays"]}, {"labels": [1, 2]}, {"labels": ["a", "b", "c"]},
    ],
)  # fmt: skip
def test_what_cannot_decide_decides_nothing(odd: dict[str, CanonicalValue]):
    assert decide_label({"labels": ["pays", "denies"], "threshold": "0.5", **odd}, (0.75).hex()) is None


@pytest.mark.parametrize("score", ["", "x", "0x1p99999"])
def test_a_score_that_is_none_is_given_no_label(score: str):
    assert decide_label({"labels": ["pays", "denies"], "threshold": "0.5"}, score) is None
