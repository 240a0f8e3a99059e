"""Define the form of a token, so that every package can check a key without the enclave."""

from __future__ import annotations

import re

TOKEN_PATTERN = re.compile(r"[a-z][a-z0-9_]*_k[0-9]+_[a-z2-7]{26}")
"""Pattern of the enclave's tokens: token domain, key version, 130 bits in base 32."""


def token_domain(text: str) -> str | None:
    """Return the domain of a token, or None if the text does not have the form of a token."""
    return text[: text.rindex("_k", 0, -26)] if TOKEN_PATTERN.fullmatch(text) else None
