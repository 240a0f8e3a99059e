"""From a landed edition to features: tables are built and published, then put online."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from wellspring.data import features
from wellspring.data import materialize as online
from wellspring.data import transform as building
from wellspring.errors import NotFound, ProjectError, Refused
from wellspring.journey.proving import seal
from wellspring.journey.receiving import Progress, recover
from wellspring.models.train import installed
from wellspring.project import FILE, Project
from wellspring.records.data import Edition, Snapshot, Views
from wellspring.records.record import Frozen
from wellspring.stores.objects.disk import DiskPaths

if TYPE_CHECKING:
    from wellspring.assembly import Assembly
    from wellspring.stores.online import OnlineWriter


class Prepared(Frozen):
    """What one run of `transform` did. tables: those that were built, without the landed ones that they rest on.

    fresh: whether this run built the edition. leaks: `table.column` that knew the future. online: rows by view.
    """

    edition: Edition
    tables: tuple[Snapshot, ...]
    fresh: bool
    leaks: tuple[str, ...]
    online: dict[str, int]


def transform(house: Assembly, store: OnlineWriter | None, *, progress: Progress) -> Prepared:
    """Build the newest landed edition, publish it, and write its newest features online. store: None: not online.

    Raises Refused when nothing has landed, and what the build and the store raise.
    """
    recover(house)
    landed = house.lake.edition()
    if landed is None:
        raise Refused("nothing has landed yet", fix="run `wellspring receive`")
    # A mistake in the definitions is told before anything is published that they cannot serve.
    known = views(house.project) if store is not None else None
    progress("build", 0, 1)
    built = building.transform(house.lake, house.project, landed, step=house.step)
    house.step.reached("journey.transform:built")
    house.sequencer.integrate()
    seal(house, [built.edition.subject])
    progress("online", 0, 1)
    counted: dict[str, int] = {}
    if store is not None and known is not None:
        # No edition is newer than this one: whatever was cut short before is finished with it.
        open_ = online.cut_short(house.records.index.entries(action="materialize"))
        counted = online.materialize(house.lake, known, built.edition, store, step=house.step, unfinished=open_)
        house.sequencer.integrate()
    under = set(landed.tables)
    made = tuple(each for each in built.edition.tables if each not in under)
    return Prepared(edition=built.edition, tables=made, fresh=built.fresh, leaks=built.leaks, online=counted)


def views(project: Project) -> Views:
    """Return the project's feature definitions, compiled and kept by digest. Raises ProjectError without any.

    Feast takes five seconds to import: a file that was compiled before, with all that is installed as it is now (it may
    import any of it), is read from what was kept.
    """
    if "features" not in project.own:
        raise ProjectError(f"{project.root / FILE} has no [features] section", fix="add one, and write its definitions")
    source, kept = project.own["features"], DiskPaths(project.lake / "views")
    if not source.is_file():
        return features.load(source, project.name)
    asked = f"{project.name} {installed()} ".encode() + source.read_bytes()
    name = f"compiled/{hashlib.sha256(asked).hexdigest()}"
    try:
        return features.load_kept(kept.folder, kept.read(name).decode("ascii"))
    except NotFound:
        known = features.load(source, project.name)
        features.keep(known, kept.folder)
        kept.write_once(name, known.digest.encode())
        return known


def built_edition(house: Assembly) -> Edition:
    """Return the newest built edition. Raises Refused before the first."""
    edition = house.lake.edition(level="built")
    if edition is None:
        raise Refused("nothing has been built yet", fix="run `wellspring transform`")
    return edition
