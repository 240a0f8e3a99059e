"""The warm server: has imported what jobs and queries need, holds no credential, and forks a child for each of them.

Started by the worker as `python -m wellspring.worker.warm_server --project P --channel FD` (see `ForkServer`). The
field `role` of a request says what the child is: `job` or `query`.
"""

from __future__ import annotations

import gc
import importlib
import signal
import socket
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

from wellspring.runtime.fork_server import ChildStart, ForkServer, die_with_parent, name_process
from wellspring.runtime.process import build_argument_parser
from wellspring.worker import job_process, query_process

WARM_MODULES = (
    "wellspring.bootstrap",
    "wellspring.data.formats.csv",
    "wellspring.lake.registry",
    "wellspring.observe.lineage",
    "wellspring.observe.metrics",
    "wellspring.observe.recorder",
    "wellspring.stores.locks.file",
    "wellspring.worker.handlers",
    "wellspring.worker.job_policy",
    "wellspring.lake.iceberg.catalog",
    "wellspring.lake.iceberg.sqlite",
    "wellspring.query.duckdb.engine",
    "wellspring.query.duckdb.connection",
    "wellspring.trust.ledger.remote_sequencer",
    "wellspring.trust.keys.openbao",
    "wellspring.trust.secrets.openbao",
    "wellspring.trust.vault.remote",
    "cedarpy",
    "duckdb",
    "hvac",
    "numpy",
    "open_data_contract_standard.model",
    "prometheus_client.parser",
    "pyarrow.compute",
    "pyarrow.dataset",
    "pyarrow.parquet",
    "pyiceberg.catalog.sql",
    "pyiceberg.io.pyarrow",
    "pyiceberg.table",
    "requests",
    "sqlalchemy",
)
"""What most jobs import. A module that is not installed is left out: the job that needs it says so.

Not polars: its import starts threads, and a fork copies only the thread that forks.
"""


def run_child(project_root: Path, start: ChildStart) -> int:
    """Run the child that a request asks for, and return its exit status."""
    role = str(start.message["role"])
    name_process(role)
    match role, start.descriptors:
        case "job", (request_fd, events_fd):
            return job_process.run_job_process(project_root, request_fd, events_fd)
        case "query", (request_fd, events_fd):
            return query_process.run_query_process(project_root, request_fd, events_fd)
        case _:
            return 1


def import_warm_modules() -> None:
    """Import what jobs need, so that their children do not."""
    for name in WARM_MODULES:
        with suppress(ModuleNotFoundError):
            importlib.import_module(name)
    # The garbage collector of a child does not touch, and so does not copy, what the server has.
    gc.collect()
    gc.freeze()


def main(argv: list[str] | None = None) -> int:
    """Run the warm server until its channel closes."""
    parser = build_argument_parser("wellspring.worker.warm_server")
    parser.add_argument("--channel", type=int, required=True)
    arguments = parser.parse_args(argv)
    channel = socket.socket(fileno=arguments.channel)
    channel.set_inheritable(False)
    # When the worker ends, its channel closes as well.
    die_with_parent()
    # The worker, not a terminal, ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import_warm_modules()
    channel.send(b'{"ready": true}')
    ForkServer(channel, partial(run_child, arguments.project)).serve_requests()
    return 0


if __name__ == "__main__":
    sys.exit(main())
