"""A new user with a CSV file of another domain: from nothing to a prediction, in at most fifteen commands.

The long test installs the wheel into a new environment; the short one uses the interpreter of the tests.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from pyotp.totp import TOTP

from tests.architecture import repository
from tests.builders.shop_orders import write_orders
from wellspring.cli.pseudo_terminal import run_in_pty
from wellspring.client import Client
from wellspring.project import load_project

MAX_COMMANDS = 15
PASSWORD = "a long enough sentence"


class NewUser:
    """A user at a shell. commands: the typed commands in order, without input at prompts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = Path(sys.executable).parent
        self.commands: list[str] = []
        self._secrets: dict[str, str] = {}

    def run(self, *words: str, codes: Sequence[int] = (0,)) -> str:
        """Type a command and return what it printed."""
        self.commands.append(" ".join(words))
        environ = {**os.environ, "PATH": f"{self.bin}:{os.environ['PATH']}", "UV_SYSTEM_CERTS": "true"}
        for name in ("PYTHONPATH", "VIRTUAL_ENV"):
            environ.pop(name, None)
        started = time.monotonic()
        done = subprocess.run(
            self._argv(words), cwd=self.folder, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=300, check=False,
        )  # fmt: skip
        print(f"$ {self.commands[-1]}  # {time.monotonic() - started:.1f} s\n{done.stdout}{done.stderr}")
        assert done.returncode in codes, done.stderr
        return done.stdout

    def enroll(self, name: str, *, code: str = "", codes: Sequence[int] = (0,)) -> str:
        """Enroll a user, who types the code that `up` printed if there is one; return the end of the screen."""
        prompts = [("code that `up` printed: ", code)] if code else []
        prompts += [("password: ", PASSWORD), ("again: ", PASSWORD)]
        result = self._at_prompts(["users", "enroll", name], prompts, codes=codes)
        for line in result.splitlines():
            if line.startswith("otpauth:"):
                self._secrets[name] = parse_qs(urlsplit(line).query)["secret"][0]
        return result

    def act(self, name: str, *words: str, codes: Sequence[int] = (0,)) -> str:
        """Type a command that needs a login: with a code, if the user has an authenticator."""
        prompts = [("name: ", name), ("password: ", PASSWORD)]
        if name in self._secrets:
            prompts.append(("code: ", TOTP(self._secrets[name]).now()))
        return self._at_prompts(words, prompts, codes=codes)

    def _at_prompts(
        self, words: Sequence[str], answers: Sequence[tuple[str, str]], *, codes: Sequence[int] = (0,)
    ) -> str:
        words = ("wellspring", *words)
        self.commands.append(" ".join(words))
        # `env -C` sets the working directory of the child.
        output = run_in_pty(["env", "-C", str(self.folder), *self._argv(words)], answers)
        print(f"$ {self.commands[-1]}\n{output.out}{output.screen}")
        assert output.exit_code in codes, output.screen
        return output.out if output.exit_code == 0 else output.screen

    def _argv(self, words: Sequence[str]) -> list[str]:
        own = self.bin / words[0]
        return [str(own) if own.exists() else words[0], *words[1:]]


@pytest.fixture
def user() -> Iterator[NewUser]:
    # Services under other users read the project and its programs through these folders.
    folder = Path(tempfile.mkdtemp(prefix="ws-newcomer-"))
    folder.chmod(0o755)
    user = NewUser(folder)
    try:
        yield user
    finally:
        down = [str(user.bin / "wellspring"), "down", "--project", str(folder / "shop")]
        subprocess.run(down, capture_output=True, timeout=120, check=False)
        shutil.rmtree(folder)


@pytest.mark.live
@pytest.mark.slow
def test_a_new_file_becomes_a_prediction(user: NewUser) -> None:
    write_orders(user.folder / "orders.csv", days=300, a_day=60, customers=1500, has_quantity=True)
    prediction = predict_from_file(user)
    # Two more commands create the environment and install the wheel.
    assert len(user.commands) <= MAX_COMMANDS - 2
    check_development(user, prediction)
    govern_project(user, prediction["release"])


