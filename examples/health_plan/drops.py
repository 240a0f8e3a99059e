"""The vendor's drops of the demo: a history, a good one, a bad one, one with a broken schema, and what mends each.

Every drop is about the same people (`population.members`), so tokens join across them, and every drop holds the
planted people. A file is written as NAME.part and renamed: the outbox never shows half of one.
"""

from __future__ import annotations

import csv
import importlib
import io
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pyarrow as pa

    from examples.health_plan import colleague, population, process
else:
    # A room of a package: `examples` in a checkout, `wellspring.templates` in a wheel; or a file beside its project.
    colleague, population, process = (
        importlib.import_module(f"{__package__}.{name}" if __package__ else name)
        for name in ("colleague", "population", "process")
    )

SEED = 1
MEMBERS = 2_000
PLANTED = 12
UNTIL = "2026-10"
"""The last month of the history."""
LATER = 5_000_000
"""The number of the first claim of a drop beside the history, whose claims have the numbers below it."""
TELEHEALTH = "10"
"""Telehealth at home: a place of service that contract 1.0.0 has forgotten, and 1.1.0 knows."""


class Good(NamedTuple):
    """A drop of each contract, every row good. rows: by file name."""

    paths: tuple[Path, ...]
    rows: dict[str, int]
    planted: tuple[population.Person, ...]


class Flaw(NamedTuple):
    """One broken row: its number in the file (from 1), and one reason that it must wait for (code, column or rule)."""

    kind: str
    row: int
    code: str
    column: str


class Bad(NamedTuple):
    """A drop with ten kinds of badness. undeclared: the extra column, full of phones, that may never leave.

    repairable: how many of the flawed rows keep contract 1.1.0 (see `repaired_contract`).
    """

    path: Path
    rows: int
    flaws: tuple[Flaw, ...]
    undeclared: str
    repairable: int


def people(members: int = MEMBERS, *, seed: int = SEED) -> pa.Table:
    """Make the members that all drops are about; the first PLANTED of them are the planted people."""
    return population.members(members, seed, planted=PLANTED)


def history(folder: Path, *, months: int = 18, members: int = 12_000, lines: int = 100_000, seed: int = SEED) -> Good:
    """Write the six files of the denials process, all of one name: CONTRACT_FIRST_LAST.csv, up to UNTIL.

    Its first members are those of the other drops, so tokens join.
    """
    tables = _build_history(months, members, lines, seed).tables
    first = tables["medical_claim"]["received_date"][0].as_py()
    paths = tuple(
        population.write_csv(table, folder / f"{name}_{first:%Y-%m}_{UNTIL}.csv") for name, table in tables.items()
    )
    rows = {path.name: table.num_rows for path, table in zip(paths, tables.values(), strict=True)}
    return Good(paths, rows, tuple(population.planted(PLANTED, seed)))


def truth(*, months: int = 18, members: int = 12_000, lines: int = 100_000, seed: int = SEED) -> pa.Table:
    """Return the true probabilities of the history's claims: see `process.History`, and `process.ceiling`."""
    return _build_history(months, members, lines, seed).truth


def good(
    folder: Path, *, lines: int = 20_000, members: int = MEMBERS, seed: int = SEED, month: str = "2026-09"
) -> Good:
    """Write eligibility_MONTH.csv and medical_claim_MONTH.csv: every row keeps its contract."""
    members_table = people(members, seed=seed)
    spans = population.spans(members_table, seed)
    claims = population.claims(lines, seed, people=members_table, month=month, first=LATER)
    paths = (
        population.write_csv(spans, folder / f"eligibility_{month}.csv"),
        population.write_csv(claims, folder / f"medical_claim_{month}.csv"),
    )
    rows = {paths[0].name: spans.num_rows, paths[1].name: claims.num_rows}
    return Good(paths, rows, tuple(population.planted(PLANTED, seed)))


