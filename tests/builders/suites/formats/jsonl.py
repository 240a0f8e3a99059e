"""A writer of JSON Lines, for the suite of formats."""

import json
from decimal import Decimal
from typing import Any


def write_jsonl(rows: list[dict[str, Any]]) -> bytes:
    """Write one object a line; a decimal as text."""
    texts = [{name: str(value) if isinstance(value, Decimal) else value for name, value in row.items()} for row in rows]
    return "".join(f"{json.dumps(row)}\n" for row in texts).encode()


BUILDER = write_jsonl
