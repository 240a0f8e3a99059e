"""Load data contracts: one ODCS 3.1 file -> DataContract. A key or value that is not supported is an error."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wellspring.data.contracts import casting
from wellspring.data.contracts.columns import parse_column
from wellspring.data.contracts.odcs import ContractDocument, DocumentPath, read_custom_properties, read_document
from wellspring.data.contracts.person_column import PERSON_PROPERTY, parse_person_column
from wellspring.data.contracts.row_fates import FATE_PROPERTIES, parse_row_fates
from wellspring.data.formats.parsed import ROW_NUMBER
from wellspring.data.formats.registry import load_format
from wellspring.data.quality import row_rules
from wellspring.data.sources.port import compile_glob
from wellspring.errors import CorruptedError, ProjectError, Refused
from wellspring.records.contracts import ContractColumn, DataContract, RowRule
from wellspring.records.record import Digest
from wellspring.runtime.files import read_plain_file
from wellspring.runtime.unloaded_files import list_unloaded_files
from wellspring.stores.objects.disk import DiskBlobStore
from wellspring.stores.records import RecordKind, RecordStore

if TYPE_CHECKING:
    import pyarrow as pa
    from open_data_contract_standard.model import DataQuality, OpenDataContractStandard, TeamMember

    from wellspring.data.formats.port import FileFormat

CONTRACT_GLOB = "*.odcs.yaml"
_PROPERTIES = {"source", "files", "format", PERSON_PROPERTY} | FATE_PROPERTIES
_UNIT_HOURS = {"h": 1, "hr": 1, "hour": 1, "hours": 1, "d": 24, "day": 24, "days": 24}
_MAX_HOURS = 24 * 36_500
_CONTRACT_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")

_ARCHIVED_CONTRACT = RecordKind[bytes](
    "archived contract",
    bytes,
    lambda _digest, content: content,
    missing_fix="restore contracts/ from its history, and run again",
    id_digits=64,
    suffix=".odcs.yaml",
)


def load_contract(path: Path, *, tenant: str, known_since: datetime) -> DataContract:
    """Load one contract. Raises ProjectError that lists every error with file, line and fix."""
    return _require_contract(path, *_read_contract(path, tenant, known_since))


def list_contract_files(folder: Path, *, tenant: str) -> dict[str, Path]:
    """Return the file of each contract of a folder by the contract's name. Raises ProjectError."""
    epoch = datetime.fromtimestamp(0, UTC)
    return {
        load_contract(path, tenant=tenant, known_since=epoch).name: path for path in sorted(folder.glob(CONTRACT_GLOB))
    }


def decode_contract(content: bytes, *, tenant: str, known_since: datetime) -> DataContract:
    """Load a contract that is in no file. Raises ProjectError that lists every error with line and fix."""
    path = Path("contract.odcs.yaml")
    return _require_contract(path, *_parse_contract(path, content, tenant, known_since))


def archive_contract(content: bytes, archive_folder: Path) -> None:
    """Keep the text of a contract as `archive_folder/<SHA-256>.odcs.yaml`, so that its rows keep it."""
    RecordStore(DiskBlobStore(archive_folder), _ARCHIVED_CONTRACT).save(content)


def archive_contracts(folder: Path, archive_folder: Path) -> None:
    """Copy every contract of a folder to `archive_folder/<SHA-256>.odcs.yaml`, so that old rows keep their contract."""
    for path in folder.glob(CONTRACT_GLOB):
        archive_contract(path.read_bytes(), archive_folder)


def load_archived(archive_folder: Path, digest: Digest, *, tenant: str, known_since: datetime) -> DataContract:
    """Load an archived contract by its digest. Raises NotFound, CorruptedError when the file was changed."""
    content = RecordStore(DiskBlobStore(archive_folder), _ARCHIVED_CONTRACT).get(digest)
    path = archive_folder / f"{digest}.odcs.yaml"
    return _require_contract(path, *_parse_contract(path, content, tenant, known_since))


