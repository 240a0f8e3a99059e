"""A stranger with a CSV file that is not ours: from nothing to an answer, in at most fifteen commands.

The long walk installs the wheel into an environment of its own; the short one takes the interpreter that runs it.
"""

from __future__ import annotations

import csv
import json
import math
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from pyotp.totp import TOTP

from tests.architecture import repository
from wellspring.cli.pseudo_terminal import run_in_pty

MOST = 15
PASSWORD = "a stranger's long sentence"
COLUMNS = "order_id,customer_id,email,category,price,quantity,express,ordered_on,returned,recorded_at"


class UnknownUser:
    """Somebody at a shell. typed: their commands, in order; what is typed at a prompt is no command."""

    def __init__(self, folder: Path) -> None:
        self.instant = folder
        self.bin = Path(sys.executable).parent
        self.typed: list[str] = []
        self._secrets: dict[str, str] = {}

    def types(self, *words: str, codes: Sequence[int] = (0,)) -> str:
        """Type a command and return what it printed."""
        self.typed.append(" ".join(words))
        environ = {**os.environ, "PATH": f"{self.bin}:{os.environ['PATH']}", "UV_SYSTEM_CERTS": "true"}
        for own_value in ("PYTHONPATH", "VIRTUAL_ENV"):
            environ.pop(own_value, None)
        started = time.monotonic()
        done = subprocess.run(
            self._argv(words), cwd=self.instant, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=300, check=False,
        )  # fmt: skip
        print(f"$ {self.typed[-1]}  # {time.monotonic() - started:.1f} s\n{done.stdout}{done.stderr}")
        assert done.returncode in codes, done.stderr
        return done.stdout

    def enrols(self, name: str) -> None:
        result = self._at_prompts(["users", "enroll", name], [("password: ", PASSWORD), ("again: ", PASSWORD)])
        url = next(line for line in result.splitlines() if line.startswith("otpauth:"))
        self._secrets[name] = parse_qs(urlsplit(url).query)["secret"][0]

    def acts(self, name: str, *words: str) -> str:
        """Type a command that asks who is there."""
        code = TOTP(self._secrets[name]).now()
        return self._at_prompts(words, [("name: ", name), ("password: ", PASSWORD), ("code: ", code)])

    def _at_prompts(self, words: Sequence[str], answers: Sequence[tuple[str, str]]) -> str:
        words = ("wellspring", *words)
        self.typed.append(" ".join(words))
        # A terminal's child inherits its folder: `env` goes to that of the stranger.
        output = run_in_pty(["env", "-C", str(self.instant), *self._argv(words)], answers)
        print(f"$ {self.typed[-1]}\n{output.out}")
        assert output.exit_code == 0, output.screen
        return output.out

    def _argv(self, words: Sequence[str]) -> list[str]:
        own = self.bin / words[0]
        return [str(own) if own.exists() else words[0], *words[1:]]


@pytest.fixture
def unknown_user() -> Iterator[UnknownUser]:
    # Services of other users reach the project, and the programs, through these folders.
    folder = Path(tempfile.mkdtemp(prefix="ws-stranger-"))
    folder.chmod(0o755)
    someone = UnknownUser(folder)
    try:
        yield someone
    finally:
        down = [str(someone.bin / "wellspring"), "down", "--project", str(folder / "shop")]
        subprocess.run(down, capture_output=True, timeout=120, check=False)
        shutil.rmtree(folder)


@pytest.mark.live
@pytest.mark.slow
def test_a_strangers_file_becomes_an_answer(unknown_user: UnknownUser) -> None:
    orders(unknown_user.instant / "orders.csv")
    collected(unknown_user)
    # Two more make the environment and install the wheel.
    assert len(unknown_user.typed) <= MOST - 2


@pytest.mark.live
@pytest.mark.long
def test_the_wheel_is_all_that_a_stranger_needs(unknown_user: UnknownUser) -> None:
    uv = shutil.which("uv") or str(repository.ROOT / ".uv" / "bin" / "uv")
    if not Path(uv).exists():
        pytest.skip("without uv no wheel is built here")
    environ = {**os.environ, "UV_SYSTEM_CERTS": "true"}
    built = [uv, "build", "--wheel", "--quiet", "--out-dir", str(unknown_user.instant), str(repository.ROOT)]
    subprocess.run(built, env=environ, check=True, timeout=120)
    (wheel,) = unknown_user.instant.glob("wellspring-*.whl")
    orders(unknown_user.instant / "orders.csv")

    unknown_user.types(uv, "venv", "--quiet", "--python", f"{sys.version_info.major}.{sys.version_info.minor}", "env")
    unknown_user.types(uv, "pip", "install", "--quiet", "--python", "env/bin/python", f"{wheel.name}[demo]")
    unknown_user.bin = unknown_user.instant / "env" / "bin"
    collected(unknown_user)
    assert len(unknown_user.typed) <= MOST