def bad(folder: Path, *, lines: int = 2_000, members: int = MEMBERS, seed: int = SEED, month: str = "2026-10") -> Bad:
    """Write medical_claim_MONTH.csv with ten kinds of bad rows, and a column of phones that was never agreed on.

    The tenth kind, rows in a place of service that the contract forgot, is the contract's mistake, not the vendor's.
    """
    members_table = people(members, seed=seed)
    rows = population.claims(lines, seed, people=members_table, month=month, first=LATER).to_pylist()
    professional = [place for place, row in enumerate(rows) if row["claim_type"] == "professional"]
    institutional = [place for place, row in enumerate(rows) if row["claim_type"] == "institutional"]
    flaws: list[Flaw] = []

    def spoil(kind: str, place: int, code: str, column: str, value: Any, *, reason_at: str | None = None) -> None:
        rows[place][column] = value
        flaws.append(Flaw(kind, place + 1, code, reason_at or column))

    # Far apart, and never the same row twice.
    professional_rows, institutional_rows = iter(professional[7::41]), iter(institutional[5::37])
    for _ in range(3):
        spoil("a required value is missing", next(professional_rows), "required", "diagnosis_code_1", None)
        spoil("words where an amount belongs", next(professional_rows), "type", "charge_amount", "twelve dollars")
        spoil("a day that no calendar has", next(professional_rows), "type", "claim_end_date", "2026-02-30")
        spoil("a value that is not in the list", next(professional_rows), "enum", "claim_type", "profesional")
        spoil("a number out of range", next(professional_rows), "range", "service_unit_quantity", 0)
        spoil("an identifier of the wrong shape", next(professional_rows), "pattern", "member_id", "WSP12AB")
        place = next(professional_rows)
        after = rows[place]["claim_end_date"] + timedelta(days=1)
        spoil("columns that disagree", place, "rule", "claim_start_date", after, reason_at="service_in_order")
        ssn = members_table["social_security_number"][0].as_py()
        spoil(
            "a person's number in a code column",
            next(institutional_rows),
            "personal_data",
            "revenue_center_code",
            f"SSN {ssn}",
        )
    for place in [next(professional_rows) for _ in range(5)]:
        spoil("a place of service the contract forgot", place, "enum", "place_of_service_code", TELEHEALTH)
    repairable = 5
    for place in [next(institutional_rows) for _ in range(3)]:
        rows.append({**rows[place], "charge_amount": rows[place]["charge_amount"] * 2})
        # Nothing says which of the two is right, so both wait.
        key = "claim_id,claim_line_number"
        flaws.append(Flaw("one line with two amounts", place + 1, "unique", key))
        flaws.append(Flaw("one line with two amounts", len(rows), "unique", key))
    phones = members_table["phone"].to_pylist()
    for number, row in enumerate(rows):
        row["callback_phone"] = phones[number % len(phones)]
    path = _write(folder / f"medical_claim_{month}.csv", rows)
    return Bad(path, len(rows), tuple(sorted(flaws, key=lambda flaw: flaw.row)), "callback_phone", repairable)


def broken_schema(
    folder: Path, *, lines: int = 2_000, members: int = MEMBERS, seed: int = SEED, month: str = "2026-11"
) -> Path:
    """Write medical_claim_MONTH.csv in which the vendor renamed a required column: member_id is subscriber_number."""
    table = population.claims(lines, seed, people=people(members, seed=seed), month=month, first=LATER)
    renamed = ["subscriber_number" if name == "member_id" else name for name in table.column_names]
    return population.write_csv(table.rename_columns(renamed), folder / f"medical_claim_{month}.csv")


def corrected(
    folder: Path, *, lines: int = 2_000, members: int = MEMBERS, seed: int = SEED, month: str = "2026-11"
) -> Path:
    """Write what the vendor sends after `broken_schema`: the same rows, the agreed names, in a file of a new name."""
    table = population.claims(lines, seed, people=people(members, seed=seed), month=month, first=LATER)
    return population.write_csv(table, folder / f"medical_claim_{month}_corrected.csv")


def repaired_contract(folder: Path) -> Path:
    """Do what the owner does about `bad`: medical_claim 1.1.0 in the project's contracts/ knows the forgotten place."""
    path = folder / "medical_claim.odcs.yaml"
    text = path.read_text(encoding="utf-8")
    for old, new in (("\nversion: 1.0.0\n", "\nversion: 1.1.0\n"), ("['02', '11',", f"['02', '{TELEHEALTH}', '11',")):
        if text.count(old) != 1:
            raise ValueError(f"{path} is not medical_claim 1.0.0 as shipped")
        text = text.replace(old, new)
    part = path.with_name(f"{path.name}.part")
    part.write_text(text, encoding="utf-8")
    return part.rename(path)


def _build_history(months: int, members: int, lines: int, seed: int) -> process.History:
    return process.history(members, lines, seed, months=months, until=UNTIL, planted=PLANTED)


def _write(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    rows = list(rows)
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: str(value).lower() if isinstance(value, bool) else value for name, value in row.items()})
    part = path.with_name(f"{path.name}.part")
    part.write_text(text.getvalue(), encoding="utf-8")
    return part.rename(path)