def load_all(
    folder: Path, *, tenant: str, known_since: datetime, sources: Collection[str] | None = None
) -> tuple[DataContract, ...]:
    """Load every `*.odcs.yaml` of a folder, sorted by contract name. Raises ProjectError that lists all errors.

    sources: the source names of the project; None skips the check that each contract names one of them.
    """
    errors: list[str] = []
    contracts_by_name: dict[str, tuple[Path, DataContract]] = {}
    for path in sorted(folder.glob(CONTRACT_GLOB)):
        document, contract = _read_contract(path, tenant, known_since)
        errors += document.errors
        if contract is None:
            continue
        if sources is not None and contract.source not in sources:
            declared = ", ".join(sorted(sources)) or "none"
            errors.append(f"{path}: the source {contract.source!r} is not in wellspring.toml; it has: {declared}")
        if contract.name in contracts_by_name:
            first = contracts_by_name[contract.name][0].name
            errors.append(
                f"{path}: {first} already defines a contract named {contract.name!r}; use one file per contract"
            )
        contracts_by_name.setdefault(contract.name, (path, contract))
    errors += _check_domains(contracts_by_name.values())
    for path in list_unloaded_files(folder, CONTRACT_GLOB, suffixes={".yaml", ".yml"}):
        errors.append(f"{path}: this file is not loaded; name it {folder}/NAME.odcs.yaml, or move it out of the folder")
    if errors:
        raise ProjectError("\n".join(errors), fix=f"edit the contracts in {folder}")
    return tuple(contract for _, contract in (contracts_by_name[name] for name in sorted(contracts_by_name)))


def _check_domains(loaded: Iterable[tuple[Path, DataContract]]) -> list[str]:
    """Check that all columns of one token domain normalize alike; otherwise one value has several tokens."""
    first: dict[str, tuple[Path, ContractColumn]] = {}
    errors: list[str] = []
    for path, contract in loaded:
        for column in contract.columns:
            if column.domain is None:
                continue
            first_path, first_column = first.setdefault(column.domain, (path, column))
            if column.normalization != first_column.normalization:
                errors.append(
                    f"{path}: {column.name} normalizes the domain {column.domain!r} by "
                    f"{' '.join(column.normalization) or 'none'}, but {first_column.name} of {first_path.name} by "
                    f"{' '.join(first_column.normalization) or 'none'}; write the same `normalization`"
                )
    return errors


def contract_for_file(contracts: Iterable[DataContract], source: str, name: str) -> DataContract:
    """Find the contract whose `files` glob matches a file of a source. Raises Refused unless exactly one matches."""
    matching = [
        contract
        for contract in contracts
        if contract.source == source and compile_glob(contract.files).fullmatch(name) is not None
    ]
    if len(matching) == 1:
        return matching[0]
    if matching:
        names = ", ".join(sorted(contract.name for contract in matching))
        code, message = "several_contracts", f"the file {name!r} of {source} matches several contracts: {names}"
    else:
        code, message = "no_contract", f"the file {name!r} of {source} matches no contract"
    raise Refused.because(
        f"source:{source}",
        code,
        message,
        fix="change the `files` globs so that exactly one contract matches; the file stays in the source",
        outcome="invalid",
        count=len(matching),
    )


def egress_schema(contract: DataContract) -> pa.Schema:
    """Return the Arrow schema of the rows that leave the enclave: the egress columns in order, then `row_number`."""
    import pyarrow as pa

    fields = [pa.field(column.name, _egress_type(column)) for column in contract.columns if column.egress != "never"]
    return pa.schema([*fields, pa.field(ROW_NUMBER, pa.int64())])


def _egress_type(column: ContractColumn) -> pa.DataType:
    import pyarrow as pa

    if column.egress == "year":
        return pa.int64()
    return casting.arrow_type(column.type) if column.egress == "plain" else pa.string()


def _read_contract(path: Path, tenant: str, known_since: datetime) -> tuple[ContractDocument, DataContract | None]:
    try:
        content = read_plain_file(path, follows_link=True)
    except CorruptedError as exc:
        raise ProjectError(exc.what, fix=f"put a file there, or remove {path}") from None
    except OSError as exc:
        raise ProjectError(f"{path}: cannot be read ({type(exc).__name__})", fix=f"check {path}") from None
    return _parse_contract(path, content, tenant, known_since)


def _parse_contract(
    path: Path, content: bytes, tenant: str, known_since: datetime
) -> tuple[ContractDocument, DataContract | None]:
    document = read_document(path, content)
    fields = _compile_fields(document)
    if fields is None:
        return document, None
    digest = hashlib.sha256(content).hexdigest()
    return document, DataContract(tenant=tenant, known_since=known_since, digest=digest, **fields)


def _require_contract(path: Path, document: ContractDocument, contract: DataContract | None) -> DataContract:
    if contract is None or document.errors:
        raise ProjectError("\n".join(document.errors), fix=f"edit {path}")
    return contract


