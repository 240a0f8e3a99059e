"""A shop's CSV files, from which `wellspring new` drafts contracts and models."""

from __future__ import annotations

from pathlib import Path

from wellspring.cli import cli
from wellspring.cli.context import run_command
from wellspring.data.contracts import contract
from wellspring.records.clock import SystemClock
from wellspring.records.contracts import DataContract

HEADER = (
    "order_id,customer_id,born_dob,mail,first_name,zip,note,kind,code,price,pieces,gift,ordered_on,late,recorded_at"
)
FEW_ROWS = f"""{HEADER}
O-1,C1,1980-02-03,a@mail.example,Ada,02139,call me,shoe,007,3.10,1,yes,2026-01-02,,2026-01-02T10:00:00Z
O-1,C1,1980-02-03,a@mail.example,Ada,02139,,shoe,007,3.10,1,yes,2026-01-02,no,2026-01-09T10:00:00Z
O-2,C2,1990-02-03,b@mail.example,Bo,02140,,sock,008,9.99,2,no,2026-01-03,,2026-01-03T10:00:00Z
"""
MANY_ROWS = "\n".join(
    [HEADER, *(FEW_ROWS.splitlines()[1 + index % 3].replace("O-", f"O-{index // 3}-") for index in range(150))]
) + "\n"  # fmt: skip
NEW_MODEL = ("new", "model", "late", "--table", "orders", "--key", "order_id", "--label", "late", "--known")
NEW_MODEL_OF_SINGLE_ROWS = (
    "new", "model", "late", "--table", "once", "--key", "order_id", "--label", "late", "--known", "recorded_at",
)  # fmt: skip
"""A model of the table that `add_single_row_table` adds."""


def load_orders_contract(shop: Path) -> DataContract:
    return contract.load_contract(
        shop / "contracts" / "orders.odcs.yaml", tenant="shop", known_since=SystemClock().now()
    )


def add_single_row_table(shop: Path, header: str) -> None:
    """Add a contract for a table `once` that has one row per order, with the outcome in the same row."""
    rows = [
        f"O-{n},C{n % 7},{('yes', 'no')[n % 2]},2026-01-{n % 27 + 1:02d},2026-03-{n % 27 + 1:02d}" for n in range(60)
    ]
    (shop.parent / "once.csv").write_text("\n".join([header, *rows, ""]))
    assert run_command(cli, ["new", "contract", "../once.csv"]) == 0


def read_files(folder: Path) -> dict[str, str]:
    return {str(path): path.read_text() for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"}
