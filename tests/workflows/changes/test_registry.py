"""Each kind of change is registered by its name."""

from __future__ import annotations

import pytest

from wellspring.errors import NotFound
from wellspring.workflows.changes.registry import CHANGE_KINDS, find_change_kind


def test_a_kind_is_found_by_its_name_and_another_is_not():
    assert [find_change_kind(name).kind for name in CHANGE_KINDS] == list(CHANGE_KINDS)
    with pytest.raises(NotFound, match="no kind of change 'polic'"):
        find_change_kind("polic")
