"""The drops of `python -m tests.crash --wide`."""

from __future__ import annotations

from pathlib import Path

from tests.builders.contracts import EXPECTED
from tests.crash.project import ProjectFixture
from wellspring.data.contracts import contract as contracts
from wellspring.data.formats.csv.reader import read_csv
from wellspring.records.content import BytesContent


def test_a_wide_drop_spans_three_batches(tmp_path: Path):
    project = ProjectFixture(tmp_path, wide=True)
    (tmp_path / "vendor" / "outbox").mkdir(parents=True)
    sent = project.send(1)
    by_contract = contracts.load_contract(
        tmp_path / "contracts" / "medical_claim.odcs.yaml", tenant="tests", known_since=EXPECTED
    )
    content = BytesContent((tmp_path / "vendor" / "outbox" / sent.name).read_bytes())
    batches = [batch.row_count for batch in read_csv(content, by_contract)]
    assert len(batches) >= 3
    assert sum(batches) == sent.rows
