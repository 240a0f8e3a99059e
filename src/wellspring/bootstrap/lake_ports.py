"""Open the tables of a project's lake, and what of them and of the releases is compared with the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wellspring.project import Project
from wellspring.records.clock import Clock
from wellspring.stores.objects.disk import DiskBlobStore, DiskContentStore

if TYPE_CHECKING:
    from wellspring.data.transform.transform_sources import TransformSources
    from wellspring.lake.file_pins import FilePins
    from wellspring.lake.lake import Lake
    from wellspring.lake.recorded_tables import RecordedTables
    from wellspring.operations.stored_state import StoredState
    from wellspring.stores.locks.port import WriteFence


def open_lake(project: Project, clock: Clock, fence: WriteFence) -> Lake:
    """Open the project's lake; the first write creates its catalog. Raises ProjectError for an unknown catalog."""
    from wellspring.lake.editions import EditionStore
    from wellspring.lake.lake import Lake
    from wellspring.lake.port import BUILT_NAMESPACE, LANDED_NAMESPACE
    from wellspring.lake.registry import open_catalog

    landed, built = (
        open_catalog(project.lake.catalog, project.lake.options, project.lake_dir, namespace)
        for namespace in (LANDED_NAMESPACE, BUILT_NAMESPACE)
    )
    editions = EditionStore(project.lake_dir / "editions")
    return Lake(
        landed,
        built,
        editions,
        pins=open_file_pins(project),
        tenant=project.tenant,
        clock=clock,
        fence=fence,
        derived=project.lake_dir,
    )


def open_file_pins(project: Project) -> FilePins:
    """Open the lists of data files that editions name; it needs no server."""
    from wellspring.lake.file_pins import PINS_FOLDER, FilePins

    return FilePins(DiskContentStore(project.lake_dir / PINS_FOLDER))


def open_transform_sources(project: Project) -> TransformSources:
    """Open the kept source files of dbt projects."""
    from wellspring.data.transform.transform_sources import TransformSources

    return TransformSources(DiskContentStore(project.lake_dir / "transforms"))


def open_recorded_tables(project: Project, fence: WriteFence) -> RecordedTables:
    """Open the tables of what the platform recorded; the first write creates their catalog."""
    from wellspring.lake.port import RECORDED_NAMESPACE
    from wellspring.lake.recorded_tables import RecordedTables
    from wellspring.lake.registry import open_catalog

    return RecordedTables(
        open_catalog(project.lake.catalog, project.lake.options, project.lake_dir, RECORDED_NAMESPACE), fence
    )


def open_stored_state(project: Project) -> StoredState:
    """Open what `list_state_problems` compares with the log; it needs no server. Raises NotFound without a log."""
    from wellspring.lake.editions import EditionStore
    from wellspring.models.releases.store import ReleaseStore
    from wellspring.operations.stored_state import STATE_ACTIONS, StoredState
    from wellspring.trust.ledger import keyring
    from wellspring.trust.ledger.proved_entries import ProvedEntries
    from wellspring.trust.ledger.tree import MerkleTree
    from wellspring_verify import notes

    keys = keyring.read_verifier_keys(project.ledger_dir, project.root / project.witness.folder)
    # The witness's own copy of the key, which the owner of the ledger's folder cannot replace.
    log_key = notes.parse_verifier_key(keys.registered_key or keys.log_key)
    return StoredState(
        ProvedEntries(MerkleTree(DiskBlobStore(project.ledger_dir)), log_key, STATE_ACTIONS),
        ReleaseStore(project.models_dir),
        EditionStore(project.lake_dir / "editions"),
        open_file_pins(project),
        project.lake_dir / "views",
    )
