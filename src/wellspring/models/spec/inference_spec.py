"""`model.json`: everything that a prediction needs besides the file of the estimator."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from pydantic import JsonValue, ValidationError

from wellspring.errors import CorruptedError
from wellspring.models.tasks.port import Decoder
from wellspring.models.tasks.registry import find_task
from wellspring.plugins import guard_plugin_code
from wellspring.records.decisions import DecisionRule
from wellspring.records.record import Frozen
from wellspring_verify import canonical

SPEC_FILE = "model.json"
FeatureScalar = int | float | bool | str | None
_DECODER_FIX = "train the model again; do not serve this one"


class FeatureInput(Frozen):
    """One model input. categories: in the order of their codes; empty unless the type is string."""

    view: str
    name: str
    type: Literal["int64", "float64", "bool", "string"]
    categories: tuple[str, ...] = ()
    description: str

    def encode_value(self, value: FeatureScalar) -> float:
        """Encode one value as a float; missing values and unknown categories become NaN."""
        if value is None:
            return math.nan
        if self.type == "string":
            return float(self.categories.index(value)) if value in self.categories else math.nan
        return float(value)


class InferenceSpec(Frozen):
    """The content of `model.json`: everything that a prediction needs besides the estimator's file.

    task, estimator: registered names. calibration: of the task's decoder. rounds: 0 if the estimator has none.
    """

    format: Literal[1] = 1
    model: str
    task: str
    estimator: str
    features: tuple[FeatureInput, ...]
    calibration: dict[str, JsonValue]
    decision_rule: DecisionRule
    keys: dict[str, tuple[str, ...]]
    seed: int
    rounds: int

    def encode(self) -> bytes:
        """Encode as canonical JSON."""
        return canonical.dumps_canonical(self.model_dump(mode="json"))

    def feature_vector(self, values: Mapping[str, Mapping[str, FeatureScalar]]) -> list[float]:
        """Encode the features of one prediction, given by view and name, in the model's order."""
        return [feature.encode_value(values.get(feature.view, {}).get(feature.name)) for feature in self.features]

    def load_decoder(self, decision_rule: DecisionRule | None = None) -> Decoder:
        """Build the decoder, with another decision rule if one is given. Raises CorruptedError, ProjectError."""
        task = find_task(self.task)
        with guard_plugin_code(f"the task {self.task} cannot read the calibration of {self.model}", fix=_DECODER_FIX):
            try:
                return task.load_decoder(self.calibration, decision_rule or self.decision_rule)
            except ValueError:
                raise CorruptedError(
                    f"the calibration or the decision rule of {self.model} is not one of the task {self.task}",
                    fix=_DECODER_FIX,
                ) from None


def decode_spec(content: bytes) -> InferenceSpec:
    """Read `model.json`. Raises CorruptedError unless it is what `InferenceSpec.encode` writes."""
    try:
        canonical.loads_canonical(content)
        return InferenceSpec.model_validate_json(content)
    except canonical.MalformedError:
        raise CorruptedError(
            f"{SPEC_FILE} is not canonical JSON", fix="train the model again; do not serve this one"
        ) from None
    except ValidationError as exc:
        raise CorruptedError(
            f"{SPEC_FILE} is not a valid inference spec: {exc.error_count()} fields are invalid",
            fix="train the model again; do not serve this one",
        ) from None
