"""What a supplier promised: one ODCS 3.1 file -> Contract; what is not understood is an error, never ignored."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wellspring.data import rules, typed
from wellspring.data.columns import column
from wellspring.data.formats.parsed import ROW
from wellspring.data.odcs import Page, Where, read_page, said
from wellspring.errors import NotFound, ProjectError, Refused
from wellspring.records.data import Column, Contract, Leaves, Rule
from wellspring.records.record import Digest
from wellspring.records.verdict import Reason, Verdict
from wellspring.stores.objects.disk import DiskPaths

if TYPE_CHECKING:
    import pyarrow as pa
    from open_data_contract_standard.model import DataQuality, OpenDataContractStandard, TeamMember

PATTERN = "*.odcs.yaml"
_HOURS = {"h": 1, "hr": 1, "hour": 1, "hours": 1, "d": 24, "day": 24, "days": 24}
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_PROTECTION: dict[Leaves, int] = {"never": 3, "token": 2, "masked": 2, "year": 1, "zip3": 1, "as_is": 0}
_SENSITIVITY = {
    "public": 0, "operational": 1, "internal": 1, "financial": 2, "confidential": 2, "demographic": 3, "free_text": 4,
    "clinical": 4, "contact": 5, "identifier": 6, "restricted": 6,
}  # fmt: skip


def load(path: Path, *, tenant: str, known_since: datetime) -> Contract:
    """Read one contract. Raises ProjectError that lists every mistake, each with file, line and mend."""
    page, contract = _read(path, tenant, known_since)
    if contract is None or page.problems:
        raise ProjectError("\n".join(page.problems), fix=f"edit {path}")
    return contract


def keep(folder: Path, kept: Path) -> None:
    """Keep the bytes of every contract of a folder under their digest: rows are held against them for years to come."""
    paths = DiskPaths(kept)
    for path in folder.glob(PATTERN):
        content = path.read_bytes()
        paths.write_once(f"{hashlib.sha256(content).hexdigest()}.odcs.yaml", content)


def load_kept(kept: Path, digest: Digest, *, tenant: str, known_since: datetime) -> Contract:
    """Read a contract as it stood when it was kept. Raises NotFound."""
    path = kept / f"{digest}.odcs.yaml"
    if not path.is_file():
        raise NotFound(
            f"no contract of digest {digest} is kept", fix="restore contracts/ from its history, and run again"
        )
    return load(path, tenant=tenant, known_since=known_since)


def load_all(
    folder: Path, *, tenant: str, known_since: datetime, sources: Collection[str] | None = None
) -> tuple[Contract, ...]:
    """Read every `*.odcs.yaml` of a folder, by name. sources: the project's, if a contract must name one of them.

    Raises ProjectError that lists every mistake of every file.
    """
    problems: list[str] = []
    found: dict[str, tuple[Path, Contract]] = {}
    for path in sorted(folder.glob(PATTERN)):
        page, contract = _read(path, tenant, known_since)
        problems += page.problems
        if contract is None:
            continue
        if sources is not None and contract.source not in sources:
            there = ", ".join(sorted(sources)) or "none"
            problems.append(f"{path}: the source {contract.source!r} is not in wellspring.toml; there is: {there}")
        if contract.name in found:
            first = found[contract.name][0].name
            problems.append(f"{path}: a contract named {contract.name!r} is in {first} already; one file a contract")
        found.setdefault(contract.name, (path, contract))
    for path in sorted({*folder.glob("*.yaml"), *folder.glob("*.yml")} - {*folder.glob(PATTERN)}):
        problems.append(f"{path}: this file is not read; name it NAME.odcs.yaml, or move it away")
    if problems:
        raise ProjectError("\n".join(problems), fix=f"edit the contracts in {folder}")
    return tuple(contract for _, contract in (found[name] for name in sorted(found)))


def match(contracts: Iterable[Contract], source: str, name: str) -> Contract:
    """Find the one contract that a file of a source belongs to. Raises Refused when there is none, or several."""
    fitting = [each for each in contracts if each.source == source and fnmatchcase(name, each.files)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        names = ", ".join(sorted(each.name for each in fitting))
        code, what = "several_contracts", f"the file {name!r} of {source} fits several contracts: {names}"
    else:
        code, what = "no_contract", f"the file {name!r} of {source} fits no contract"
    reason = Reason(code=code, what=what, count=len(fitting))
    raise Refused(
        what,
        fix="it waits untouched; let exactly one contract's `files` match its name",
        verdict=Verdict(subject=f"source:{source}", outcome="invalid", reasons=(reason,)),
    )


def loosened(old: Contract, new: Contract) -> tuple[str, ...]:
    """Say in what a new version protects a column less than the old one did; empty when in nothing.

    A column that the old version did not declare was at `never`. A classification that was taken away, lowered, or
    changed to or from a word whose rank is not known counts as lowered; so does another token domain.
    """
    before = {was.name: was for was in old.columns}
    said: list[str] = []
    for now in new.columns:
        was = before.get(now.name)
        leaves: Leaves = was.leaves if was else "never"
        if _PROTECTION[now.leaves] < _PROTECTION[leaves]:
            said.append(f"{now.name} left as {leaves!r} and would leave as {now.leaves!r}")
        if was is None:
            continue
        if was.classification and _lowered(was.classification, now.classification):
            said.append(f"{now.name} was classified {was.classification!r} and would be {now.classification or None!r}")
        if was.domain is not None and now.domain is not None and was.domain != now.domain:
            said.append(f"{now.name} had tokens of the domain {was.domain!r} and would have those of {now.domain!r}")
    return tuple(said)


def leaving(contract: Contract) -> pa.Schema:
    """Say what leaves the enclave under a contract: its columns in order with their types, then `row_number`."""
    import pyarrow as pa

    fields = [pa.field(each.name, _left_as(each)) for each in contract.columns if each.leaves != "never"]
    return pa.schema([*fields, pa.field(ROW, pa.int64())])


def _left_as(column: Column) -> pa.DataType:
    import pyarrow as pa

    match column.leaves:
        case "year":
            return pa.int64()
        case "token" | "zip3" | "masked":
            return pa.string()
        case _:
            return typed.arrow(column.type)


def _lowered(was: str, now: str) -> bool:
    if was == now:
        return False
    before, after = _SENSITIVITY.get(was), _SENSITIVITY.get(now)
    return before is None or after is None or after < before


def _read(path: Path, tenant: str, known_since: datetime) -> tuple[Page, Contract | None]:
    try:
        content = path.read_bytes()
    except OSError as wrong:
        raise ProjectError(f"{path}: cannot be read ({type(wrong).__name__})", fix=f"check {path}") from None
    page = read_page(path, content)
    fields = _compiled(page)
    if fields is None:
        return page, None
    digest = hashlib.sha256(content).hexdigest()
    return page, Contract(tenant=tenant, known_since=known_since, digest=digest, **fields)


def _compiled(page: Page) -> dict[str, Any] | None:
    """Turn a page into the fields of a Contract; what is wrong is noted on the page. None when nothing can be made."""
    model = page.model
    if model is None:
        return None
    told = said(page, ("customProperties",), model.customProperties, {"source", "files", "format"})
    expected = {"apiVersion": (model.apiVersion, "v3.1.0"), "kind": (model.kind, "DataContract")}
    for key, (value, wanted) in {**expected, "status": (model.status, "active")}.items():
        if value != wanted:
            page.wrong((key,), f"write `{key}: {wanted}`")
    if not model.id:
        page.wrong(("id",), "it is missing; say `id: NAME`")
    if not _NAME.fullmatch(model.name or ""):
        page.wrong(("name",), "say a name of lower-case letters, digits and underscores; it names the table")
    if not re.fullmatch(r"[0-9]+\.[0-9]+\.[0-9]+", model.version or ""):
        page.wrong(("version",), "say a version of three numbers, as 1.0.0")
    for key, example in (("source", "clearinghouse"), ("files", '"medical_claim_*.csv"'), ("format", "csv")):
        if not isinstance(told.get(key), str) or not told[key]:
            page.wrong(("customProperties", key), f"add `- {{ property: {key}, value: {example} }}`")
    if told.get("format", "csv") not in ("csv", "parquet"):
        page.wrong(("customProperties", "format"), "the format is csv or parquet")
    if "/" in str(told.get("files", "")):
        page.wrong(("customProperties", "files"), "it matches names within the source's folder; leave out the slash")
    owner, contact = _owner(page, model)
    retention, freshness = _agreed(page, model)
    columns, key, kept = _schema(page, model)
    if page.problems:
        return None
    return {
        "name": model.name, "version": model.version, "source": told["source"], "files": told["files"],
        "format": told["format"], "owner": owner, "contact": contact, "columns": columns, "key": key, "rules": kept,
        "retention_days": retention, "freshness_hours": freshness,
    }  # fmt: skip


def _owner(page: Page, model: OpenDataContractStandard) -> tuple[str, str]:
    members: list[TeamMember] = (
        model.team if isinstance(model.team, list) else (model.team and model.team.members) or []
    )
    for each in members:
        if each.role == "owner" and each.username:
            return each.name or each.role, each.username
    page.wrong(("team",), "say who is told when a drop stops: `- { username: ADDRESS, role: owner }`")
    return "", ""


def _agreed(page: Page, model: OpenDataContractStandard) -> tuple[int, int | None]:
    """Read retention (days, default 7) and the hours after which the data is no longer fresh."""
    days, hours = 7, None
    for place, each in enumerate(model.slaProperties or []):
        where = ("slaProperties", place)
        if each.property not in {"retention", "frequency", "latency"}:
            page.wrong(where, "the house holds a supplier to retention, frequency and latency; leave this out")
            continue
        unit = _HOURS.get(str(each.unit))
        if unit is None or isinstance(each.value, bool | str) or not each.value or each.value <= 0:
            page.wrong(where, "say a number above 0 and the unit h or d")
            continue
        span = each.value * unit
        if each.property == "retention":
            if span % 24:
                page.wrong(where, "retention is in whole days")
            days = int(span // 24)
        else:
            hours = max(hours or 0, int(span))
    return days, hours


def _schema(
    page: Page, model: OpenDataContractStandard
) -> tuple[tuple[Column, ...], tuple[str, ...], tuple[Rule, ...]]:
    objects = model.schema_ or []
    if len(objects) != 1:
        page.wrong(("schema",), f"say exactly one object; there are {len(objects)}")
        return (), (), ()
    table, at = objects[0], ("schema", 0)
    if table.name != model.name and _NAME.fullmatch(model.name or ""):
        page.wrong((*at, "name"), f"call it {model.name!r}, as the contract")
    if not table.properties:
        page.wrong((*at, "properties"), "say at least one column")
    columns: list[Column] = []
    keys: list[tuple[int, str]] = []
    for place, each in enumerate(table.properties or []):
        read = column(page, each, (*at, "properties", place), [done.name.casefold() for done in columns])
        if read is not None:
            columns.append(read)
            if each.primaryKey:
                keys.append((each.primaryKeyPosition or 0, read.name))
    kept = [_rule(page, each, (*at, "quality", place)) for place, each in enumerate(table.quality or [])]
    listed = [rule for rule in kept if rule is not None]
    if len({rule.name for rule in listed}) < len(listed):
        page.wrong((*at, "quality"), "two rules have the same name")
    if columns and listed:
        places = [place for place, rule in enumerate(kept) if rule is not None]
        for place, wrong in zip(places, rules.problems(listed, columns), strict=True):
            if wrong is not None:
                page.wrong((*at, "quality", place, "query"), wrong)
    return tuple(columns), tuple(name for _, name in sorted(keys, key=lambda each: each[0])), tuple(listed)


def _rule(page: Page, each: DataQuality, where: Where) -> Rule | None:
    if each.type != "sql":
        page.wrong(where, "a check of the whole table is `type: sql`, one boolean expression of one row")
    elif not each.query or not each.name:
        page.wrong(where, "a rule has a `name` and a `query`")
    elif each.mustBe not in (None, True):
        page.wrong((*where, "mustBe"), "a rule is true for a good row: write `mustBe: true`, or leave it out")
    else:
        return Rule(name=each.name, sql=each.query.strip(), what=each.description or each.query.strip())
    return None
