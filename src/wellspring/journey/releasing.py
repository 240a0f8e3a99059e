"""From a candidate to what answers, and back: a person proposes, another approves, either goes back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wellspring.data import features
from wellspring.errors import Refused
from wellspring.journey.proving import seal
from wellspring.journey.receiving import recover
from wellspring.models import artefact, release
from wellspring.models.predict import Scorer
from wellspring.models.replay import Replayed, Replayer
from wellspring.records.models import Release
from wellspring.records.trust import Ref
from wellspring.trust import approvals, policy
from wellspring.trust.identity import people

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wellspring.assembly import Assembly
    from wellspring.models.train import Shelf


def propose(house: Assembly, releasing: release.House, candidate_id: str, *, shelf: Shelf, token: str) -> Release:
    """Ask, as the person whose login this is, for a candidate to be released. Raises Refused, NotFound, Broken."""
    with people.present(house.project, token) as person:
        _recover(house, releasing)
        candidate = artefact.read_candidate(candidate_id, paths=shelf.paths)
        if not candidate.verdict.passed:
            raise Refused(
                f"{candidate.subject} did not pass its gate", fix="learn a better one", verdict=candidate.verdict
            )
        files = artefact.read(candidate.artefact, objects=shelf.objects, paths=shelf.paths, key=shelf.key)
        law = policy.load(house.project.own.get("policies"))
        asked = release.compose(candidate, files, law.digest)
        release.refuse_uncompared(asked, releasing)
        asked = releasing.releases.keep(asked)
        judged = Ref(name=candidate.subject, digest=artefact.candidate_digest(candidate))
        try:
            approvals.propose(asked, judged, person, index=house.records.index, policies=law, step=house.step)
        finally:
            house.sequencer.integrate()
    return asked


def approve(house: Assembly, releasing: release.House, release_id: str, *, token: str) -> tuple[Release, str]:
    """Approve a release as a second person, let it answer, and seal its story. Returns it, and who approved it.

    Of what was approved before, only what never went live goes live: then a crash came in between.
    """
    carrier: release.Carrier | None = None
    with people.present(house.project, token) as person:
        _recover(house, releasing)
        asked = releasing.releases.get(release_id)
        law = policy.load(house.project.own.get("policies"))
        given = approvals.approved(house.records.index, asked)
        if given is not None:
            # Who approved it need not be here: whoever is must be allowed to.
            carrier = release.Carrier(person.principal, law)
        else:
            try:
                with house.step("judge", asked.subject, inputs=[release.pinned(asked)]):
                    # Nobody signs for what could not go live then.
                    release.refuse_uncompared(asked, releasing)
                given = approvals.approve(asked, person, house.records.index, law, step=house.step)
                house.step.reached("journey.approve:approved")
            finally:
                house.sequencer.integrate()
    try:
        release.promote(asked, given.person, releasing, step=house.step, carrier=carrier)
    finally:
        house.sequencer.integrate()
    seal(house, [f"model:{asked.model}@{asked.id}"])
    return asked, given.person


def rollback(house: Assembly, releasing: release.House, model: str, *, token: str) -> tuple[Release, str]:
    """Serve again what a model served before, as the person whose login this is."""
    with people.present(house.project, token) as person:
        _recover(house, releasing)
        law = policy.load(house.project.own.get("policies"))
        try:
            back = release.rollback(model, person.principal, releasing, policies=law, step=house.step)
        finally:
            house.sequencer.integrate()
    return back, person.principal.name


def replay_answers(
    house: Assembly, releasing: release.House, predictions: Sequence[str], *, shelf: Shelf
) -> list[Replayed]:
    """Give answers again from the lake, and compare them to the last bit."""
    recover(house)
    again = Replayer(
        index=house.records.index,
        lake=house.lake,
        releases=releasing.releases,
        load=lambda one: Scorer.load(one, objects=shelf.objects, paths=shelf.paths, key=shelf.key),
        views=lambda digest: features.load_kept(house.project.lake / "views", digest),
    )
    return again.replay_all(predictions)


def _recover(house: Assembly, releasing: release.House) -> None:
    """Finish what a crash left half done: the log, the lake, then what answers."""
    recover(house)
    if release.recover(house.records.index.open_intents(), releasing, step=house.step):
        house.sequencer.integrate()
