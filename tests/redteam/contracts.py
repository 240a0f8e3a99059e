"""Contracts that an author loosens, under the same name, under another name, or by the names of their columns."""

from __future__ import annotations

from pathlib import Path

from tests.redteam.catalogue import attempt
from tests.redteam.target import Target
from tests.redteam.vendor_drops import build_contract

_TOKEN = "customProperties: [{ property: egress, value: token }, { property: domain, value: %s }]"
_PLAIN = "customProperties: [{ property: egress, value: plain }]"
_PUBLIC = "classification: operational\n        " + _PLAIN


def _ingest_under(target: Target, *contracts: tuple[str, str], header: str = "item_id,pieces", value: str = "1") -> str:
    """Deliver a file for each contract, one after the other, and return the outcome of the last one.

    contracts: name and text; a name that occurs again is another version. The contracts are removed at the end.
    """
    outbox, folder = target.project.vendor_dir / "outbox", target.project.contracts_dir
    laid: set[Path] = set()
    outcome = ""
    try:
        for number, (name, text) in enumerate(contracts):
            contract, drop = folder / f"{name}.odcs.yaml", outbox / f"{name}_{number}.csv"
            laid |= {contract, drop}
            contract.write_text(text, encoding="utf-8")
            drop.write_text(f"{header}\n{name}-{number},{value}\n", encoding="utf-8")
            result = target.run("ingest")
            files = result.document["files"] if result.document else ()
            codes = [reason["code"] for file in files if file["name"] == drop.name for reason in file["reasons"]]
            unreleased = result.document["unreleased_contracts"] if result.document else ()
            codes += ["not_released" for item in unreleased if item["name"] == name]
            outcome = f"exit {result.code} {codes[0] if codes else ''}".strip()
    finally:
        for path in laid:
            path.unlink()
    return outcome


def _loosened(name: str) -> str:
    text = build_contract(name, "csv", "csv")
    return text.replace(f"classification: identifier\n        {_TOKEN % 'item'}", _PUBLIC)


@attempt("contracts", "author", refused="exit 0 not_released", allowed="exit 0", needs="servers")
def loosen_a_column_in_a_new_version(target: Target, is_twin: bool) -> str:
    """An author lets an identifier leave in version 1.1.0, which judges nothing alone; the same version stays."""
    name = "versiona" if is_twin else "versionb"
    first = build_contract(name, "csv", "csv")
    second = first if is_twin else _loosened(name).replace("version: 1.0.0", "version: 1.1.0")
    return _ingest_under(target, (name, first), (name, second))


@attempt(
    "contracts",
    "author",
    refused="exit 75 weakened_protection",
    allowed="exit 0",
    needs="servers",
    recorded=("accept weakened_protection",),
)
def loosen_a_column_under_another_name(target: Target, is_twin: bool) -> str:
    """An author lets the column leave under a second contract of the source; with equal protection it is accepted."""
    name = "namea" if is_twin else "nameb"
    second_name = f"{name}x"
    second = build_contract(second_name, "csv", "csv") if is_twin else _loosened(second_name)
    return _ingest_under(target, (name, build_contract(name, "csv", "csv")), (second_name, second))


@attempt(
    "contracts",
    "author",
    refused="exit 75 personal_column",
    allowed="exit 0",
    needs="servers",
    recorded=("accept personal_column",),
)
def let_names_leave(target: Target, is_twin: bool) -> str:
    """An author lets a column `last_name` leave as plain text; as a token it may."""
    name = "persona" if is_twin else "personb"
    text = build_contract(name, "csv", "csv").replace("item_id", "last_name")
    if not is_twin:
        text = text.replace(f"classification: identifier\n        {_TOKEN % 'item'}", _PUBLIC)
    return _ingest_under(target, (name, text), header="last_name,pieces")


