"""The text of one contract, to be changed and loaded."""

from pathlib import Path

import pytest

from tests.builders.contracts import EXPECTED
from wellspring.data.contracts import contract as contracts
from wellspring.errors import ProjectError
from wellspring.records.contracts import DataContract

JOURNEY = """\
apiVersion: v3.1.0
kind: DataContract
id: medical_claim
name: medical_claim
version: 1.0.0
status: active
team:
  - { username: claims-data@clearinghouse.example.com, role: owner }
customProperties:
  - { property: source, value: clearinghouse }
  - { property: files, value: "medical_claim_*.csv" }
  - { property: format, value: csv }
slaProperties:
  - { property: retention, value: 7, unit: d }
  - { property: frequency, value: 24, unit: h }
schema:
  - name: medical_claim
    properties:
      - name: claim_id
        logicalType: string
        required: true
        primaryKey: true
        classification: identifier
        customProperties: [{ property: egress, value: token }, { property: domain, value: claim }]
      - name: charge_amount
        logicalType: number
        physicalType: decimal(12,2)
        required: true
        classification: financial
        logicalTypeOptions: { minimum: 0, maximum: 9999999 }
        customProperties: [{ property: egress, value: plain }]
      - name: paid_amount
        logicalType: number
        physicalType: decimal(12,2)
        classification: financial
        customProperties: [{ property: egress, value: plain }]
    quality:
      - type: sql
        name: paid_within_charge
        query: paid_amount <= charge_amount
        description: what was paid is at most what was charged
"""


def load(folder: Path, text: str = JOURNEY) -> DataContract:
    """Load a contract from its text."""
    path = folder / "claim.odcs.yaml"
    path.write_text(text)
    return contracts.load_contract(path, tenant="tests", known_since=EXPECTED)


def problems(folder: Path, *changes: tuple[str, str]) -> list[str]:
    """Load the contract of the journey with some changes, and return the lines of its error."""
    text = JOURNEY
    for old, new in changes:
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times"
        text = text.replace(old, new)
    with pytest.raises(ProjectError) as error:
        load(folder, text)
    return error.value.what.splitlines()
