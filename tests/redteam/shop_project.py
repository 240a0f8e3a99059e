"""A shop with one source, one contract and one model: the smallest project that answers predictions."""

from __future__ import annotations

import csv
import json
import math
import random
import shutil
import subprocess
import sys
import tempfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from tests.crash.project import command_environment
from tests.crash.serving_project import ServingProject
from wellspring.cli.pseudo_terminal import TerminalResult

MODEL = "returns"
AUTHOR, APPROVER = "ann", "bob"
COLUMNS = ("order_id", "customer_id", "email", "category", "price", "express", "ordered_on", "returned", "recorded_at")
DAYS, ORDERS_A_DAY = 200, 40
"""The smallest history with which the model passes its gate."""


def create_shop(root: Path, *, days: int = DAYS) -> ServingProject:
    """Create the project with the commands that a new user types, start it and ingest the history of some days."""
    with tempfile.TemporaryDirectory() as folder:
        write_orders(Path(folder) / "orders.csv", days=days)
        _run_command(Path(folder), "new", "project", "shop")
        _run_command(Path(folder) / "shop", "new", "contract", "../orders.csv")
        project_file = Path(folder) / "shop" / "wellspring.toml"
        # The machine of a test may be too busy for the default.
        text = project_file.read_text(encoding="utf-8").replace("[features]\n", "[features]\nread_seconds = 5\n")
        project_file.write_text(text, encoding="utf-8")
        shop = ServingProject(root, example=Path(folder) / "shop")
        shop.must("up")
        shutil.copy(Path(folder) / "orders.csv", shop.project.vendor_dir / "outbox" / "orders.csv")
    shop.must("ingest")
    return shop


class ReleaseOutcome(NamedTuple):
    """A release that ann proposed. own_approval, approval: the results of ann's and of bob's approval."""

    id: str
    own_approval: TerminalResult
    approval: TerminalResult


def release_model(shop: ServingProject) -> ReleaseOutcome:
    """Train the model and release it: ann proposes, tries to approve, and bob approves."""
    words = ("--table", "orders", "--key", "order_id", "--label", "returned", "--known", "recorded_at")
    shop.must("new", "model", MODEL, *words)
    shop.must("transform")
    candidate = str(shop.must("train", MODEL)["id"])
    shop.enroll_users(AUTHOR, APPROVER)
    proposed = shop.act(AUTHOR, "release", "propose", candidate)
    if proposed.exit_code:
        raise AssertionError(proposed.screen)
    release = str(json.loads(proposed.out)["release"]["id"])
    own_approval = shop.act(AUTHOR, "release", "approve", release)
    return ReleaseOutcome(release, own_approval, shop.act(APPROVER, "release", "approve", release))


def write_orders(path: Path, *, days: int = DAYS, first: int = 0, seed: int = 5) -> None:
    """Write the orders of a shop: a row when an order is placed, and a row when its return is decided."""
    draw = random.Random(seed)
    effects = {f"C{number:05d}": draw.gauss(0, 0.7) for number in range(500)}
    begin = datetime(2026, 1, 1)
    end = begin + timedelta(days=days)
    rows: list[tuple[datetime, list[str]]] = []
    for number in range(days * ORDERS_A_DAY):
        instant = begin + timedelta(seconds=number * 86400 // ORDERS_A_DAY)
        customer, category = draw.choice(list(effects)), draw.choice(["shoes", "shirts", "books", "lamps"])
        price, express = round(draw.lognormvariate(3.5, 0.6), 2), draw.random() < 0.3
        odds = {"shoes": 0.4, "shirts": 0.0, "books": -2.2, "lamps": -1.2}[category] + effects[customer]
        odds += 0.01 * (price - 35) - 0.6 * express
        is_returned = draw.random() < 1 / (1 + math.exp(-odds))
        order = [
            f"ORD-{first + number:06d}", customer, f"{customer.lower()}@mail.example", category, f"{price:.2f}",
            "yes" if express else "no", instant.strftime("%Y-%m-%d"),
        ]  # fmt: skip
        rows.append((instant, [*order, ""]))
        rows.append((instant + timedelta(days=draw.uniform(3, 14)), [*order, "yes" if is_returned else "no"]))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(
            [*row, instant.strftime("%Y-%m-%dT%H:%M:%SZ")] for instant, row in sorted(rows) if instant < end
        )


def _run_command(folder: Path, *words: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "wellspring.cli", *words, "--json"], cwd=folder, env=command_environment(None),
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if result.returncode:
        raise AssertionError(json.dumps([words, result.stderr]))
