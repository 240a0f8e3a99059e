"""Read one file of the Open Data Contract Standard 3.1 strictly and collect every error with its line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from wellspring.errors import suggest_name

if TYPE_CHECKING:
    from open_data_contract_standard.model import CustomProperty, OpenDataContractStandard

DocumentPath = tuple[str | int, ...]
_PLAIN_NUMBER = re.compile(r"[-+]?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?|[-+]?\.(?:inf|nan)", re.IGNORECASE)
_COMMON_KEYS = {"id", "name", "description", "tags", "authoritativeDefinitions", "businessName", "synonyms"}
# The keys that wellspring enforces, and the keys that only document. Any other ODCS key is an error, because nothing
# would enforce it.
_SUPPORTED_KEYS: dict[str, set[str]] = {
    "OpenDataContractStandard": _COMMON_KEYS
    | {"apiVersion", "kind", "version", "status", "schema", "team", "customProperties", "slaProperties"}
    | {"domain", "dataProduct", "servers", "support", "price", "roles", "contractCreatedTs"},
    "SchemaObject": _COMMON_KEYS
    | {"properties", "quality", "logicalType", "physicalType", "physicalName", "dataGranularityDescription"},
    "SchemaProperty": _COMMON_KEYS
    | {
        "logicalType",
        "physicalType",
        "physicalName",
        "required",
        "unique",
        "primaryKey",
        "primaryKeyPosition",
        "classification",
    }
    | {"logicalTypeOptions", "quality", "customProperties", "examples", "criticalDataElement", "deprecated"},
    "DataQuality": {"type", "name", "query", "description", "metric", "arguments", "mustBe", "id", "tags"}
    | {"dimension", "severity", "businessImpact", "authoritativeDefinitions"},
    "ServiceLevelAgreementProperty": {"id", "property", "value", "unit", "description", "driver"},
    "CustomProperty": {"id", "property", "value", "description"},
}


@dataclass
class ContractDocument:
    """One contract file with the errors found in it. lines: the line of each key, from 1."""

    path: Path
    lines: dict[DocumentPath, int] = field(default_factory=dict)
    located_errors: list[tuple[int, str]] = field(default_factory=list)
    reported_paths: set[DocumentPath] = field(default_factory=set)
    model: OpenDataContractStandard | None = None

    def add_error(self, path: DocumentPath, message: str) -> None:
        """Add an error, once per path. A path that is not in the file gets the line of its nearest parent."""
        if path in self.reported_paths:
            return
        self.reported_paths.add(path)
        nearest_path = path
        while nearest_path and nearest_path not in self.lines:
            nearest_path = nearest_path[:-1]
        line = self.lines.get(nearest_path, 1)
        name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
        self.located_errors.append((line, f"{self.path}:{line}: {f'{name}: ' if name else ''}{message}"))

    @property
    def errors(self) -> list[str]:
        """Return the errors, sorted by line."""
        return [text for _, text in sorted(self.located_errors, key=lambda located_error: located_error[0])]


def read_document(path: Path, content: bytes) -> ContractDocument:
    """Parse the YAML and collect unknown keys, duplicate keys and values of a wrong type. Valid parts are kept."""
    import yaml
    from open_data_contract_standard.model import OpenDataContractStandard

    document = ContractDocument(path)
    try:
        # The libyaml loader is ten times as fast; not every wheel has it.
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(content.decode("utf-8"))
        node = loader.get_single_node()
        values = loader.construct_document(node) if node is not None else None
    except UnicodeDecodeError:
        document.add_error((), "the file is not UTF-8; save it as UTF-8")
        return document
    except (yaml.YAMLError, ValueError) as exc:
        mark = getattr(exc, "problem_mark", None)
        document.lines[()] = mark.line + 1 if mark else 1
        document.add_error((), f"the file is not YAML: {getattr(exc, 'problem', None) or 'a value cannot be read'}")
        return document
    if not isinstance(values, dict):
        document.add_error((), "the file is empty or not a mapping; a contract begins with `apiVersion: v3.1.0`")
        return document
    for key_path, line, duplicated in _key_positions(node, ()):
        document.lines.setdefault(key_path, line)
        if duplicated:
            document.add_error((*key_path, "duplicate"), f"line {line} repeats this key; write it once")
    for number_path, text, value in _misread_numbers(loader, node, ()):
        document.add_error(
            number_path, f"YAML reads {text} as the number {value}; write the number so, or quote the text"
        )
    _check_keys(document, values, OpenDataContractStandard, ())
    document.model = _validate_model(document, values)
    return document


def _key_positions(node: Any, path: DocumentPath) -> Iterator[tuple[DocumentPath, int, bool]]:
    """Yield the path and line of each key of a YAML node, and whether the key repeats an earlier one."""
    if node.id == "mapping":
        seen_keys: set[str] = set()
        for key, value in node.value:
            yield (*path, key.value), key.start_mark.line + 1, key.value in seen_keys
            seen_keys.add(key.value)
            yield from _key_positions(value, (*path, key.value))
    elif node.id == "sequence":
        for index, child in enumerate(node.value):
            yield (*path, index), child.start_mark.line + 1, False
            yield from _key_positions(child, (*path, index))


def _misread_numbers(loader: Any, node: Any, path: DocumentPath) -> Iterator[tuple[DocumentPath, str, object]]:
    """Yield each number that people read differently from YAML 1.1: octal, base 60, hexadecimal, with underscores."""
    if node.id == "mapping":
        for key, value in node.value:
            yield from _misread_numbers(loader, value, (*path, key.value))
    elif node.id == "sequence":
        for index, child in enumerate(node.value):
            yield from _misread_numbers(loader, child, (*path, index))
    elif node.tag in {"tag:yaml.org,2002:int", "tag:yaml.org,2002:float"} and not _PLAIN_NUMBER.fullmatch(node.value):
        yield path, node.value, loader.construct_object(node)


def _check_keys(document: ContractDocument, value: Any, model: type[BaseModel], path: DocumentPath) -> None:
    """Add an error for each key that is unknown to ODCS or not supported by wellspring."""
    fields = {info.alias or name: info for name, info in model.model_fields.items()}
    supported = _SUPPORTED_KEYS.get(model.__name__, set(fields))
    for key, inner in value.items():
        if key not in fields:
            document.add_error((*path, str(key)), f"unknown key; {suggest_name(str(key), sorted(supported))}")
        elif key == "enum":
            document.add_error(
                (*path, key), "ODCS 3.1 writes this as quality: metric invalidValues, arguments.validValues"
            )
        elif key not in supported:
            document.add_error((*path, key), "wellspring does not enforce this ODCS key; remove it")
        else:
            mapping_model, entry_model = _nested_models(fields[key].annotation)
            if isinstance(inner, dict) and mapping_model:
                _check_keys(document, inner, mapping_model, (*path, key))
            for index, entry in enumerate(inner if isinstance(inner, list) and entry_model else []):
                if isinstance(entry, dict) and entry_model:
                    _check_keys(document, entry, entry_model, (*path, key, index))


def _nested_models(annotation: Any) -> tuple[type[BaseModel] | None, type[BaseModel] | None]:
    """Return the model of a mapping and the model of each list element for an annotation; each may be None."""
    mapping_model: type[BaseModel] | None = None
    entry_model: type[BaseModel] | None = None
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            mapping_model = mapping_model or candidate
        elif get_origin(candidate) is list:
            entry_model = (
                next((inner for inner in get_args(candidate) if issubclass(inner, BaseModel)), None) or entry_model
            )
    return mapping_model, entry_model


def _validate_model(document: ContractDocument, values: dict[str, Any]) -> OpenDataContractStandard | None:
    """Validate with the model of the standard. Removes each invalid value and validates again, to find all errors."""
    from open_data_contract_standard.model import OpenDataContractStandard

    for _ in range(100):
        try:
            return OpenDataContractStandard.model_validate(values)
        except ValidationError as exc:
            for error in exc.errors(include_url=False):
                path = tuple(part for part in error["loc"] if not isinstance(part, str) or (part in _all_keys(values)))
                if error["type"] != "extra_forbidden":
                    document.add_error(path, error["msg"])
                if not _remove_value(values, path):
                    return None
    return None


def _all_keys(value: Any) -> set[str]:
    """List every key at any depth of a value. (Error paths of pydantic also contain names of union members.)"""
    if isinstance(value, dict):
        return set(value).union(*(_all_keys(inner) for inner in value.values()))
    return set[str]().union(*(_all_keys(inner) for inner in value)) if isinstance(value, list) else set()


def _remove_value(value: Any, path: DocumentPath) -> bool:
    if not path:
        return False
    for part in path[:-1]:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return True
    if isinstance(value, dict):
        value.pop(path[-1], None)
    elif isinstance(value, list) and isinstance(path[-1], int) and path[-1] < len(value):
        # An empty element keeps the indexes of the others.
        if value[path[-1]] == {}:
            return False
        value[path[-1]] = {}
    return True


def read_custom_properties(
    document: ContractDocument, path: DocumentPath, properties: list[CustomProperty] | None, allowed: set[str]
) -> dict[str, Any]:
    """Read custom properties by name. Adds an error for each unknown or repeated property."""
    values: dict[str, Any] = {}
    for index, custom_property in enumerate(properties or []):
        if custom_property.property not in allowed:
            document.add_error(
                (*path, index, "property"),
                f"unknown property; {suggest_name(str(custom_property.property), sorted(allowed))}",
            )
        elif custom_property.property in values:
            document.add_error(
                (*path, index, "property"), f"the property {custom_property.property!r} is repeated; write it once"
            )
        else:
            values[custom_property.property] = custom_property.value
    return values
