"""The dbt code that new builds run: that of the live release; the first code that was built is adopted."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from wellspring.data.transform import build
from wellspring.errors import ProjectError
from wellspring.records.changes import PROJECT_WIDE, ChangeRelease
from wellspring.trust.changes import activation
from wellspring.trust.changes.activation import ChangeContext

if TYPE_CHECKING:
    from wellspring.bootstrap import Platform
    from wellspring.data.transform.transform_sources import TransformSources
    from wellspring.records.record import Digest


class ReleasedTransform(NamedTuple):
    """The dbt code in force. release: its id; '' before the first, which is what is on disk. is_on_disk: whether the
    project's folder holds the same code."""

    content: Digest
    release: str
    is_on_disk: bool


def load_released_transform(platform: Platform, sources: TransformSources) -> ReleasedTransform:
    """Return the dbt code in force; what is on disk, and kept, if none was released.

    The caller holds the resource `change:transform`. Raises ProjectError for a project without a dbt project,
    CorruptedError if the log names another release.
    """
    platform.sequencer.integrate()
    context = _open_context(platform)
    if activation.recover_changes(
        "transform", platform.ledger.index.list_open_intents(), context, apply=_apply_nothing, step=platform.step
    ):
        platform.sequencer.integrate()
    activation.require_live_pointer("transform", PROJECT_WIDE, context)
    live = platform.changes.get_live("transform", PROJECT_WIDE)
    if live is None:
        return ReleasedTransform(build.save_transform(platform.project, sources).digest, "", is_on_disk=True)
    activation.check_in_force(live, "transform", PROJECT_WIDE, platform.ledger.index)
    return ReleasedTransform(live.content, live.id, _is_on_disk(platform, sources, live.content))


def adopt_transform(platform: Platform, content: Digest) -> str:
    """Record the first dbt code that was built as the one in force; return the id of its release."""
    try:
        return activation.adopt_content(
            "transform",
            PROJECT_WIDE,
            content,
            _open_context(platform),
            tenant=platform.project.tenant,
            clock=platform.clock,
            apply=_apply_nothing,
            step=platform.step,
        ).id
    finally:
        platform.sequencer.integrate()


def _open_context(platform: Platform) -> ChangeContext:
    return ChangeContext(platform.changes, platform.ledger.index, platform.fence)


def _is_on_disk(platform: Platform, sources: TransformSources, content: Digest) -> bool:
    try:
        return build.save_transform(platform.project, sources).digest == content
    except ProjectError:
        return False


def _apply_nothing(_change: ChangeRelease) -> None:
    return None
