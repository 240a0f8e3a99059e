"""Names of the columns of a file without a contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from wellspring.data.formats.sample import check_unique_names, placeholder_contract
from wellspring.errors import ProjectError


@pytest.mark.parametrize(("names", "output"), [(["a", "A"], "the same name"), (["Fault"], "fault is reserved")])
def test_names_that_no_contract_may_have_are_refused(names: list[str], output: str):
    with pytest.raises(ProjectError, match=output):
        check_unique_names(Path("a.csv"), names)
    check_unique_names(Path("a.csv"), ["a", "b"])


def test_a_placeholder_declares_columns_that_never_leave():
    assert {column.egress for column in placeholder_contract("csv", 2).columns} == {"never"}
