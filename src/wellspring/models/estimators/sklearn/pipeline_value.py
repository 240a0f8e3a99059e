"""The field `pipeline` of an estimator in a model file: a pipeline that is not fitted, and its JSON form.

A model file is read in a process of its own, which returns the definition as JSON.
"""

from __future__ import annotations

import base64
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, PlainSerializer

from wellspring.errors import CorruptedError
from wellspring.models.estimators.sklearn.pipeline import check_pipeline
from wellspring.models.estimators.sklearn.skops_file import dump_fitted, load_fitted

_FIELD = "skops"


def encode_pipeline(pipeline: Any) -> dict[str, str]:
    """Return a pipeline in its JSON form. Raises Refused for a type that would not be read again."""
    return {_FIELD: base64.b64encode(dump_fitted({"pipeline": pipeline})).decode()}


def decode_pipeline(value: Any) -> Any:
    """Return the pipeline that `encode_pipeline` wrote; any other value is returned as it is. Raises ValueError."""
    if not isinstance(value, dict) or value.keys() != {_FIELD}:
        return value
    try:
        return load_fitted(base64.b64decode(value[_FIELD], validate=True))["pipeline"]
    except (CorruptedError, KeyError, TypeError):
        raise ValueError("the pipeline is not one that was written as JSON") from None


PipelineValue = Annotated[
    Any,
    BeforeValidator(decode_pipeline),
    AfterValidator(check_pipeline),
    PlainSerializer(encode_pipeline, when_used="json"),
]
"""A scikit-learn estimator or pipeline that is not fitted. Its type is not imported to read a model file."""