@pytest.mark.live
@pytest.mark.long
def test_the_wheel_contains_everything_needed(user: NewUser) -> None:
    uv = shutil.which("uv") or str(repository.ROOT / ".uv" / "bin" / "uv")
    if not Path(uv).exists():
        pytest.skip("without uv no wheel is built here")
    environ = {**os.environ, "UV_SYSTEM_CERTS": "true"}
    built = [uv, "build", "--wheel", "--quiet", "--out-dir", str(user.folder), str(repository.ROOT)]
    subprocess.run(built, env=environ, check=True, timeout=120)
    (wheel,) = user.folder.glob("wellspring-*.whl")
    write_orders(user.folder / "orders.csv", days=300, a_day=60, customers=1500, has_quantity=True)

    user.run(uv, "venv", "--quiet", "--python", f"{sys.version_info.major}.{sys.version_info.minor}", "env")
    user.run(uv, "pip", "install", "--quiet", "--python", "env/bin/python", f"{wheel.name}[demo]")
    user.bin = user.folder / "env" / "bin"
    predict_from_file(user)
    assert len(user.commands) <= MAX_COMMANDS


def commit_project(folder: Path) -> str:
    """Put a project under git, with all files that git does not ignore; return the commit."""
    author = ("-c", "user.name=A User", "-c", "user.email=user@shop.example")
    for words in (("init", "--quiet"), ("add", "."), (*author, "commit", "--quiet", "--message", "The project")):
        subprocess.run(["git", *words], cwd=folder, check=True, timeout=60)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, check=True, capture_output=True, text=True)
    return head.stdout.strip()


def predict_from_file(user: NewUser) -> dict[str, Any]:
    """Go from an empty folder and a file to a prediction."""
    user.run("wellspring", "new", "project", "shop")
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(user.folder / "shop" / "tests")]
    tested = subprocess.run(argv, cwd=user.folder / "shop", capture_output=True, text=True, timeout=60, check=False)
    assert tested.returncode == 0, tested.stdout
    # `cd` is not counted.
    user.folder = user.folder / "shop"
    drafted = user.run("wellspring", "new", "contract", "../orders.csv")
    assert "key: order_id + recorded_at" in drafted
    assert "unchanged: category, price, quantity, express, ordered_on, returned, recorded_at - check before" in drafted
    project_file = user.folder / "wellspring.toml"
    # The machine of a test may be too busy for the default.
    project_file.write_text(project_file.read_text().replace("[features]\n", "[features]\nread_seconds = 5\n"))
    user.run("wellspring", "up")
    user.run("cp", "../orders.csv", "vendor/outbox/")
    user.run("wellspring", "ingest")
    user.run(
        "wellspring", "new", "model", "returns", "--table", "orders", "--key", "order_id", "--label", "returned",
        "--known", "recorded_at",
    )  # fmt: skip
    built = user.run("wellspring", "transform")
    assert "future data" not in built
    head = commit_project(user.folder)
    candidate = _next(user.run("wellspring", "train", "returns"))[-1]
    stored = json.loads((user.folder / ".wellspring" / "models" / "candidates" / f"{candidate}.json").read_bytes())
    assert (stored["git_commit"], stored["git_dirty"]) == (head, False)
    user.enroll("ann")
    release = _next(user.act("ann", "release", "propose", candidate))[-1]
    user.act("ann", "release", "approve", release)
    result = json.loads(user.run("wellspring", "predict", "returns", "--newest", "--json"))
    assert result["decision"] in ("returned", "not_returned")
    assert (result["release"], bool(result["reasons"]), result["freshness"]) == (release, True, "fresh")
    assert result["mode"] == "development"
    _check_no_private_values(user.folder)
    return result