def _compile_fields(document: ContractDocument) -> dict[str, Any] | None:
    """Convert a document to the fields of a DataContract. Adds errors to the document; returns None if it has any."""
    model = document.model
    if model is None:
        return None
    file_format = _find_format(document, model)
    properties = read_custom_properties(
        document,
        ("customProperties",),
        model.customProperties,
        _PROPERTIES | set(file_format.settings if file_format else ()),
    )
    expected = {"apiVersion": (model.apiVersion, "v3.1.0"), "kind": (model.kind, "DataContract")}
    for key, (value, expected_value) in {**expected, "status": (model.status, "active")}.items():
        if value != expected_value:
            document.add_error((key,), f"write `{key}: {expected_value}`")
    if not model.id:
        document.add_error(("id",), "the id is missing; add `id: NAME`")
    if not _CONTRACT_NAME.fullmatch(model.name or ""):
        document.add_error(
            ("name",), "a contract name has lower-case letters, digits and underscores; it is also the table name"
        )
    if not re.fullmatch(r"[0-9]+\.[0-9]+\.[0-9]+", model.version or ""):
        document.add_error(("version",), "a version has three numbers, for example 1.0.0")
    for key, example in (("source", "SOURCE"), ("files", '"NAME_*.csv"'), ("format", "csv")):
        if not isinstance(properties.get(key), str) or not properties[key]:
            document.add_error(("customProperties", key), f"add `- {{ property: {key}, value: {example} }}`")
    if str(properties.get("files", "")).startswith("/"):
        document.add_error(
            ("customProperties", "files"),
            "the glob matches file names below the folder of the source; remove the slash",
        )
    owner, contact = _parse_owner(document, model)
    retention, freshness = _parse_service_levels(document, model)
    settings = _parse_format_settings(document, file_format, properties)
    row_fates = parse_row_fates(document, properties)
    columns, key, parsed_rules = _parse_schema(document, model)
    person = parse_person_column(document, model.customProperties, properties, columns)
    _check_paths(document, columns, has_paths=file_format is not None and file_format.has_paths)
    if document.errors:
        return None
    return {
        "name": model.name, "version": model.version, "source": properties["source"], "files": properties["files"],
        "format": properties["format"], "owner": owner, "contact": contact, "columns": columns, "key": key,
        "rules": parsed_rules, "retention_days": retention, "freshness_hours": freshness, "format_settings": settings,
        "person": person, **row_fates,
    }  # fmt: skip


def _find_format(document: ContractDocument, model: OpenDataContractStandard) -> FileFormat | None:
    """Load the format that a contract names. Adds an error and returns None for an unknown one."""
    for index, custom_property in enumerate(model.customProperties or []):
        if custom_property.property == "format":
            try:
                return load_format(str(custom_property.value))
            except ProjectError as exc:
                document.add_error(("customProperties", index, "value"), f"{exc.what}; {exc.fix}")
    return None


def _parse_format_settings(
    document: ContractDocument, file_format: FileFormat | None, properties: dict[str, Any]
) -> dict[str, str]:
    """Parse the custom properties that the format defines."""
    settings: dict[str, str] = {}
    for name, valid_values in (file_format.settings if file_format else {}).items():
        if name not in properties:
            continue
        if properties[name] not in valid_values:
            listed = ", ".join(repr(value) for value in valid_values)
            document.add_error(("customProperties", name), f"`{name}` is one of {listed}")
        else:
            settings[name] = properties[name]
    return settings


def _check_paths(document: ContractDocument, columns: tuple[ContractColumn, ...], *, has_paths: bool) -> None:
    """Check `physicalName`: only a nested format has paths, and no two columns may read the same value."""
    names = [column.name_in_file for column in columns]
    for index, column in enumerate(columns):
        location = ("schema", 0, "properties", index, "physicalName")
        if column.path is not None and not has_paths:
            document.add_error(location, "only a column of a jsonl file has another name in the file; remove it")
        elif not all(column.name_in_file.split(".")):
            document.add_error(location, "a path has names separated by single dots, for example address.zip")
        elif names.count(column.name_in_file) > 1:
            document.add_error(location, "two columns read the same value; remove one")
        elif any(name.startswith(f"{column.name_in_file}.") for name in names):
            document.add_error(location, "another column reads a part of this value; declare its parts only")


def _parse_owner(document: ContractDocument, model: OpenDataContractStandard) -> tuple[str, str]:
    members: list[TeamMember] = (
        model.team if isinstance(model.team, list) else (model.team and model.team.members) or []
    )
    owners = [member for member in members if member.role == "owner" and member.username]
    if len(owners) > 1:
        document.add_error(("team",), f"name one owner, who gets the alerts, not {len(owners)}")
    for member in owners:
        return member.name or str(member.role), str(member.username)
    document.add_error(("team",), "add the owner, who gets the alerts: `- { username: ADDRESS, role: owner }`")
    return "", ""


