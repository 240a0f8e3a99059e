import pytest
from pydantic import TypeAdapter, ValidationError

from wellspring.records.decisions import DecisionRule, MostLikelyRule, ThresholdRule, ValueRule

ADAPTER = TypeAdapter(DecisionRule)


@pytest.mark.parametrize(
    "rule",
    [
        ThresholdRule(labels=("a", "b"), threshold="0.25"),
        MostLikelyRule(labels=("a", "b", "c"), thresholds={"a": "0.5"}, otherwise="c"),
        ValueRule(coverage="0.9", half_width=(1.5).hex()),
        ValueRule(coverage="0.9", half_width=(1.5).hex(), labels=("short", "long"), threshold="-2.5"),
    ],
)
def test_a_rule_is_read_back_by_its_kind(rule: DecisionRule):
    assert ADAPTER.validate_python(rule.model_dump(mode="json")) == rule


def test_another_kind_or_a_threshold_that_is_not_a_decimal_is_refused():
    for fields in ({"kind": "newer"}, {"kind": "threshold", "labels": ["a", "b"], "threshold": "1e-3"}):
        with pytest.raises(ValidationError):
            ADAPTER.validate_python(fields)
