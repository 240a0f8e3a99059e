"""A shop with one source, one contract and one model: the smallest project that answers predictions."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from tests.builders.shop_orders import write_orders
from tests.crash.project import command_environment
from tests.crash.serving_project import ServingProject
from wellspring.cli.pseudo_terminal import TerminalResult

MODEL = "returns"
AUTHOR, APPROVER = "ann", "bob"
DAYS, ORDERS_A_DAY = 200, 40
"""The smallest history with which the model passes its gate."""


def create_shop(root: Path, *, days: int = DAYS) -> ServingProject:
    """Create the project with the commands that a new user types, start it and ingest the history of some days."""
    with tempfile.TemporaryDirectory() as folder:
        write_orders(Path(folder) / "orders.csv", days=days, a_day=ORDERS_A_DAY, customers=500)
        _run_command(Path(folder), "new", "project", "shop")
        _run_command(Path(folder) / "shop", "new", "contract", "../orders.csv")
        project_file = Path(folder) / "shop" / "wellspring.toml"
        # The machine of a test may be too busy for the default.
        text = project_file.read_text(encoding="utf-8").replace("[features]\n", "[features]\nread_seconds = 5\n")
        text = text.replace('mode = "development"', 'mode = "governed"')
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


def _run_command(folder: Path, *words: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "wellspring.cli", *words, "--json"], cwd=folder, env=command_environment(None),
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if result.returncode:
        raise AssertionError(json.dumps([words, result.stderr]))
