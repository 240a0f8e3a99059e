"""What a supplier promised: one ODCS 3.1 file -> Contract; what is not understood is an error, never ignored."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wellspring.data.contracts.columns import parse_column
from wellspring.data.contracts.odcs import ContractDocument, DocumentPath, read_custom_properties, read_document
from wellspring.data.formats.parsed import ROW_NUMBER
from wellspring.data.contracts import casting
from wellspring.data.quality import row_rules
from wellspring.errors import NotFound, ProjectError, Refused
from wellspring.records.data import ContractColumn, DataContract, EgressRule, RowRule
from wellspring.records.record import Digest
from wellspring.records.verdict import Reason, Verdict
from wellspring.stores.objects.disk import DiskBlobStore

if TYPE_CHECKING:
    import pyarrow as pa
    from open_data_contract_standard.model import DataQuality, OpenDataContractStandard, TeamMember

CONTRACT_GLOB = "*.odcs.yaml"
_UNIT_HOURS = {"h": 1, "hr": 1, "hour": 1, "hours": 1, "d": 24, "day": 24, "days": 24}
_CONTRACT_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_PROTECTION_LEVELS: dict[EgressRule, int] = {"never": 3, "token": 2, "masked": 2, "year": 1, "prefix(3)": 1, "plain": 0}
_SENSITIVITY_LEVELS = {
    "public": 0, "operational": 1, "internal": 1, "financial": 2, "confidential": 2, "demographic": 3, "free_text": 4,
    "clinical": 4, "contact": 5, "identifier": 6, "restricted": 6,
}  # fmt: skip


def load_contract(path: Path, *, tenant: str, known_since: datetime) -> DataContract:
    """Read one contract. Raises ProjectError that lists every mistake, each with file, line and mend."""
    document, contract = _read_contract(path, tenant, known_since)
    if contract is None or document.errors:
        raise ProjectError("\n".join(document.errors), fix=f"edit {path}")
    return contract


def archive_contracts(folder: Path, archive_folder: Path) -> None:
    """Keep the bytes of every contract of a folder under their digest: rows are held against them for years to come."""
    paths = DiskBlobStore(archive_folder)
    for path in folder.glob(CONTRACT_GLOB):
        content = path.read_bytes()
        paths.write_once(f"{hashlib.sha256(content).hexdigest()}.odcs.yaml", content)


def load_archived(archive_folder: Path, digest: Digest, *, tenant: str, known_since: datetime) -> DataContract:
    """Read a contract as it stood when it was kept. Raises NotFound."""
    path = archive_folder / f"{digest}.odcs.yaml"
    if not path.is_file():
        raise NotFound(
            f"no contract of digest {digest} is kept", fix="restore contracts/ from its history, and run again"
        )
    return load_contract(path, tenant=tenant, known_since=known_since)


def load_all(
    folder: Path, *, tenant: str, known_since: datetime, sources: Collection[str] | None = None
) -> tuple[DataContract, ...]:
    """Read every `*.odcs.yaml` of a folder, by name. sources: the project's, if a contract must name one of them.

    Raises ProjectError that lists every mistake of every file.
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
            errors.append(f"{path}: the source {contract.source!r} is not in wellspring.toml; there is: {declared}")
        if contract.name in contracts_by_name:
            first = contracts_by_name[contract.name][0].name
            errors.append(f"{path}: a contract named {contract.name!r} is in {first} already; one file a contract")
        contracts_by_name.setdefault(contract.name, (path, contract))
    for path in sorted({*folder.glob("*.yaml"), *folder.glob("*.yml")} - {*folder.glob(CONTRACT_GLOB)}):
        errors.append(f"{path}: this file is not read; name it NAME.odcs.yaml, or move it away")
    if errors:
        raise ProjectError("\n".join(errors), fix=f"edit the contracts in {folder}")
    return tuple(contract for _, contract in (contracts_by_name[name] for name in sorted(contracts_by_name)))


def contract_for_file(contracts: Iterable[DataContract], source: str, name: str) -> DataContract:
    """Find the one contract that a file of a source belongs to. Raises Refused when there is none, or several."""
    matching = [contract for contract in contracts if contract.source == source and fnmatchcase(name, contract.files)]
    if len(matching) == 1:
        return matching[0]
    if matching:
        names = ", ".join(sorted(item.name for item in matching))
        code, message = "several_contracts", f"the file {name!r} of {source} fits several contracts: {names}"
    else:
        code, message = "no_contract", f"the file {name!r} of {source} fits no contract"
    reason = Reason(code=code, message=message, count=len(matching))
    raise Refused(
        message,
        fix="it waits untouched; let exactly one contract's `files` match its name",
        verdict=Verdict(subject=f"source:{source}", outcome="invalid", reasons=(reason,)),
    )


