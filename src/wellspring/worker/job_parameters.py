"""Check the parameters of a job: the queue keeps them, so they hold names and short texts, and no secret."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pydantic import JsonValue

from wellspring.errors import Refused

MAX_PARAMETER_LENGTH = 1000
"""Maximum length of one text in the parameters of a job, in characters."""
_SECRET_NAMES = re.compile(
    r"(^|_)(token|password|passphrase|secret|credential|private_key|otp|code)s?($|_)", re.IGNORECASE
)
_SECRET_VALUES = re.compile(r"^(hvs|hvb|hvr|s|b)\.[A-Za-z0-9_-]{20,}$|PRIVATE KEY")


def check_parameters(parameters: Mapping[str, JsonValue]) -> None:
    """Raise Refused for parameters that look like a secret, which the queue would keep, or that are too long."""
    for name, value in parameters.items():
        if _SECRET_NAMES.search(name):
            raise Refused(f"a job keeps no secret, and its parameter {name!r} is one", fix="log in for each act")
        _check_value(name, value)


def _check_value(name: str, value: JsonValue) -> None:
    match value:
        case str():
            if len(value) > MAX_PARAMETER_LENGTH or _SECRET_VALUES.search(value):
                raise Refused(
                    f"the parameter {name!r} of a job is a secret or has more than {MAX_PARAMETER_LENGTH} characters",
                    fix="pass names and short texts only",
                )
        case list():
            for item in value:
                _check_value(name, item)
        case dict():
            check_parameters(value)
        case _:
            return
