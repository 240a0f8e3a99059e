"""Reads one page of the Open Data Contract Standard 3.1 with suspicion: every mistake at once, each with its line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from wellspring.project import suggest_name

if TYPE_CHECKING:
    from open_data_contract_standard.model import CustomProperty, OpenDataContractStandard

DocumentPath = tuple[str | int, ...]
_COMMON_KEYS = {"id", "name", "description", "tags", "authoritativeDefinitions", "businessName", "synonyms"}
# What the house holds a supplier to, and what is only said to a reader. Any other key of ODCS would be a promise that
# nobody keeps, so it is refused.
_SUPPORTED_KEYS: dict[str, set[str]] = {
    "OpenDataContractStandard": _COMMON_KEYS
    | {"apiVersion", "kind", "version", "status", "schema", "team", "customProperties", "slaProperties"}
    | {"domain", "dataProduct", "servers", "support", "price", "roles", "contractCreatedTs"},
    "SchemaObject": _COMMON_KEYS
    | {"properties", "quality", "logicalType", "physicalType", "physicalName", "dataGranularityDescription"},
    "SchemaProperty": _COMMON_KEYS
    | {"logicalType", "physicalType", "required", "unique", "primaryKey", "primaryKeyPosition", "classification"}
    | {"logicalTypeOptions", "quality", "customProperties", "examples", "criticalDataElement", "deprecated"},
    "DataQuality": {"type", "name", "query", "description", "metric", "arguments", "mustBe", "id", "tags"}
    | {"dimension", "severity", "businessImpact", "authoritativeDefinitions"},
    "ServiceLevelAgreementProperty": {"id", "property", "value", "unit", "description", "driver"},
    "CustomProperty": {"id", "property", "value", "description"},
}


@dataclass
class ContractDocument:
    """One contract file under judgement. lines: where each key stands, from 1."""

    path: Path
    lines: dict[DocumentPath, int] = field(default_factory=dict)
    located_errors: list[tuple[int, str]] = field(default_factory=list)
    reported_paths: set[DocumentPath] = field(default_factory=set)
    model: OpenDataContractStandard | None = None

    def add_error(self, path: DocumentPath, message: str) -> None:
        """Note a mistake, once a place; a place that the file lacks is shown at what it should stand in."""
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
        """Every mistake, in the order of the file."""
        return [text for _, text in sorted(self.located_errors, key=lambda located_error: located_error[0])]


def read_document(path: Path, content: bytes) -> ContractDocument:
    """Read the YAML, note unknown and doubled keys and values of a wrong type, and keep what can be read."""
    import yaml
    from open_data_contract_standard.model import OpenDataContractStandard

    document = ContractDocument(path)
    try:
        # libyaml's reader is ten times as quick, where the wheel has it.
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(content.decode("utf-8"))
        node = loader.get_single_node()
        values = loader.construct_document(node) if node is not None else None
    except UnicodeDecodeError:
        document.add_error((), "it is not UTF-8; save it as UTF-8")
        return document
    except (yaml.YAMLError, ValueError) as exc:
        mark = getattr(exc, "problem_mark", None)
        document.lines[()] = mark.line + 1 if mark else 1
        document.add_error((), f"it is not YAML: {getattr(exc, 'problem', None) or 'a value cannot be read'}")
        return document
    if not isinstance(values, dict):
        document.add_error((), "it is empty, or no mapping; a contract begins with `apiVersion: v3.1.0`")
        return document
    for key_path, line, duplicated in _key_positions(node, ()):
        document.lines.setdefault(key_path, line)
        if duplicated:
            document.add_error((*key_path, "twice"), f"line {line} says it again; say it once")
    _check_keys(document, values, OpenDataContractStandard, ())
    document.model = _validate_model(document, values)
    return document


def _key_positions(node: Any, path: DocumentPath) -> Iterator[tuple[DocumentPath, int, bool]]:
    """Walk the YAML's nodes: where a key stands, on which line, and whether it stood there before."""
    if node.id == "mapping":
        seen_keys: set[str] = set()
        for key, value in node.value:
            yield (*path, key.value), key.start_mark.line + 1, key.value in seen_keys
            seen_keys.add(key.value)
            yield from _key_positions(value, (*path, key.value))
    elif node.id == "sequence":
        for index, item in enumerate(node.value):
            yield (*path, index), item.start_mark.line + 1, False
            yield from _key_positions(item, (*path, index))


def _check_keys(document: ContractDocument, value: Any, model: type[BaseModel], path: DocumentPath) -> None:
    """Note every key that ODCS does not know, or that the house does not hold anybody to."""
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
            document.add_error((*path, key), "ODCS knows it, but the house holds nobody to it; leave it out")
        else:
            mapping_model, item_model = _nested_models(fields[key].annotation)
            if isinstance(inner, dict) and mapping_model:
                _check_keys(document, inner, mapping_model, (*path, key))
            for index, item in enumerate(inner if isinstance(inner, list) and item_model else []):
                if isinstance(item, dict) and item_model:
                    _check_keys(document, item, item_model, (*path, key, index))


def _nested_models(annotation: Any) -> tuple[type[BaseModel] | None, type[BaseModel] | None]:
    """Find the model that a mapping is, and the model that each item of a list is."""
    mapping_model: type[BaseModel] | None = None
    item_model: type[BaseModel] | None = None
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            mapping_model = mapping_model or candidate
        elif get_origin(candidate) is list:
            item_model = (
                next((inner for inner in get_args(candidate) if issubclass(inner, BaseModel)), None) or item_model
            )
    return mapping_model, item_model


def _validate_model(document: ContractDocument, values: dict[str, Any]) -> OpenDataContractStandard | None:
    """Let the standard's own model read it; take out what it refuses, so that the rest is judged as well."""
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
    """List every key that stands anywhere in a value, to tell places from the names that a union adds to them."""
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
        # An empty item keeps the places of the others.
        if value[path[-1]] == {}:
            return False
        value[path[-1]] = {}
    return True


def read_custom_properties(
    document: ContractDocument, path: DocumentPath, properties: list[CustomProperty] | None, allowed: set[str]
) -> dict[str, Any]:
    """Read custom properties; an unknown one is a mistake."""
    values: dict[str, Any] = {}
    for index, custom_property in enumerate(properties or []):
        if custom_property.property not in allowed:
            document.add_error(
                (*path, index, "property"),
                f"unknown property; {suggest_name(str(custom_property.property), sorted(allowed))}",
            )
        elif custom_property.property in values:
            document.add_error((*path, index, "property"), f"{custom_property.property!r} is said twice")
        else:
            values[custom_property.property] = custom_property.value
    return values
