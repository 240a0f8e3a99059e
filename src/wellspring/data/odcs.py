"""Reads one page of the Open Data Contract Standard 3.1 with suspicion: every mistake at once, each with its line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from wellspring.project import nearest

if TYPE_CHECKING:
    from open_data_contract_standard.model import CustomProperty, OpenDataContractStandard

Where = tuple[str | int, ...]
_WORDS = {"id", "name", "description", "tags", "authoritativeDefinitions", "businessName", "synonyms"}
# What the house holds a supplier to, and what is only said to a reader. Any other key of ODCS would be a promise that
# nobody keeps, so it is refused.
_HELD: dict[str, set[str]] = {
    "OpenDataContractStandard": _WORDS
    | {"apiVersion", "kind", "version", "status", "schema", "team", "customProperties", "slaProperties"}
    | {"domain", "dataProduct", "servers", "support", "price", "roles", "contractCreatedTs"},
    "SchemaObject": _WORDS
    | {"properties", "quality", "logicalType", "physicalType", "physicalName", "dataGranularityDescription"},
    "SchemaProperty": _WORDS
    | {"logicalType", "physicalType", "required", "unique", "primaryKey", "primaryKeyPosition", "classification"}
    | {"logicalTypeOptions", "quality", "customProperties", "examples", "criticalDataElement", "deprecated"},
    "DataQuality": {"type", "name", "query", "description", "metric", "arguments", "mustBe", "id", "tags"}
    | {"dimension", "severity", "businessImpact", "authoritativeDefinitions"},
    "ServiceLevelAgreementProperty": {"id", "property", "value", "unit", "description", "driver"},
    "CustomProperty": {"id", "property", "value", "description"},
}


@dataclass
class Page:
    """One contract file under judgement. lines: where each key stands, from 1."""

    path: Path
    lines: dict[Where, int] = field(default_factory=dict)
    noted: list[tuple[int, str]] = field(default_factory=list)
    told: set[Where] = field(default_factory=set)
    model: OpenDataContractStandard | None = None

    def wrong(self, where: Where, what: str) -> None:
        """Note a mistake, once a place; a place that the file lacks is shown at what it should stand in."""
        if where in self.told:
            return
        self.told.add(where)
        at = where
        while at and at not in self.lines:
            at = at[:-1]
        line = self.lines.get(at, 1)
        name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in where).lstrip(".")
        self.noted.append((line, f"{self.path}:{line}: {f'{name}: ' if name else ''}{what}"))

    @property
    def problems(self) -> list[str]:
        """Every mistake, in the order of the file."""
        return [text for _, text in sorted(self.noted, key=lambda each: each[0])]


def read_page(path: Path, content: bytes) -> Page:
    """Read the YAML, note unknown and doubled keys and values of a wrong type, and keep what can be read."""
    import yaml
    from open_data_contract_standard.model import OpenDataContractStandard

    page = Page(path)
    try:
        # libyaml's reader is ten times as quick, where the wheel has it.
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(content.decode("utf-8"))
        node = loader.get_single_node()
        values = loader.construct_document(node) if node is not None else None
    except UnicodeDecodeError:
        page.wrong((), "it is not UTF-8; save it as UTF-8")
        return page
    except (yaml.YAMLError, ValueError) as wrong:
        mark = getattr(wrong, "problem_mark", None)
        page.lines[()] = mark.line + 1 if mark else 1
        page.wrong((), f"it is not YAML: {getattr(wrong, 'problem', None) or 'a value cannot be read'}")
        return page
    if not isinstance(values, dict):
        page.wrong((), "it is empty, or no mapping; a contract begins with `apiVersion: v3.1.0`")
        return page
    for where, line, doubled in _places(node, ()):
        page.lines.setdefault(where, line)
        if doubled:
            page.wrong((*where, "twice"), f"line {line} says it again; say it once")
    _closed(page, values, OpenDataContractStandard, ())
    page.model = _validated(page, values)
    return page


def _places(node: Any, where: Where) -> Iterator[tuple[Where, int, bool]]:
    """Walk the YAML's nodes: where a key stands, on which line, and whether it stood there before."""
    if node.id == "mapping":
        seen: set[str] = set()
        for key, value in node.value:
            yield (*where, key.value), key.start_mark.line + 1, key.value in seen
            seen.add(key.value)
            yield from _places(value, (*where, key.value))
    elif node.id == "sequence":
        for place, item in enumerate(node.value):
            yield (*where, place), item.start_mark.line + 1, False
            yield from _places(item, (*where, place))


