"""What the worker tells the enclave about rows of earlier drops, which the enclave has no other way to know."""

from __future__ import annotations

from tests.builders.projects import run_as
from tests.redteam.catalogue import attempt
from tests.redteam.target import Target
from tests.redteam.vendor_drops import build_contract

# It lets the enclave name the keys of a drop, and claims, or not, that each row came before in another drop.
_CLAIM = """
import pyarrow as pa
from wellspring.data.contracts.contract import load_contract
from wellspring.data.intake.known_rows import summarize_known_rows
from wellspring.records.clock import SystemClock
from wellspring.runtime.server_sockets import find_server_socket
from wellspring.trust.vault.remote import EnclaveClient
name, file, is_claimed = sys.argv[1:]
path = project.contracts_dir / f"{name}.odcs.yaml"
contract = load_contract(path, tenant=project.tenant, known_since=SystemClock().now())
enclave = EnclaveClient(find_server_socket(project, "intake"))
keys = enclave.read_file_keys("inbox", file, contract.digest).read_all()
rows = keys.select(["item_id"]).append_column("pieces", pa.array([1, 2], pa.int64()))
rows = rows.append_column("drop_id", pa.array(["inbox-0123456789ab"] * 2))
known = summarize_known_rows(contract, rows.slice(0, 2 if is_claimed == "1" else 0).combine_chunks().to_batches())
print(enclave.ingest_file("inbox", file, contract.digest, known_rows=known).counts.admitted, "admitted")
"""


@attempt(
    "stored-state", "worker", refused="2 admitted", allowed="2 admitted", needs="servers", recorded=("admit",),
)  # fmt: skip
def claim_that_rows_came_before(target: Target, is_twin: bool) -> str:
    """The worker claims that rows came before, in a drop that does not exist; without the claim they are admitted."""
    project, name = target.project, "claima" if is_twin else "claimb"
    contract = project.contracts_dir / f"{name}.odcs.yaml"
    drop = project.vendor_dir / "outbox" / f"{name}_1.csv"
    contract.write_text(build_contract(name, "csv", "csv"), encoding="utf-8")
    drop.write_text("item_id,pieces\nZ-1,1\nZ-2,2\n", encoding="utf-8")
    try:
        result = run_as(project, "worker", _CLAIM, name, drop.name, "0" if is_twin else "1")
        target.run("ingest")
    finally:
        contract.unlink()
        drop.unlink()
    return result.stdout.strip() or result.stderr[-500:]