def collected(unknown_user: UnknownUser) -> None:
    """Go from an empty folder and a file to an answer."""
    unknown_user.types("wellspring", "new", "project", "shop")
    own_value = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        str(unknown_user.instant / "shop" / "tests"),
    ]
    tested = subprocess.run(
        own_value, cwd=unknown_user.instant / "shop", capture_output=True, text=True, timeout=60, check=False
    )
    assert tested.returncode == 0, tested.stdout
    # `cd` is not counted.
    unknown_user.instant = unknown_user.instant / "shop"
    drafted = unknown_user.types("wellspring", "new", "contract", "../orders.csv")
    assert "key: order_id + recorded_at" in drafted
    assert "leave as they are: category, price, quantity, express, ordered_on, returned, recorded_at - check" in drafted
    unknown_user.types("wellspring", "up")
    unknown_user.types("cp", "../orders.csv", "vendor/outbox/")
    unknown_user.types("wellspring", "ingest")
    unknown_user.types(
        "wellspring", "new", "model", "returns", "--table", "orders", "--key", "order_id", "--label", "returned",
        "--known", "recorded_at",
    )  # fmt: skip
    built = unknown_user.types("wellspring", "transform")
    assert "knew the future" not in built
    candidate = _next(unknown_user.types("wellspring", "train", "returns"))[-1]
    unknown_user.enrols("ann")
    unknown_user.enrols("bob")
    release = _next(unknown_user.acts("ann", "release", "propose", candidate))[-1]
    unknown_user.acts("bob", "release", "approve", release)
    result = json.loads(unknown_user.types("wellspring", "predict", "returns", "--newest", "--json"))
    assert result["decision"] in ("returned", "not_returned")
    assert (result["release"], bool(result["reasons"]), result["freshness"]) == (release, True, "fresh")
    _nothing_private(unknown_user.instant)


def _next(result: str) -> list[str]:
    """The command that a command names as the next one."""
    return result.strip().splitlines()[-1].removeprefix("next: ").split()


def _nothing_private(root: Path) -> None:
    """Nothing that the house wrote outside the enclave holds a customer's address or an order's own number."""
    for path in (root / ".wellspring" / "lake").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert b"@mail.example" not in content
            assert b"ORD-0" not in content


def orders(path: Path, *, days: int = 300, a_day: int = 60, seed: int = 5) -> None:
    """Write a shop's orders: a row when one is placed, and a row when it is known whether it came back."""
    draw = random.Random(seed)
    leaning = {f"C{number:05d}": draw.gauss(0, 0.7) for number in range(1500)}
    begin = datetime(2026, 1, 1)
    rows: list[tuple[datetime, list[str]]] = []
    for number in range(days * a_day):
        instant = begin + timedelta(seconds=number * 86400 // a_day)
        user_name, kind = draw.choice(list(leaning)), draw.choice(["shoes", "shirts", "books", "lamps"])
        price, express = round(draw.lognormvariate(3.5, 0.6), 2), draw.random() < 0.3
        odds = {"shoes": 0.4, "shirts": 0.0, "books": -2.2, "lamps": -1.2}[kind] + leaning[user_name]
        odds += 0.01 * (price - 35) - 0.6 * express
        back = draw.random() < 1 / (1 + math.exp(-odds))
        order = [
            f"ORD-{number:06d}", user_name, f"{user_name.lower()}@mail.example", kind, f"{price:.2f}",
            str(draw.choice([1, 1, 1, 2, 3])), "yes" if express else "no", instant.strftime("%Y-%m-%d"),
        ]  # fmt: skip
        rows.append((instant, [*order, ""]))
        rows.append((instant + timedelta(days=draw.uniform(3, 14)), [*order, "yes" if back else "no"]))
    end = begin + timedelta(days=days)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS.split(","))
        writer.writerows(
            [*row, instant.strftime("%Y-%m-%dT%H:%M:%SZ")] for instant, row in sorted(rows) if instant < end
        )
