"""A project whose contract names a person, with drops of such persons."""

from __future__ import annotations

import os

from tests.builders.enclave import CONTRACT, DOMAIN, ProjectFixture
from wellspring.enclave.service import Enclave
from wellspring.records.contracts import DataContract

PERSON = "  - { property: person, value: claim_id }\n"
_FORMAT = "  - { property: format, value: csv }\n"
_NAME_COLUMN = """\
      - name: full_name
        logicalType: string
        classification: identifier
        customProperties: [{ property: egress, value: never }]
"""
HEAD = "claim_id,kind,amount,full_name\n"


def write_person_contract(
    project: ProjectFixture, *, version: str = "1.0.0", kinds: str = "a, b", names_person: bool = True
) -> DataContract:
    """Write a contract of claims with a name, which names the person or does not yet."""
    text = CONTRACT.format(version=version, kinds=kinds, egress="token", domain=DOMAIN) + _NAME_COLUMN
    text = text.replace(_FORMAT, _FORMAT + (PERSON if names_person else ""))
    (project.folder / "contracts" / "claim.odcs.yaml").write_text(text)
    return project.contract()


def release_person_contract(
    project: ProjectFixture, enclave: Enclave, *, version: str, kinds: str = "a, b"
) -> DataContract:
    """Write a later version, let two users sign its release, and put it into force."""
    written = write_person_contract(project, version=version, kinds=kinds)
    change = project.draft_release()
    project.sign_release(change)
    enclave.accept_contract(change.id)
    return written


def put_people(project: ProjectFixture, name: str, *rows: str) -> None:
    """Deliver a file of claims with names."""
    part = project.vendor.put(f".{name}.part", (HEAD + "".join(f"{row}\n" for row in rows)).encode())
    os.utime(part, (1_700_000_000, 1_700_000_000))
    part.rename(project.vendor.outbox / name)