def weakened_protections(old: DataContract, new: DataContract) -> tuple[str, ...]:
    """Say in what a new version protects a column less than the old one did; empty when in nothing.

    A column that the old version did not declare was at `never`. A classification that was taken away, lowered, or
    changed to or from a word whose rank is not known counts as lowered; so does another token domain.
    """
    old_columns = {was.name: was for was in old.columns}
    weakened: list[str] = []
    for new_column in new.columns:
        old_column = old_columns.get(new_column.name)
        old_egress: EgressRule = old_column.egress if old_column else "never"
        if _PROTECTION_LEVELS[new_column.egress] < _PROTECTION_LEVELS[old_egress]:
            weakened.append(f"{new_column.name} left as {old_egress!r} and would leave as {new_column.egress!r}")
        if old_column is None:
            continue
        if old_column.classification and _is_lowered(old_column.classification, new_column.classification):
            weakened.append(
                f"{new_column.name} was classified {old_column.classification!r} and would be {new_column.classification or None!r}"
            )
        if old_column.domain is not None and new_column.domain is not None and old_column.domain != new_column.domain:
            weakened.append(
                f"{new_column.name} had tokens of the domain {old_column.domain!r} and would have those of {new_column.domain!r}"
            )
    return tuple(weakened)


def egress_schema(contract: DataContract) -> pa.Schema:
    """Say what leaves the enclave under a contract: its columns in order with their types, then `row_number`."""
    import pyarrow as pa

    fields = [pa.field(column.name, _egress_type(column)) for column in contract.columns if column.egress != "never"]
    return pa.schema([*fields, pa.field(ROW_NUMBER, pa.int64())])


def _egress_type(column: ContractColumn) -> pa.DataType:
    import pyarrow as pa

    match column.egress:
        case "year":
            return pa.int64()
        case "token" | "prefix(3)" | "masked":
            return pa.string()
        case _:
            return casting.arrow_type(column.type)


def _is_lowered(old: str, new: str) -> bool:
    if old == new:
        return False
    old_level, new_level = _SENSITIVITY_LEVELS.get(old), _SENSITIVITY_LEVELS.get(new)
    return old_level is None or new_level is None or new_level < old_level


def _read_contract(path: Path, tenant: str, known_since: datetime) -> tuple[ContractDocument, DataContract | None]:
    try:
        content = path.read_bytes()
    except OSError as exc:
        raise ProjectError(f"{path}: cannot be read ({type(exc).__name__})", fix=f"check {path}") from None
    document = read_document(path, content)
    fields = _compile_fields(document)
    if fields is None:
        return document, None
    digest = hashlib.sha256(content).hexdigest()
    return document, DataContract(tenant=tenant, known_since=known_since, digest=digest, **fields)


def _compile_fields(document: ContractDocument) -> dict[str, Any] | None:
    """Turn a page into the fields of a Contract; what is wrong is noted on the page. None when nothing can be made."""
    model = document.model
    if model is None:
        return None
    properties = read_custom_properties(
        document, ("customProperties",), model.customProperties, {"source", "files", "format"}
    )
    expected = {"apiVersion": (model.apiVersion, "v3.1.0"), "kind": (model.kind, "DataContract")}
    for key, (value, expected_value) in {**expected, "status": (model.status, "active")}.items():
        if value != expected_value:
            document.add_error((key,), f"write `{key}: {expected_value}`")
    if not model.id:
        document.add_error(("id",), "it is missing; say `id: NAME`")
    if not _CONTRACT_NAME.fullmatch(model.name or ""):
        document.add_error(("name",), "say a name of lower-case letters, digits and underscores; it names the table")
    if not re.fullmatch(r"[0-9]+\.[0-9]+\.[0-9]+", model.version or ""):
        document.add_error(("version",), "say a version of three numbers, as 1.0.0")
    for key, example in (("source", "clearinghouse"), ("files", '"medical_claim_*.csv"'), ("format", "csv")):
        if not isinstance(properties.get(key), str) or not properties[key]:
            document.add_error(("customProperties", key), f"add `- {{ property: {key}, value: {example} }}`")
    if properties.get("format", "csv") not in ("csv", "parquet"):
        document.add_error(("customProperties", "format"), "the format is csv or parquet")
    if "/" in str(properties.get("files", "")):
        document.add_error(
            ("customProperties", "files"), "it matches names within the source's folder; leave out the slash"
        )
    owner, contact = _parse_owner(document, model)
    retention, freshness = _parse_service_levels(document, model)
    columns, key, parsed_rules = _parse_schema(document, model)
    if document.errors:
        return None
    return {
        "name": model.name, "version": model.version, "source": properties["source"], "files": properties["files"],
        "format": properties["format"], "owner": owner, "contact": contact, "columns": columns, "key": key, "rules": parsed_rules,
        "retention_days": retention, "freshness_hours": freshness,
    }  # fmt: skip


