"""The part of hvac that wellspring calls; hvac ships no types."""

from typing import Any

from hvac import exceptions as exceptions

class Client:
    token: str
    adapter: Any
    auth: Any
    secrets: Any
    sys: Any
    def __init__(self, url: str = ..., token: str | None = ..., *, session: Any = ..., timeout: float = ...) -> None: ...
