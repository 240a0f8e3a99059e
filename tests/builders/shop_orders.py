"""The orders of a shop: a row when an order is placed, and a row when it is decided whether it was returned."""

from __future__ import annotations

import csv
import math
import random
from datetime import datetime, timedelta
from pathlib import Path

COLUMNS = ("order_id", "customer_id", "email", "category", "price", "express", "ordered_on", "returned", "recorded_at")
QUANTITY = "quantity"
_ODDS = {"shoes": 0.4, "shirts": 0.0, "books": -2.2, "lamps": -1.2}


def write_orders(
    path: Path, *, days: int, a_day: int, customers: int, first: int = 0, seed: int = 5, has_quantity: bool = False
) -> None:
    """Write the orders of some days. first: number of the first order. has_quantity: a column more, after the price."""
    draw = random.Random(seed)
    effects = {f"C{number:05d}": draw.gauss(0, 0.7) for number in range(customers)}
    begin = datetime(2026, 1, 1)
    end = begin + timedelta(days=days)
    rows: list[tuple[datetime, list[str]]] = []
    for number in range(days * a_day):
        instant = begin + timedelta(seconds=number * 86400 // a_day)
        customer, category = draw.choice(list(effects)), draw.choice(list(_ODDS))
        price, express = round(draw.lognormvariate(3.5, 0.6), 2), draw.random() < 0.3
        odds = _ODDS[category] + effects[customer] + 0.01 * (price - 35) - 0.6 * express
        is_returned = draw.random() < 1 / (1 + math.exp(-odds))
        quantity = [str(draw.choice([1, 1, 1, 2, 3]))] if has_quantity else []
        order = [
            f"ORD-{first + number:06d}", customer, f"{customer.lower()}@mail.example", category, f"{price:.2f}",
            *quantity, "yes" if express else "no", instant.strftime("%Y-%m-%d"),
        ]  # fmt: skip
        rows.append((instant, [*order, ""]))
        rows.append((instant + timedelta(days=draw.uniform(3, 14)), [*order, "yes" if is_returned else "no"]))
    place = COLUMNS.index("price") + 1
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*COLUMNS[:place], *([QUANTITY] if has_quantity else []), *COLUMNS[place:]])
        writer.writerows(
            [*row, instant.strftime("%Y-%m-%dT%H:%M:%SZ")] for instant, row in sorted(rows) if instant < end
        )
