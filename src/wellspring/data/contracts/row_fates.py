"""Parse what a contract says about rows and drops that wait."""

from __future__ import annotations

import re
from typing import Any, get_args

from wellspring.data.contracts.odcs import ContractDocument
from wellspring.records.contracts import SameKeyRule

FATE_PROPERTIES = frozenset({"set", "same_key", "max_quarantined_share"})
"""The custom properties that decide about rows and drops that wait."""
_SET_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")


def parse_row_fates(document: ContractDocument, properties: dict[str, Any]) -> dict[str, Any]:
    """Parse what decides about rows and drops that wait: `set`, `same_key` and `max_quarantined_share`."""
    set_name = properties.get("set")
    if set_name is not None and not (isinstance(set_name, str) and _SET_NAME.fullmatch(set_name)):
        document.add_error(
            ("customProperties", "set"), "the name of a set has lower-case letters, digits and underscores"
        )
    same_key = properties.get("same_key", "refuses")
    if same_key not in get_args(SameKeyRule):
        document.add_error(("customProperties", "same_key"), "write `corrects` or `refuses`")
    share = properties.get("max_quarantined_share")
    if share is not None and (isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share < 1):
        document.add_error(
            ("customProperties", "max_quarantined_share"), "write a share from 0 to below 1, for example 0.05"
        )
    return {"set": set_name, "same_key": same_key, "max_quarantined_share": share}
