"""What every peer is given: one file on an SFTP server, the contract's promises, and a folder for its lake.

Peers read the promises from the same contract file, so that they check the same things on the same rows; how they check
them is their own. They are run as `python -m benchmarks.peers.NAME JOB.json` and print one JSON line.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

UNAVAILABLE = 69


class Promises(NamedTuple):
    """A contract, as lists. types: `decimal`, `integer`, `date`, `timestamp`,
    `boolean`, `string`. tokens: column -> domain."""

    types: dict[str, str]
    required: list[str]
    key: list[str]
    enums: dict[str, list[str]]
    patterns: dict[str, str]
    ranges: dict[str, tuple[Any, Any]]
    rules: dict[str, str]
    tokens: dict[str, str]
    left_out: list[str]


class Job(NamedTuple):
    """One run of a peer. secret: the key of its tokens."""

    host: str
    port: int
    user: str
    private_key: str
    known_hosts: str
    file: str
    contract: str
    lake: str
    secret: str


def contracts(path: Path) -> Promises:
    """Read what a contract promises. Free text is left out: no peer here searches it for personal data."""
    import yaml

    schema = yaml.safe_load(path.read_text(encoding="utf-8"))["schema"][0]
    result = Promises({}, [], [], {}, {}, {}, {}, {}, [])
    for item in schema["properties"]:
        name, options = item["name"], item.get("logicalTypeOptions", {})
        result.types[name] = "decimal" if item["logicalType"] == "number" else item["logicalType"]
        leaves = {custom["property"]: custom["value"] for custom in item["customProperties"]}
        if leaves["egress"] == "token":
            result.tokens[name] = leaves["domain"]
        if leaves["egress"] in {"masked", "never"}:
            result.left_out.append(name)
        if item.get("required"):
            result.required.append(name)
        if item.get("primaryKey"):
            result.key.append(name)
        if "pattern" in options:
            result.patterns[name] = options["pattern"]
        if "minimum" in options:
            result.ranges[name] = (options["minimum"], options["maximum"])
        for check in item.get("quality", []):
            result.enums[name] = check["arguments"]["validValues"]
    for rule in schema["quality"]:
        result.rules[rule["name"]] = rule["query"]
    return result


def fetch(job: Job) -> bytes:
    """Fetch the file as most would: one connection, one `get`."""
    import asyncssh

    async def get() -> bytes:
        async with (
            asyncssh.connect(
                job.host,
                job.port,
                username=job.user,
                client_keys=[asyncssh.import_private_key(job.private_key)],
                known_hosts=asyncssh.import_known_hosts(job.known_hosts),
                config=None,
            ) as connection,
            connection.start_sftp_client() as sftp,
            sftp.open(job.file, "rb") as file,
        ):
            return bytes(await file.read())

    return asyncio.run(get())


def append(job: Job, table: Any) -> None:
    """Append an Arrow table to an Iceberg table of a catalog on SQLite, created at need."""
    from pyiceberg.catalog.sql import SqlCatalog

    catalog = SqlCatalog("peer", uri=f"sqlite:///{job.lake}/catalog.db", warehouse=f"{job.lake}/warehouse")
    catalog.create_namespace_if_not_exists("claims")
    catalog.create_table_if_not_exists("claims.medical_claim", schema=table.schema).append(table)


def run(work: Callable[[Job, Callable[[str], None]], tuple[int, int]], *needs: str) -> int:
    """Run a peer: import what it needs, do its work, print rows and seconds by part; exit 69 without a package."""
    start = time.perf_counter()
    parts: dict[str, float] = {}

    def reached(part: str) -> None:
        """Close a part: what has passed since the last one is its time."""
        parts[part] = time.perf_counter() - start - sum(parts.values())

    try:
        for name in needs:
            __import__(name)
    except ImportError as missing:
        print(json.dumps({"missing": missing.name}))
        return UNAVAILABLE
    job = Job(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    reached("import")
    stored, rejected = work(job, reached)
    print(json.dumps({"kept": stored, "rejected": rejected, "seconds": parts}))
    return 0
