"""The witness runs as its own process with the log's key registered. Uses the real servers."""

import pytest

from tests.builders import projects
from wellspring.trust.ledger.witness import RemoteWitness
from wellspring_verify.notes import KIND_WITNESS, parse_verifier_key


@pytest.mark.live
def test_the_witness_has_its_own_key_and_the_logs_key_registered():
    with projects.running_project() as project:
        key = parse_verifier_key(RemoteWitness(project.socket_path("witness")).verifier_key())
        assert key.kind == KIND_WITNESS
        assert (project.root / "witness/vkey").read_text().strip() == str(key)
        registered = [path.read_text().strip() for path in (project.root / "witness/logs").iterdir()]
        assert registered == [(project.ledger_dir / "vkey").read_text().strip()]
