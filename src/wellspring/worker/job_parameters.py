"""Check the parameters of a job: the queue keeps them, so they hold no secret, no personal data and no long text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from pydantic import JsonValue

from wellspring.errors import Refused
from wellspring.trust.dlp.scanner import PiiScanner

MAX_PARAMETER_LENGTH = 1000
"""Maximum length of one text in the parameters of a job, in characters."""
_SECRET_NAMES = re.compile(
    r"(^|_)(token|password|passphrase|secret|credential|private_key|otp|code)s?($|_)", re.IGNORECASE
)
_ID = re.compile(r"([a-z_-]+:)?[0-9a-f]{8}[0-9a-f-]{4,56}")
"""An id of the platform or of MLflow: by chance, one can look like a number of a person."""
_SECRET_VALUES = re.compile(r"^(hvs|hvb|hvr|s|b)\.[A-Za-z0-9_-]{20,}$|PRIVATE KEY")


def check_parameters(parameters: Mapping[str, JsonValue]) -> None:
    """Raise Refused for parameters that look like a secret, which the queue would keep, or that are too long."""
    for name, value in parameters.items():
        if _SECRET_NAMES.search(name):
            raise Refused(f"a job keeps no secret, and its parameter {name!r} is one", fix="log in for each act")
        _check_value(name, value)


def refuse_personal_data(texts: Mapping[str, JsonValue], scanner: PiiScanner) -> None:
    """Raise Refused if a text contains personal data, which the queue would keep. texts: by a name for the error."""
    for name, value in texts.items():
        if any(not _ID.fullmatch(text) and scanner.find_pii(text) for text in _list_texts(value)):
            raise Refused(
                f"the {name!a} of the job contains personal data, and the queue keeps it",
                fix="name an id or a token instead",
            )


def _list_texts(value: JsonValue) -> Iterator[str]:
    match value:
        case str():
            yield value
        case list():
            for item in value:
                yield from _list_texts(item)
        case dict():
            for item in value.values():
                yield from _list_texts(item)
        case _:
            return


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
