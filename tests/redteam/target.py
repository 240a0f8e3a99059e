"""The project under attack, and the identities from which it is attacked."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import sqlite3
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Generator
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tests.builders.projects import login_with_credential
from tests.crash.project import CommandResult, ProjectCommands
from tests.crash.serving_project import ServingProject
from tests.redteam.restart import RestartReport, restart_servers
from tests.redteam.shop_project import DAYS, MODEL, ReleaseOutcome, create_shop, release_model
from wellspring.embedded.openbao_setup import issue_secret_id
from wellspring.errors import WellspringError
from wellspring.project import Project
from wellspring.runtime.service_users import ServiceUsers, read_service_users
from wellspring.trust.identity.openbao import OpenBaoSession

Needs = Literal["nothing", "servers", "model", "restart", "stop", "end"]
"""What an attempt needs: temporary folders, running servers, a released model, a restart, a stop, a start after it."""
OTHER_UID = 65534
"""The uid `nobody`, which foreign programs of a machine use too."""


class Identity(NamedTuple):
    """A user with its groups and no capability."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()


OTHER_USER = Identity(OTHER_UID, OTHER_UID)


def describe_outcome(call: Callable[[], str]) -> str:
    """Return what a call returns, the name of the error number of its OSError, or the kind of its WellspringError.

    What an attempt did not foresee is an outcome too, which is neither a refusal nor allowed.
    """
    try:
        return call()
    except (AssertionError, LookupError, StopIteration, TypeError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    except OSError as error:
        return type(error).__name__ if error.errno is None else errno.errorcode.get(error.errno, str(error.errno))
    except WellspringError as error:
        return error.slug


def run_as(identity: Identity, call: Callable[[], str]) -> str:
    """Run a function in a child process as a user without capabilities; return its outcome (`describe_outcome`)."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            os.setgroups(list(identity.groups))
            os.setresgid(identity.gid, identity.gid, identity.gid)
            os.setresuid(identity.uid, identity.uid, identity.uid)
            os.chdir("/")
            os.write(writer, describe_outcome(call).encode())
            os._exit(0)
        finally:
            traceback.print_exc()
            os._exit(1)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        outcome = answer.read().decode()
    os.waitpid(child, 0)
    return outcome or "the process ended without an outcome"


def wait_until(is_true: Callable[[], bool], seconds: float) -> bool:
    """Wait for a condition; return False if it did not hold within a time."""
    pause, deadline = threading.Event(), time.monotonic() + seconds
    while not is_true():
        if time.monotonic() > deadline:
            return False
        pause.wait(0.05)
    return True


class Target:
    """A project of a shop with a released model, made when it is first needed, and a folder for what attempts lay.

    folder: every user may enter it. The project is in `folder/shop`. days: of its history; a few are too few for the
    model.
    """

    def __init__(self, folder: Path, *, days: int = DAYS) -> None:
        self.folder = folder
        self._days = days
        self.notes: list[str] = []
        """What an attempt noticed beside its outcome, for the report."""
        self.remembered: dict[str, str] = {}
        """Outcomes of twins that must come before their attempts."""
        self.first_entry = 0
        """The index in the log from which the entry of the present attempt is sought."""
        self._first_audit_byte = 0
        self._are_stopped = False
        self._numbers = iter(range(1_000_000))

    # --- the project ---------------------------------------------------------------------------------------------

    @cached_property
    def shop(self) -> ServingProject:
        """The project with running servers and one published drop."""
        return create_shop(self.folder / "shop", days=self._days)

    @cached_property
    def released(self) -> ServingProject:
        """The project with a released model, proposed by ann and approved by bob."""
        assert self.release.approval.exit_code == 0
        return self.shop

    @cached_property
    def release(self) -> ReleaseOutcome:
        return release_model(self.shop)

    @cached_property
    def restart(self) -> RestartReport:
        """The report of a restart, during which an operator tampers with the database."""
        return restart_servers(self.released, self.count_actions("land"))

    @cached_property
    def key(self) -> dict[str, str]:
        """The key of one entity of which the model predicts."""
        return self.released.sample_keys(1, model=MODEL)[0]

    @property
    def project(self) -> Project:
        return self.shop.project

    @property
    def users(self) -> ServiceUsers:
        return read_service_users(self.project)

    def prepare(self, needs: Needs) -> None:
        """Start what attempts need."""
        if needs != "nothing":
            assert self.shop
        if needs not in {"nothing", "servers"}:
            assert self.released
        if needs == "restart":
            assert self.restart
        if needs == "end" and self._are_stopped:
            self.shop.must("up")
            self._are_stopped = False

    def stop_servers(self) -> None:
        """Stop the servers for the attempts on what is stored, once."""
        if not self._are_stopped:
            assert self.released
            self.shop.must("down")
            self._are_stopped = True

    def close(self) -> None:
        """Stop the servers."""
        for root in self.folder.glob("*/wellspring.toml"):
            ProjectCommands.down(root.parent)

    # --- identities -----------------------------------------------------------------------------------------------

    def identity(self, service: str) -> Identity:
        """Return the user of a service of the project, or another user of the machine."""
        return OTHER_USER if service == "other-user" else identify_service(self.users, service)

    def run_as(self, service: str, call: Callable[[], str]) -> str:
        """Run a function as a service, or as another user of the machine."""
        return run_as(self.identity(service), call)

    @contextlib.contextmanager
    def session(self, role: str) -> Generator[OpenBaoSession]:
        """Log in to OpenBao as a service, with a credential as the supervisor issues it."""
        with login_with_credential(self.project, issue_secret_id(self.project, role)) as session:
            yield session

    # --- commands and records -----------------------------------------------------------------------------------

    def run(self, *words: str) -> CommandResult:
        """Run a command as the owner."""
        return self.shop.run(*words)

    def exit_of(self, *words: str) -> str:
        """Run a command as the owner; return its exit code, and the kind of its error."""
        return describe_result(self.run(*words))

    def count_entries(self) -> int:
        """Return the size of the ledger's index."""
        return int(self._query("select coalesce(max(tree_index) + 1, 0) from entries")[0][0])

    def count_actions(self, action: str) -> int:
        """Count the entries of an action in the log."""
        return int(self._query("select count(*) from entries where action = ? and phase = 'done'", action)[0][0])

    def describe_refusals(self) -> str:
        """Count the entries of the log about what was refused or failed, by action and phase."""
        if "shop" not in self.__dict__:
            return "no server was started"
        sql = "select action || ' ' || phase, count(*) from entries where phase in ('refused', 'failed') group by 1"
        return ", ".join(f"{count} of {name}" for name, count in self._query(sql)) or "none"

    def mark_records(self) -> None:
        """Let the entries of the next attempt be sought from here on."""
        self.first_entry = self.count_entries()
        self._first_audit_byte = self._audit_path.stat().st_size

    @property
    def _audit_path(self) -> Path:
        return self.project.state_dir / "openbao" / "audit.log"

    def has_record(self, description: str) -> bool:
        """Return whether a record came since the mark: `openbao WORD` in OpenBao's audit log, or one in the ledger."""
        if not description.startswith("openbao "):
            return self.has_entry(description)
        with self._audit_path.open("rb") as file:
            file.seek(self._first_audit_byte)
            return description.partition(" ")[2].encode() in file.read()

    def has_entry(self, description: str) -> bool:
        """Return whether the log has an entry since `first_entry`. description: its action, and a word in it."""
        action, _, word = description.partition(" ")
        sql = "select content from entries where action = ? and phase <> 'intent' and tree_index >= ?"
        return any(word.encode() in bytes(content) for (content,) in self._query(sql, action, self.first_entry))

    def _query(self, sql: str, *values: object) -> list[Any]:
        path = self.project.ledger_dir / "index.sqlite"
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as file:
            return file.execute(sql, values).fetchall()

    # --- users ---------------------------------------------------------------------------------------------------

    def enroll(self, name: str, role: str) -> None:
        """Add a user to the project's file, and enroll it."""
        project_file = self.project.root / "wellspring.toml"
        text = project_file.read_text(encoding="utf-8")
        project_file.write_text(f'{text}\n[users.{name}]\nroles = ["{role}"]\n', encoding="utf-8")
        self.shop.enroll_users(name)

    # --- folders --------------------------------------------------------------------------------------------------

    def create_folder(self, owner: Identity | None = None) -> Path:
        """Create an empty folder below the target's own, which its owner may write and every user may enter."""
        path = self.folder / f"f{next(self._numbers)}"
        path.mkdir(mode=0o755)
        if owner is not None:
            os.chown(path, owner.uid, owner.gid)
        return path


def identify_service(users: ServiceUsers, service: str) -> Identity:
    """Return the user of a service with its groups."""
    return Identity(users.uid_of(service), users.gid_of(service), users.groups_of(service))


def describe_result(result: CommandResult) -> str:
    """Describe a command by its exit code, and the kind of the error if there is one."""
    line = result.error.strip().splitlines()[-1] if result.error.strip() else ""
    if result.code == 0 or not line.startswith("{"):
        return f"exit {result.code}"
    return f"exit {result.code} {json.loads(line).get('error', '')}".strip()


@contextlib.contextmanager
def open_target(*, days: int = DAYS) -> Generator[Target]:
    """Make a target in a temporary folder; at the end stop its servers and remove it. days: of its history."""
    folder = Path(tempfile.mkdtemp(prefix="ws-red-"))
    folder.chmod(0o755)
    target = Target(folder, days=days)
    try:
        yield target
    finally:
        target.close()
        shutil.rmtree(folder)
