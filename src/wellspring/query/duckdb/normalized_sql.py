"""The normalized form of a SELECT: what two texts share that differ only in comments, spaces and the case of words."""

from __future__ import annotations

import json
from typing import Any

from wellspring.query.duckdb.row_expressions import SETTINGS

_POSITION_PREFIX = "query_location"


def normalize_select(sql: str) -> str:
    """Return the parse tree of a SELECT as JSON, without positions in the text; any other text stays itself.

    The text is parsed and never run.
    """
    import duckdb

    with duckdb.connect(":memory:", config=SETTINGS) as database:
        row = database.execute("select json_serialize_sql(?)", [sql]).fetchone()
    tree: dict[str, Any] = json.loads(row[0]) if row is not None else {"error": True}
    return sql if tree.get("error") else json.dumps(_drop_positions(tree), sort_keys=True)


def _drop_positions(tree: Any) -> Any:
    if isinstance(tree, dict):
        named = {name: part for name, part in tree.items() if not name.startswith(_POSITION_PREFIX)}
        return {name: _drop_positions(part) for name, part in named.items()}
    return [_drop_positions(part) for part in tree] if isinstance(tree, list) else tree
