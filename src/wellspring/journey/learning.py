"""From a built edition to a candidate that its gate let pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wellspring.data.built import audited_of, leaks_of
from wellspring.errors import ProjectError
from wellspring.journey.building import built_edition, views
from wellspring.journey.receiving import Progress, recover
from wellspring.models import artefact, definition, train
from wellspring.project import FILE
from wellspring.records.models import Candidate
from wellspring.records.record import Digest
from wellspring.records.trust import Ref

if TYPE_CHECKING:
    from pathlib import Path

    from wellspring.assembly import Assembly
    from wellspring.models.registry import Registry
    from wellspring.models.release import Releases
    from wellspring.models.train import Shelf
    from wellspring.records.data import Edition


def learn(
    house: Assembly, name: str, *, registry: Registry, shelf: Shelf, releases: Releases, progress: Progress
) -> Candidate:
    """Train models/NAME.py on the newest built edition. Raises Refused, with its reasons, when the gate says no."""
    recover(house)
    model = definition.load(_folder(house), name)
    known = views(house.project)
    edition = built_edition(house)
    live = releases.live(model.name)
    try:
        return train.learn(
            model,
            known,
            house.lake,
            edition,
            given=train.Given(
                code=definition.sources(house.project, name),
                contracts=_contracts(house, edition),
                leaks=leaks_of(house.records.index, edition),
                audited=audited_of(house.records.index, edition),
            ),
            live=artefact.read_candidate(live.candidate, paths=shelf.paths) if live is not None else None,
            step=house.step,
            registry=registry,
            shelf=shelf,
            signer=house.models,
            clock=house.clock,
            progress=progress,
        )
    finally:
        house.sequencer.integrate()


def reproduce(
    house: Assembly, name: str, run: str, *, registry: Registry, shelf: Shelf, progress: Progress
) -> dict[str, Digest]:
    """Train a run again, byte for byte, from the edition that it names."""
    recover(house)
    try:
        return train.reproduce(
            run,
            definition.load(_folder(house), name),
            views(house.project),
            house.lake,
            lambda edition_id: _edition(house, edition_id),
            code=definition.sources(house.project, name),
            step=house.step,
            registry=registry,
            shelf=shelf,
            progress=progress,
        )
    finally:
        house.sequencer.integrate()


def _edition(house: Assembly, edition_id: str) -> Edition:
    found = house.lake.edition(edition_id)
    assert found is not None  # None is what is answered before the first edition, never for an id
    return found


def _folder(house: Assembly) -> Path:
    if "models" not in house.project.own:
        raise ProjectError(f"{house.project.root / FILE} has no [models] section", fix="add one, and write a model")
    return house.project.own["models"]


def _contracts(house: Assembly, edition: Edition) -> tuple[Ref, ...]:
    """Name the contracts that rows of an edition were held against, as the admissions of its drops tell."""
    index, wanted, waiting = house.records.index, list[Ref](), [edition]
    while waiting:
        one = waiting.pop()
        for drop in one.drops:
            for each in index.entries(subject=f"drop:{drop}", action="admit", phase="done"):
                wanted += [ref for ref in each.entry.inputs if ref.name.startswith("contract:")]
        if one.parent is not None:
            waiting.append(_edition(house, one.parent))
    named = {(ref.name, str(ref.digest)): ref for ref in wanted}
    return tuple(named[each] for each in sorted(named))
