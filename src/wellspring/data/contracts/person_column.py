"""Parse the column of a contract that names a person: its tokens get a sealed row in the vault."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from wellspring.data.contracts.odcs import ContractDocument, DocumentPath
from wellspring.errors import suggest_name
from wellspring.records.contracts import ContractColumn

if TYPE_CHECKING:
    from open_data_contract_standard.model import CustomProperty

PERSON_PROPERTY = "person"


def parse_person_column(
    document: ContractDocument,
    custom_properties: list[CustomProperty] | None,
    properties: dict[str, Any],
    columns: Iterable[ContractColumn],
) -> str | None:
    """Return the name of the column, or None. Adds an error unless it is a column with egress token."""
    if (name := properties.get(PERSON_PROPERTY)) is None:
        return None
    location = _locate(custom_properties)
    by_name = {column.name: column for column in columns}
    if not isinstance(name, str) or name not in by_name:
        document.add_error(location, f"no column has this name; {suggest_name(str(name), sorted(by_name))}")
        return None
    if by_name[name].egress != "token":
        document.add_error(location, f"{name} has egress {by_name[name].egress}; a person is named by a token column")
        return None
    return name


def _locate(custom_properties: list[CustomProperty] | None) -> DocumentPath:
    names = [custom_property.property for custom_property in custom_properties or []]
    return ("customProperties", names.index(PERSON_PROPERTY), "value")
