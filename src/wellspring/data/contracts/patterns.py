"""Translate the patterns of contracts, which ODCS writes in the ECMA-262 dialect, to the engine that searches columns.

In ECMA-262 `\\d`, `\\w` and `\\b` know ASCII only; the engine's own classes would also admit digits and letters of
other scripts.
"""

from __future__ import annotations

_OUTSIDE_CLASS = {"d": "[0-9]", "D": "[^0-9]", "w": "[0-9A-Za-z_]", "W": "[^0-9A-Za-z_]", "b": "(?-u:\\b)"}
_INSIDE_CLASS = {"d": "0-9", "D": "[^0-9]", "w": "0-9A-Za-z_", "W": "[^0-9A-Za-z_]"}


def translate_pattern(pattern: str) -> str:
    """Return a pattern of a contract for polars and `re`, with the same meaning for `\\d`, `\\w` and `\\b`."""
    parts: list[str] = []
    inside_class = False
    position = 0
    while position < len(pattern):
        character = pattern[position]
        if character == "\\" and position + 1 < len(pattern):
            escaped = pattern[position + 1]
            translations = _INSIDE_CLASS if inside_class else _OUTSIDE_CLASS
            parts.append(translations.get(escaped, character + escaped))
            position += 2
            continue
        if character == "[" and not inside_class:
            inside_class = True
        elif character == "]" and inside_class:
            inside_class = False
        elif character == "[":
            # A literal bracket; the engine would begin a nested class.
            character = "\\["
        parts.append(character)
        position += 1
    return "".join(parts)