@attempt("contracts", "author", refused="exit 0 not_released", allowed="exit 0", needs="servers")
def change_a_contract_silently(target: Target, is_twin: bool) -> str:
    """An author changes a contract and keeps its version, which judges nothing; an unchanged one does."""
    name = "silenta" if is_twin else "silentb"
    first = build_contract(name, "csv", "csv")
    second = first if is_twin else first.replace("value: 7, unit: d", "value: 9, unit: d")
    return _ingest_under(target, (name, first), (name, second))


@attempt("contracts", "author", refused="exit 78", allowed="exit 0", needs="servers")
def let_birth_dates_leave(target: Target, is_twin: bool) -> str:
    """An author lets a date of birth leave as plain text; its year may leave."""
    name = "birtha" if is_twin else "birthb"
    old = "name: pieces\n        logicalType: integer\n        classification: operational\n        " + _PLAIN
    new = (
        "name: birth_date\n        logicalType: date\n        physicalType: date\n        classification: demographic\n"
    )
    new += f"        customProperties: [{{ property: egress, value: {'year' if is_twin else 'plain'} }}]"
    text = build_contract(name, "csv", "csv")
    assert old in text
    return _ingest_under(target, (name, text.replace(old, new)), header="item_id,birth_date", value="1980-02-03")


@attempt("contracts", "author", refused="exit 0 not_released", allowed="exit 0", needs="servers")
def change_the_domain_of_tokens(target: Target, is_twin: bool) -> str:
    """An author gives a column tokens of another domain, so that it joins other tables; the same may stay."""
    name = "domaina" if is_twin else "domainb"
    first = build_contract(name, "csv", "csv")
    second = first
    if not is_twin:
        second = first.replace("version: 1.0.0", "version: 1.1.0").replace("value: item }", "value: other }")
    return _ingest_under(target, (name, first), (name, second))


def _ingest_with_check(target: Target, name: str, *, column: str = "", rule: str = "") -> str:
    """Deliver a file under a contract with more checks. column: what follows the name of the token column."""
    text = build_contract(name, "csv", "csv")
    named = "name: item_id\n"
    assert named in text
    text = text.replace(named, f"{named}{column}")
    if rule:
        text = f'{text.rstrip()}\n    quality:\n      - {{ type: sql, name: checked, query: "{rule}" }}\n'
    return _ingest_under(target, (name, text))


@attempt(
    "contracts",
    "author",
    refused="exit 75 revealing_check",
    allowed="exit 0",
    needs="servers",
    recorded=("accept revealing_check",),
)
def spell_an_identifier_by_rules(target: Target, is_twin: bool) -> str:
    """An author writes a rule for a letter of an identifier, to read which rows break it; its length may be checked."""
    rule = "length(item_id) < 100" if is_twin else "substr(item_id, 1, 1) <> 'd'"
    return _ingest_with_check(target, "rulea" if is_twin else "ruleb", rule=rule)


@attempt(
    "contracts",
    "author",
    refused="exit 75 revealing_check",
    allowed="exit 0",
    needs="servers",
    recorded=("accept revealing_check",),
)
def spell_an_identifier_by_a_pattern(target: Target, is_twin: bool) -> str:
    """An author writes a pattern with a letter of an identifier; the shape of the identifier may be checked."""
    pattern = "^[a-z0-9-]+$" if is_twin else "^d"
    column = f"        logicalTypeOptions: {{ pattern: '{pattern}' }}\n"
    return _ingest_with_check(target, "patterna" if is_twin else "patternb", column=column)


@attempt(
    "contracts",
    "author",
    refused="exit 75 revealing_check",
    allowed="exit 0",
    needs="servers",
    recorded=("accept revealing_check",),
)
def list_the_identifiers_of_persons(target: Target, is_twin: bool) -> str:
    """An author lists identifiers as the only valid values, to read which rows have another; none needs a list."""
    values = "        quality: [{ type: library, metric: %s, mustBe: 0 }]\n"
    listed = values % ("nullValues" if is_twin else "invalidValues, arguments: { validValues: [dog] }")
    return _ingest_with_check(target, "lista" if is_twin else "listb", column=listed)