def check_development(user: NewUser, prediction: dict[str, Any]) -> None:
    """Check that a project in development says so everywhere, and that its evidence is refused."""
    assert "DEVELOPMENT" in user.run("wellspring", "status")
    assert json.loads(user.run("wellspring", "status", "--json"))["mode"] == "development"
    assert "development" in user.run("wellspring", "release", "list")
    with Client(load_project(user.folder)) as client:
        assert client.health()["mode"] == "development"
    assert "development: one person" in user.run("wellspring", "predict", "returns", "--newest")
    (user.folder / "answer.json").write_text(json.dumps(prediction))
    user.run("wellspring", "prove", f"prediction:{prediction['id']}", "--out", "pack")
    assert json.loads((user.folder / "pack" / "manifest.json").read_bytes())["mode"] == "development"
    (user.folder / "keys.txt").write_text(user.run("wellspring", "ledger", "key"))
    assert verify_pack(user, codes=(77,)).startswith("REFUSED WITHOUT --allow-development, DEVELOPMENT: prediction:")
    assert verify_pack(user, "--allow-development").startswith("VERIFIED, DEVELOPMENT: prediction:")


def verify_pack(user: NewUser, *options: str, codes: Sequence[int] = (0,)) -> str:
    words = ("verify", "pack", "--key", "keys.txt", "--witness", "keys.txt", "--answer", "answer.json", *options)
    return user.run("wellspring", *words, codes=codes)


def govern_project(user: NewUser, release: str) -> None:
    """Go from development to governed: nothing is served until two enrolled persons have signed again."""
    project_file = user.folder / "wellspring.toml"
    development_text = project_file.read_text()
    project_file.write_text(development_text.replace('mode = "development"', 'mode = "governed"'))
    code = user.run("wellspring", "up").partition("shown only once: ")[2].split()[0]
    project_file.write_text(development_text)
    for words in (("up",), ("users", "list"), ("ledger", "verify"), ("transform",)):
        user.run("wellspring", *words, codes=(78,))
    project_file.write_text(development_text.replace('mode = "development"', 'mode = "governed"'))
    user.run("wellspring", "predict", "returns", "--newest", codes=(77,))
    assert "`wellspring up` printed" in user.enroll("ann", code="AAAA-BBBB-CCCC-DDDD", codes=(77,))
    user.enroll("ann", code=code)
    user.enroll("bob")
    candidate = json.loads((user.folder / ".wellspring/models/releases" / f"{release}.json").read_bytes())["candidate"]
    user.act("ann", "release", "propose", candidate)
    user.run("wellspring", "predict", "returns", "--newest", codes=(77,))
    user.act("bob", "release", "approve", release)
    result = json.loads(user.run("wellspring", "predict", "returns", "--newest", "--json"))
    assert (result["release"], result["mode"]) == (release, "governed")
    (user.folder / "answer.json").write_text(json.dumps(result))
    shutil.rmtree(user.folder / "pack")
    user.run("wellspring", "prove", f"prediction:{result['id']}", "--out", "pack")
    assert verify_pack(user).startswith("VERIFIED: prediction:")
    (incident,) = [
        item for item in json.loads(user.run("wellspring", "incident", "list", "--json"))
        if item["code"] == "first_enrollment"
    ]  # fmt: skip
    assert [act["what"] for act in incident["acts"]] == [
        "issue_code", "enroll user:ann", "enroll user:ann", "enroll user:bob",
    ]  # fmt: skip
    assert incident["state"] == "healed"


def _next(result: str) -> list[str]:
    """Return the command that a command prints as the next one."""
    return result.strip().splitlines()[-1].removeprefix("next: ").split()


def _check_no_private_values(root: Path) -> None:
    """Check that no file of the lake holds a customer's address or an order number."""
    for path in (root / ".wellspring" / "lake").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert b"@mail.example" not in content
            assert b"ORD-0" not in content