def _parse_owner(document: ContractDocument, model: OpenDataContractStandard) -> tuple[str, str]:
    members: list[TeamMember] = (
        model.team if isinstance(model.team, list) else (model.team and model.team.members) or []
    )
    for member in members:
        if member.role == "owner" and member.username:
            return member.name or member.role, member.username
    document.add_error(("team",), "say who is told when a drop stops: `- { username: ADDRESS, role: owner }`")
    return "", ""


def _parse_service_levels(document: ContractDocument, model: OpenDataContractStandard) -> tuple[int, int | None]:
    """Read retention (days, default 7) and the hours after which the data is no longer fresh."""
    days, hours = 7, None
    for index, slaproperty in enumerate(model.slaProperties or []):
        path = ("slaProperties", index)
        if slaproperty.property not in {"retention", "frequency", "latency"}:
            document.add_error(path, "the house holds a supplier to retention, frequency and latency; leave this out")
            continue
        unit = _UNIT_HOURS.get(str(slaproperty.unit))
        if unit is None or isinstance(slaproperty.value, bool | str) or not slaproperty.value or slaproperty.value <= 0:
            document.add_error(path, "say a number above 0 and the unit h or d")
            continue
        span_hours = slaproperty.value * unit
        if slaproperty.property == "retention":
            if span_hours % 24:
                document.add_error(path, "retention is in whole days")
            days = int(span_hours // 24)
        else:
            hours = max(hours or 0, int(span_hours))
    return days, hours


def _parse_schema(
    document: ContractDocument, model: OpenDataContractStandard
) -> tuple[tuple[ContractColumn, ...], tuple[str, ...], tuple[RowRule, ...]]:
    objects = model.schema_ or []
    if len(objects) != 1:
        document.add_error(("schema",), f"say exactly one object; there are {len(objects)}")
        return (), (), ()
    table, schema_path = objects[0], ("schema", 0)
    if table.name != model.name and _CONTRACT_NAME.fullmatch(model.name or ""):
        document.add_error((*schema_path, "name"), f"call it {model.name!r}, as the contract")
    if not table.properties:
        document.add_error((*schema_path, "properties"), "say at least one column")
    columns: list[ContractColumn] = []
    key_positions: list[tuple[int, str]] = []
    for index, item in enumerate(table.properties or []):
        parsed_column = parse_column(
            document, item, (*schema_path, "properties", index), [previous.name.casefold() for previous in columns]
        )
        if parsed_column is not None:
            columns.append(parsed_column)
            if item.primaryKey:
                key_positions.append((item.primaryKeyPosition or 0, parsed_column.name))
    parsed_rules = [
        _parse_rule(document, item, (*schema_path, "quality", place)) for place, item in enumerate(table.quality or [])
    ]
    valid_rules = [rule for rule in parsed_rules if rule is not None]
    if len({rule.name for rule in valid_rules}) < len(valid_rules):
        document.add_error((*schema_path, "quality"), "two rules have the same name")
    if columns and valid_rules:
        rule_indexes = [place for place, rule in enumerate(parsed_rules) if rule is not None]
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
        document.add_error(path, "a check of the whole table is `type: sql`, one boolean expression of one row")
    elif not check.query or not check.name:
        document.add_error(path, "a rule has a `name` and a `query`")
    elif check.mustBe not in (None, True):
        document.add_error((*path, "mustBe"), "a rule is true for a good row: write `mustBe: true`, or leave it out")
    else:
        return RowRule(name=check.name, sql=check.query.strip(), description=check.description or check.query.strip())
    return None