def _parse_service_levels(document: ContractDocument, model: OpenDataContractStandard) -> tuple[int, int | None]:
    """Parse the retention (days, default 7) and the hours after which the data counts as stale."""
    days, hours = 7, None
    parsed_names = set[str]()
    for index, sla_property in enumerate(model.slaProperties or []):
        path = ("slaProperties", index)
        if sla_property.property not in {"retention", "frequency", "latency"}:
            document.add_error(path, "unsupported property; retention, frequency and latency are supported; remove it")
            continue
        if sla_property.property in parsed_names:
            document.add_error(path, f"{sla_property.property} stands twice; write it once")
            continue
        parsed_names.add(sla_property.property)
        unit = _UNIT_HOURS.get(str(sla_property.unit))
        value = sla_property.value
        if unit is None or not value or isinstance(value, bool | str) or not 0 < value * unit <= _MAX_HOURS:
            document.add_error(path, "write a number above 0, of at most 100 years, and the unit h or d")
            continue
        span_hours = value * unit
        if sla_property.property == "retention":
            if span_hours % 24:
                document.add_error(path, "the retention must be in whole days")
            days = int(span_hours // 24)
        elif span_hours % 1:
            document.add_error(path, f"the {sla_property.property} must be in whole hours")
        else:
            hours = max(hours or 0, int(span_hours))
    return days, hours


def _parse_schema(
    document: ContractDocument, model: OpenDataContractStandard
) -> tuple[tuple[ContractColumn, ...], tuple[str, ...], tuple[RowRule, ...]]:
    objects = model.schema_ or []
    if len(objects) != 1:
        document.add_error(("schema",), f"the schema must have exactly one object, not {len(objects)}")
        return (), (), ()
    table, schema_path = objects[0], ("schema", 0)
    if table.name != model.name and _CONTRACT_NAME.fullmatch(model.name or ""):
        document.add_error((*schema_path, "name"), f"name it {model.name!r}, like the contract")
    if not table.properties:
        document.add_error((*schema_path, "properties"), "declare at least one column")
    columns: list[ContractColumn] = []
    key_positions: list[tuple[int, str]] = []
    for index, schema_property in enumerate(table.properties or []):
        parsed_column = parse_column(
            document,
            schema_property,
            (*schema_path, "properties", index),
            [column.name.casefold() for column in columns],
        )
        if parsed_column is not None:
            columns.append(parsed_column)
            if schema_property.primaryKey:
                if parsed_column.egress not in {"plain", "token"}:
                    document.add_error(
                        (*schema_path, "properties", index, "primaryKey"),
                        "a primary key column has egress plain or token: rows of several drops are compared by it",
                    )
                key_positions.append((schema_property.primaryKeyPosition or 0, parsed_column.name))
    parsed_rules = [
        _parse_rule(document, check, (*schema_path, "quality", index))
        for index, check in enumerate(table.quality or [])
    ]
    valid_rules = [rule for rule in parsed_rules if rule is not None]
    if len({rule.name for rule in valid_rules}) < len(valid_rules):
        document.add_error((*schema_path, "quality"), "two rules have the same name; rename one")
    if columns and valid_rules:
        rule_indexes = [index for index, rule in enumerate(parsed_rules) if rule is not None]
        for index, rule_error in zip(rule_indexes, row_rules.check_rules(valid_rules, columns), strict=True):
            if rule_error is not None:
                document.add_error((*schema_path, "quality", index, "query"), rule_error)
    return (
        tuple(columns),
        tuple(name for _, name in sorted(key_positions, key=lambda key_position: key_position[0])),
        tuple(valid_rules),
    )


def _parse_rule(document: ContractDocument, check: DataQuality, path: DocumentPath) -> RowRule | None:
    if check.type != "sql":
        document.add_error(path, "a table check has `type: sql` and one boolean expression over one row")
    elif not check.query or not check.name:
        document.add_error(path, "a rule needs a `name` and a `query`")
    elif check.mustBe not in (None, True):
        document.add_error((*path, "mustBe"), "a rule is true for a valid row: write `mustBe: true`, or remove it")
    else:
        return RowRule(name=check.name, sql=check.query.strip(), description=check.description or check.query.strip())
    return None
