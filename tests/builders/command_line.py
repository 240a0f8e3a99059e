"""Types of the fixtures that run the command line in the process of a test."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple


class Output(NamedTuple):
    """One command: exit code, standard output, standard error."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> Any:
        return json.loads(self.err)


Run = Callable[..., Output]
StubWorker = Callable[[ModuleType, Any], list[tuple[Any, ...]]]