def _closed(page: Page, value: Any, model: type[BaseModel], where: Where) -> None:
    """Note every key that ODCS does not know, or that the house does not hold anybody to."""
    fields = {info.alias or name: info for name, info in model.model_fields.items()}
    held = _HELD.get(model.__name__, set(fields))
    for key, inner in value.items():
        if key not in fields:
            page.wrong((*where, str(key)), f"unknown key; {nearest(str(key), sorted(held))}")
        elif key == "enum":
            page.wrong((*where, key), "ODCS 3.1 writes this as quality: metric invalidValues, arguments.validValues")
        elif key not in held:
            page.wrong((*where, key), "ODCS knows it, but the house holds nobody to it; leave it out")
        else:
            one, many = _models(fields[key].annotation)
            if isinstance(inner, dict) and one:
                _closed(page, inner, one, (*where, key))
            for place, item in enumerate(inner if isinstance(inner, list) and many else []):
                if isinstance(item, dict) and many:
                    _closed(page, item, many, (*where, key, place))


def _models(annotation: Any) -> tuple[type[BaseModel] | None, type[BaseModel] | None]:
    """Find the model that a mapping is, and the model that each item of a list is."""
    one: type[BaseModel] | None = None
    many: type[BaseModel] | None = None
    for each in (annotation, *get_args(annotation)):
        if isinstance(each, type) and issubclass(each, BaseModel):
            one = one or each
        elif get_origin(each) is list:
            many = next((inner for inner in get_args(each) if issubclass(inner, BaseModel)), None) or many
    return one, many


def _validated(page: Page, values: dict[str, Any]) -> OpenDataContractStandard | None:
    """Let the standard's own model read it; take out what it refuses, so that the rest is judged as well."""
    from open_data_contract_standard.model import OpenDataContractStandard

    for _ in range(100):
        try:
            return OpenDataContractStandard.model_validate(values)
        except ValidationError as wrong:
            for error in wrong.errors(include_url=False):
                where = tuple(part for part in error["loc"] if not isinstance(part, str) or (part in _keys(values)))
                if error["type"] != "extra_forbidden":
                    page.wrong(where, error["msg"])
                if not _take_out(values, where):
                    return None
    return None


def _keys(value: Any) -> set[str]:
    """List every key that stands anywhere in a value, to tell places from the names that a union adds to them."""
    if isinstance(value, dict):
        return set(value).union(*(_keys(inner) for inner in value.values()))
    return set[str]().union(*(_keys(inner) for inner in value)) if isinstance(value, list) else set()


def _take_out(value: Any, where: Where) -> bool:
    if not where:
        return False
    for part in where[:-1]:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return True
    if isinstance(value, dict):
        value.pop(where[-1], None)
    elif isinstance(value, list) and isinstance(where[-1], int) and where[-1] < len(value):
        # An empty item keeps the places of the others.
        if value[where[-1]] == {}:
            return False
        value[where[-1]] = {}
    return True


def said(page: Page, where: Where, properties: list[CustomProperty] | None, known: set[str]) -> dict[str, Any]:
    """Read custom properties; an unknown one is a mistake."""
    values: dict[str, Any] = {}
    for place, each in enumerate(properties or []):
        if each.property not in known:
            page.wrong((*where, place, "property"), f"unknown property; {nearest(str(each.property), sorted(known))}")
        elif each.property in values:
            page.wrong((*where, place, "property"), f"{each.property!r} is said twice")
        else:
            values[each.property] = each.value
    return values
