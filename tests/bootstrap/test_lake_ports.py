from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders.ledger import Ledger
from tests.builders.projects import minimal_config
from wellspring.bootstrap.lake_ports import open_stored_state
from wellspring.errors import NotFound
from wellspring.operations.stored_state import list_state_problems
from wellspring.project import load_project


def test_the_stored_state_is_compared_with_the_log_of_the_witness(tmp_path: Path):
    (tmp_path / "wellspring.toml").write_text(minimal_config())
    project = load_project(tmp_path)
    with pytest.raises(NotFound):
        open_stored_state(project)
    ledger = Ledger(project.state_dir)
    ledger.write(2)
    ledger.sequencer.integrate()
    (project.state_dir / "witness").rename(project.root / project.witness.folder)
    assert list_state_problems(open_stored_state(project)) == []
    (project.lake_dir / "editions").mkdir(parents=True)
    (project.lake_dir / "editions" / "landed").write_text("0123456789ab")
    assert len(list_state_problems(open_stored_state(project))) == 1
