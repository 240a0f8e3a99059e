"""The input of each peer: one file on an SFTP server, the contract's rules, and a folder for its lake.

Peers read the rules from the same contract file, so that they check the same things on the same rows, each in its own
way. They run as `python -m benchmarks.peers.NAME JOB.json` and print one JSON line.
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


class ContractRules(NamedTuple):
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


def read_contract_rules(path: Path) -> ContractRules:
    """Read a contract's rules. Free text is left out, since no peer searches it for personal data."""
    import yaml

    schema = yaml.safe_load(path.read_text(encoding="utf-8"))["schema"][0]
    contract = ContractRules({}, [], [], {}, {}, {}, {}, {}, [])
    for item in schema["properties"]:
        name, options = item["name"], item.get("logicalTypeOptions", {})
        contract.types[name] = "decimal" if item["logicalType"] == "number" else item["logicalType"]
        properties = {custom["property"]: custom["value"] for custom in item["customProperties"]}
        if properties["egress"] == "token":
            contract.tokens[name] = properties["domain"]
        if properties["egress"] in {"masked", "never"}:
            contract.left_out.append(name)
        if item.get("required"):
            contract.required.append(name)
        if item.get("primaryKey"):
            contract.key.append(name)
        if "pattern" in options:
            contract.patterns[name] = options["pattern"]
        if "minimum" in options:
            contract.ranges[name] = (options["minimum"], options["maximum"])
        for check in item.get("quality", []):
            contract.enums[name] = check["arguments"]["validValues"]
    for rule in schema["quality"]:
        contract.rules[rule["name"]] = rule["query"]
    return contract


def fetch_file(job: Job) -> bytes:
    """Fetch the file with one connection and one read."""
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


def append_table(job: Job, table: Any) -> None:
    """Append an Arrow table to an Iceberg table of a catalog on SQLite, created at need."""
    from pyiceberg.catalog.sql import SqlCatalog

    catalog = SqlCatalog("peer", uri=f"sqlite:///{job.lake}/catalog.db", warehouse=f"{job.lake}/warehouse")
    catalog.create_namespace_if_not_exists("claims")
    catalog.create_table_if_not_exists("claims.medical_claim", schema=table.schema).append(table)


def run_peer(ingest_file: Callable[[Job, Callable[[str], None]], tuple[int, int]], *needs: str) -> int:
    """Run a peer: import its packages, ingest, and print rows and seconds by part; exit 69 without a package."""
    start = time.perf_counter()
    parts: dict[str, float] = {}

    def finish_part(part: str) -> None:
        """Record the time since the last part."""
        parts[part] = time.perf_counter() - start - sum(parts.values())

    try:
        for name in needs:
            __import__(name)
    except ImportError as missing:
        print(json.dumps({"missing": missing.name}))
        return UNAVAILABLE
    job = Job(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    finish_part("import")
    accepted, rejected = ingest_file(job, finish_part)
    print(json.dumps({"accepted": accepted, "rejected": rejected, "seconds": parts}))
    return 0
