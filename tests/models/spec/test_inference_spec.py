import math

import pytest

from tests.builders.model_files import SPEC
from wellspring.errors import CorruptedError
from wellspring.models.spec import inference_spec
from wellspring.records.decisions import MostLikelyRule


@pytest.mark.parametrize(
    "content", [b"{}", b'{"format": 1}', b"[1]", SPEC.encode().replace(b'"format":1', b'"format":2')]
)
def test_a_spec_is_accepted_only_as_encode_writes_it(content: bytes):
    with pytest.raises(CorruptedError):
        inference_spec.decode_spec(content)


def test_a_vector_is_in_the_models_order_and_what_is_unknown_is_nan():
    vector = SPEC.feature_vector({"claim": {"kind": "b", "amount": 3}, "history": {"known": True}})
    assert vector == [3.0, 1.0, 1.0]
    assert [math.isnan(item) for item in SPEC.feature_vector({"claim": {"kind": "new", "amount": None}})] == [True] * 3


def test_a_decoder_needs_a_calibration_and_a_rule_of_its_task():
    assert SPEC.load_decoder().decision_rule == SPEC.decision_rule
    for changes in (
        {"calibration": {"kind": "platt"}}, {"decision_rule": MostLikelyRule(labels=("pays", "denies"))},
    ):  # fmt: skip
        with pytest.raises(CorruptedError, match="is not one of the task binary"):
            SPEC.model_copy(update=changes).load_decoder()
