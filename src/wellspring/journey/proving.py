"""From a subject to its story: sealed in the log, packed with proofs, verified without the house."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from wellspring.errors import Unavailable
from wellspring.project import Project
from wellspring.records.data import Edition
from wellspring.trust import evidence

if TYPE_CHECKING:
    from wellspring.assembly import Assembly, Records


class Pack(NamedTuple):
    """A written story. entries: how many lines of the log it proves."""

    subject: str
    folder: Path
    entries: int


def prove(records: Records, subject: str, folder: Path, *, house: Assembly | None = None) -> Pack:
    """Write the story of `drop:ID`, `edition:ID` or `dataset:NAME` into `folder`, with proofs.

    A story that is already sealed in the signed log needs no server. Otherwise the house must be up to seal it:
    raises Unavailable when `house` is None.
    """
    if house is not None:
        house.sequencer.integrate()
    told = evidence.story(records.index, subject)
    found = papers(records, told)
    if evidence.seal_of(records.index, told, found) is None:
        if house is None:
            raise Unavailable(
                f"the story of {subject} is not sealed in the log yet, and the servers are down",
                fix="run `wellspring up`",
            )
        evidence.seal(house.step, records.index, told, found)
        house.sequencer.integrate()
    with records.step("prove", told.subject) as act:
        evidence.write_pack(folder, told, found, records.tree, records.index)
        act.note(entries=len(told.entries))
    return Pack(told.subject, folder, len(told.entries))


def papers(records: Records, told: evidence.Story) -> dict[str, bytes]:
    """Find the texts that entries of a story name by digest: contracts, releases, candidates, manifests."""
    here = records.project
    return evidence.papers(told, kept_contracts(here), here.models_kept)


def kept_contracts(here: Project) -> Path:
    """The folder of all contracts that rows were ever held against, by digest."""
    return here.lake / "contracts"


def seal_edition(house: Assembly, edition: Edition) -> None:
    """Seal the stories of what was just published, so that proving them later needs no server."""
    subjects = [edition.subject, *(f"drop:{drop}" for drop in edition.drops)]
    if edition.level == "landed":
        subjects += [f"dataset:{each.table}" for each in edition.tables]
    seal(house, subjects)


def seal(house: Assembly, subjects: Iterable[str]) -> None:
    """Seal stories as they stand now; what is sealed already is left alone."""
    for subject in subjects:
        told = evidence.story(house.records.index, subject)
        evidence.seal(house.step, house.records.index, told, papers(house.records, told))
    house.sequencer.integrate()
