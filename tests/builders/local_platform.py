"""The platform of one project in this process: real stores, a real enclave, keys in memory, a folder as the source."""

from __future__ import annotations

import base64
import os
from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from tests.builders.approvals import Somebody
from tests.builders.journal_keys import SERVICE_KEYS, journal_key
from tests.builders.ledger import LocalSigner
from tests.builders.memory_keys import Keyring
from tests.builders.postgres import Database
from wellspring.bootstrap import (
    LedgerAccess,
    Platform,
    open_lake,
    open_ledger_index,
    open_ledger_tree,
    open_recorded_tables,
    open_recorder,
)
from wellspring.data.intake.drop_index import DROPS_FILE, DropIndex
from wellspring.data.sources.port import RemoteFile, file_not_found, is_ignored
from wellspring.enclave.admission import EnclaveDependencies
from wellspring.enclave.service import Enclave
from wellspring.project import Project, load_project
from wellspring.query.registry import open_query_engine
from wellspring.records.clock import SystemClock
from wellspring.stores.locks.held_leases import HeldLeases
from wellspring.stores.locks.registry import open_resource_locks
from wellspring.stores.objects.disk import DiskBlobStore
from wellspring.trust.changes.store import ChangeStore
from wellspring.trust.ledger.cosigner import LocalWitness, register_log
from wellspring.trust.ledger.index import LedgerIndex
from wellspring.trust.ledger.sequencer import Sequencer
from wellspring.trust.ledger.tree import load_log_origin

SOURCE = "clearinghouse"
_TOML = f"""
[project]
name = "orders"
tenant = "tests"

[sources.{SOURCE}]
kind = "sftp"
address = "embedded"
settle_seconds = 0
"""


class FolderSource:
    """The files of a folder. A file appears complete, by a rename."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def list(self) -> tuple[RemoteFile, ...]:
        files = [_describe_file(path) for path in self.folder.iterdir() if not is_ignored(path.name)]
        return tuple(sorted(files, key=lambda file: (file.modified, file.name)))

    def stat(self, name: str) -> RemoteFile:
        try:
            return _describe_file(self.folder / name)
        except FileNotFoundError:
            raise file_not_found(SOURCE, name) from None

    @contextmanager
    def open(self, name: str) -> Generator[FolderStream]:
        file = self.stat(name)
        with (self.folder / name).open("rb") as content:
            yield FolderStream(file, content)


class FolderStream:
    """An open file of a folder."""

    def __init__(self, file: RemoteFile, content: Any) -> None:
        self.file = file
        self.read = content.read


def _describe_file(path: Path) -> RemoteFile:
    status = path.stat()
    return RemoteFile(path.name, status.st_size, datetime.fromtimestamp(int(status.st_mtime), UTC), still_writing=False)


class LocalProject:
    """A project in a folder with its contracts, and its enclave, which stays open."""

    def __init__(self, folder: Path, database: Database, contracts: Sequence[str], toml: str = "") -> None:
        self.outbox = folder / "outbox"
        self.outbox.mkdir(parents=True)
        (folder / "contracts").mkdir()
        for number, text in enumerate(contracts):
            (folder / "contracts" / f"{number}.odcs.yaml").write_text(text)
        (folder / "wellspring.toml").write_text(_TOML + toml)
        self.project: Project = load_project(folder)
        self.clock = SystemClock()
        for state in (
            self.project.journals_dir,
            self.project.ledger_dir,
            self.project.lake_dir,
            self.project.jobs_dir / "locks",
        ):
            state.mkdir(parents=True)
        self._signer = LocalSigner()
        self._witness = LocalWitness(folder / "witness", clock=self.clock)
        self._paths = DiskBlobStore(self.project.ledger_dir)
        self._origin = load_log_origin(self._paths, self.project.name)
        self._is_registered = False
        self._stack = ExitStack()
        store = database.store()
        self._stack.callback(store.close)
        step = self._stack.enter_context(
            open_recorder(self.project, journal_key("enclave"), clock=self.clock, crash_at=None)
        )
        self.enclave = Enclave(
            EnclaveDependencies(
                project=self.project,
                store=store,
                keys=Keyring(os.urandom(32)),
                open_source=lambda _: FolderSource(self.outbox),
                folder=self.project.enclave_dir / "originals",
                step=step,
                clock=self.clock,
                index=open_ledger_index(self.project),
            )
        )

    def close(self) -> None:
        """Close the enclave and its database."""
        self._stack.close()

    def enroll(self, person: Somebody) -> None:
        """Record the enrollment of a user, as the supervisor does."""
        facts: dict[str, Any] = {"public_key": base64.b64encode(person.public_key).decode()}
        with (
            open_recorder(self.project, journal_key("supervisor"), clock=self.clock, crash_at=None) as step,
            step("enroll", person.principal.name, facts=facts),
        ):
            pass

    @contextmanager
    def _hold_resources(self) -> Generator[HeldLeases]:
        """Hold what a job of each kind that writes the lake holds."""
        with closing(open_resource_locks(self.project)) as locks, closing(HeldLeases(locks)) as leases:
            leases.acquire_all(["landed", "built", "recorded", "change:transform", "change:contract"], "test")
            yield leases

    @contextmanager
    def open_platform(self) -> Generator[Platform]:
        """Open the ports of the worker anew, as a command does."""
        project, clock = self.project, self.clock
        tree = open_ledger_tree(project)
        index = LedgerIndex(project.ledger_dir / "index.sqlite", tree, project.journals_dir)
        with open_recorder(project, journal_key("worker"), clock=clock, crash_at=None) as step, ExitStack() as stack:
            ledger = LedgerAccess(project=project, clock=clock, tree=tree, index=index, step=step)
            sequencer = Sequencer(
                paths=self._paths,
                journals=project.journals_dir,
                origin=self._origin,
                signer=self._signer,
                witness=self._witness,
                index=index,
                service_keys=SERVICE_KEYS,
                crash_point=step.crash_point,
            )
            if not self._is_registered:
                register_log(project.root / "witness", sequencer.verifier_key())
                self._is_registered = True
            fence = stack.enter_context(self._hold_resources())
            lake = open_lake(project, clock, fence)
            stack.callback(lake.close)
            drops = DropIndex(project.lake_dir / DROPS_FILE, index)
            stack.callback(drops.close)
            yield Platform(
                project=project,
                clock=clock,
                ledger=ledger,
                step=step,
                vault=self.enclave,
                lake=lake,
                recorded_tables=open_recorded_tables(self.project, fence),
                query_engine=open_query_engine(project.query.engine, project.query.options),
                sequencer=sequencer,
                drops=drops,
                model_signer=self._signer,
                secrets=cast(Any, None),
                project_code=cast(Any, None),
                fence=fence,
                changes=ChangeStore(project.changes_dir),
            )


@contextmanager
def local_project(
    folder: Path, database: Database, *, contracts: Sequence[str], toml: str = ""
) -> Generator[LocalProject]:
    """Create a project in a new folder, with an empty database, and close it at the end. toml: further tables."""
    project = LocalProject(folder, database, contracts, toml)
    try:
        yield project
    finally:
        project.close()
