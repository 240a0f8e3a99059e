"""Whether a release was compared with the model that is live now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wellspring.errors import Refused
from wellspring.records.trust import Ref

if TYPE_CHECKING:
    from wellspring.models.releases.release_context import ReleaseContext
    from wellspring.records.models import Release

LIST_FIX = "see `wellspring release list`"
RETRAIN_FIX = "run `wellspring train {}`: a new candidate is compared with the model that is live now"


def require_current_comparison(release: Release, release_context: ReleaseContext) -> None:
    """Raise Refused unless a release's candidate passed the gate, compared with the model that is live now."""
    gate_entries = release_context.index.list_entries(
        subject=f"candidate:{release.candidate}", action="gate", phase="done"
    )
    entry = gate_entries[-1].entry if gate_entries else None
    artifact_ref = Ref(name=f"artifact:{release.model}", digest=release.artifact)
    if entry is None or entry.text("outcome") != "pass" or artifact_ref not in entry.inputs:
        raise Refused.because(
            release.subject,
            "gate_not_passed",
            f"the candidate of {release.subject} has not passed the gate",
            fix=LIST_FIX,
        )
    live_release = release_context.release_store.get_live(release.model)
    if live_release is not None and live_release.id == release.id:
        # Approved in development, it is approved again in the governed project, while it is live.
        return
    live_candidate, compared_candidate = (
        live_release.candidate if live_release is not None else "",
        entry.text("live"),
    )
    if compared_candidate != live_candidate:
        message = (
            f"{release.subject} was evaluated against {compared_candidate or 'no model'}, "
            f"but {live_candidate or 'no model'} is live now"
        )
        raise Refused.because(
            release.subject, "evaluated_against_another", message, fix=RETRAIN_FIX.format(release.model)
        )
