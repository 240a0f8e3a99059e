"""The witness runs as its own process with the log's key registered. Uses the real servers."""

import pytest

from wellspring.project import Project
from wellspring.runtime.server_sockets import find_server_socket
from wellspring.trust.ledger.witness import RemoteWitness
from wellspring_verify.notes import KIND_WITNESS, parse_verifier_key


@pytest.mark.live
def test_the_witness_has_its_own_key_and_the_logs_key_registered(shared_project: Project):
    key = parse_verifier_key(RemoteWitness(find_server_socket(shared_project, "witness")).verifier_key())
    assert key.kind == KIND_WITNESS
    assert (shared_project.root / "witness/vkey").read_text().strip() == str(key)
    registered = [path.read_text().strip() for path in (shared_project.root / "witness/logs").iterdir()]
    assert registered == [(shared_project.ledger_dir / "vkey").read_text().strip()]
