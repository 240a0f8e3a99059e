"""What a position could read although it belongs to another service, or to nobody but root."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from tests.redteam.catalogue import attempt
from tests.redteam.target import Target


def list_files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def count_readable(target: Target, service: str, paths: Iterable[Path]) -> str:
    """Let a service open each path for reading; return how many it may, of how many."""
    candidates = list(paths)

    def open_files() -> str:
        count = 0
        for path in candidates:
            try:
                os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
            except PermissionError:
                continue
            count += 1
        return "none" if not count else "all" if count == len(candidates) else f"{count} of {len(candidates)}"

    return target.run_as(service, open_files) if candidates else "there are no files"


def _attempt_files(target: Target, is_twin: bool, name: str, position: str, reader: str) -> str:
    folder = target.project.state_dir / name
    return count_readable(target, reader if is_twin else position, list_files(folder))


@attempt("open-files", "other-user", refused="none", allowed="all", needs="servers")
def read_tables_as_other_user(target: Target, is_twin: bool) -> str:
    """Another user reads the tables of the lake; the worker may."""
    return _attempt_files(target, is_twin, "lake", "other-user", "worker")


@attempt("open-files", "other-user", refused="none", allowed="all", needs="servers")
def read_journals_as_other_user(target: Target, is_twin: bool) -> str:
    """Another user reads the journals; the sequencer may."""
    folder = target.project.journals_dir
    return count_readable(target, "sequencer" if is_twin else "other-user", folder.glob("*/*.log"))


@attempt("open-files", "other-user", refused="none", allowed="all", needs="servers")
def read_the_log_as_other_user(target: Target, is_twin: bool) -> str:
    """Another user reads the log; the sequencer may."""
    return _attempt_files(target, is_twin, "ledger", "other-user", "sequencer")


@attempt("open-files", "other-user", refused="none", allowed="all", needs="servers")
def read_a_drop_as_other_user(target: Target, is_twin: bool) -> str:
    """Another user reads what the vendor has delivered; the vendor's server may."""
    outbox = target.project.vendor_dir / "outbox"
    return count_readable(target, "vendor" if is_twin else "other-user", list_files(outbox))


@attempt("open-files", "api", refused="none", allowed="all", needs="servers")
def read_tables_as_api(target: Target, is_twin: bool) -> str:
    """The API's uid reads the tables of the lake, from which it only needs editions; the worker may."""
    return _attempt_files(target, is_twin, "lake/warehouse", "api", "worker")


@attempt("open-files", "api", refused="none", allowed="all", needs="servers")
def read_jobs_as_api(target: Target, is_twin: bool) -> str:
    """The API's uid reads the queue of jobs; the worker may."""
    return _attempt_files(target, is_twin, "jobs", "api", "worker")


@attempt("open-files", "worker", refused="none", allowed="all", needs="servers")
def read_logs_of_servers_as_worker(target: Target, is_twin: bool) -> str:
    """The worker's uid reads the output of the servers; root may."""
    folder = target.project.state_dir / "logs"
    if is_twin:
        return "all" if all(path.read_bytes() is not None for path in list_files(folder)) else "none"
    return count_readable(target, "worker", list_files(folder))


@attempt("open-files", "worker", refused="none", allowed="all", needs="servers")
def read_key_of_witness_as_worker(target: Target, is_twin: bool) -> str:
    """The worker's uid reads the key of the witness, whose folder it may enter; the witness may."""
    path = target.project.root / target.project.witness.folder / "key"
    return count_readable(target, "witness" if is_twin else "worker", [path])


@attempt("open-files", "worker", refused="none", allowed="all", needs="servers")
def read_metrics_of_api_as_worker(target: Target, is_twin: bool) -> str:
    """The worker's uid reads the metrics and the lineage of another service; the service may."""
    state = target.project.state_dir
    paths = [path for kind in ("metrics", "lineage") for path in list_files(state / kind / "enclave")]
    return count_readable(target, "enclave" if is_twin else "worker", paths)


@attempt("open-files", "vendor", refused="none", allowed="all", needs="servers")
def read_originals_as_vendor(target: Target, is_twin: bool) -> str:
    """The vendor's uid reads the stored files of all vendors; the enclave may."""
    return _attempt_files(target, is_twin, "enclave", "vendor", "enclave")


@attempt("open-files", "vendor", refused="none", allowed="all", needs="servers")
def read_secret_files_as_vendor(target: Target, is_twin: bool) -> str:
    """The vendor's uid reads the files with secrets; its own host key it may."""
    project = target.project
    secrets = [project.state_dir / "seal.key", project.state_dir / "supervisor.key", project.root / "witness" / "key"]
    return count_readable(target, "vendor", [project.vendor_dir / "host_key"] if is_twin else secrets)


@attempt("open-files", "author", refused="none", allowed="all", needs="servers")
def read_tables_as_project_code(target: Target, is_twin: bool) -> str:
    """The uid of project code reads the journals, the models and the packs; its tables it may."""
    state = target.project.state_dir
    names = ("lake/warehouse",) if is_twin else ("journals", "jobs", "ledger", "enclave", "postgres/data")
    return count_readable(target, "code", [path for name in names for path in list_files(state / name)])


@attempt("open-files", "other-user", refused="no secret", allowed="found", needs="servers")
def find_secrets_in_arguments(target: Target, is_twin: bool) -> str:
    """Another user reads the arguments of all processes, which every user may; a path of the project is there."""
    import json

    credential = json.loads((target.project.state_dir / "supervisor.key").read_bytes())
    secrets = [str(credential["secret_id"]), *credential["roles"].values(), "wrapped"]
    sought = [str(target.project.root)] if is_twin else secrets

    def search() -> str:
        lines = [path.read_bytes().decode(errors="replace") for path in Path("/proc").glob("[0-9]*/cmdline")]
        return "found" if any(word in line for line in lines for word in sought) else "no secret"

    return target.run_as("other-user", search)
