"""A change on its road: drafted in words, proposed by one user, approved by another, live; each refusal recorded."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.builders.approvals import Somebody
from tests.builders.changes import ChangedProject
from tests.builders.user_notes import project_with_users, sign
from wellspring.errors import NotFound, ProjectError, Refused
from wellspring.records.changes import ChangeDraft, ChangeRelease
from wellspring.workflows import change_releases
from wellspring.workflows.change_releases import ChangeSummary, DraftedChange

PERMIT = "permit (principal, action, resource);"
NARROWED = f'{PERMIT}\nforbid (principal, action == Action::"train", resource);'
WIDER = f'{PERMIT}\npermit (principal, action == Action::"train", resource);'


class World(ChangedProject):
    """A project with policies on disk, and the platform of a job."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(folder / "changes")
        self.file = folder / "policies/a.cedar"
        self.file.parent.mkdir()
        self.file.write_text(PERMIT)
        self.sealed: list[str] = []
        project = project_with_users(
            self.ana,
            self.bo,
            name="benefits",
            tenant="acme",
            source_paths={"policies": self.file.parent},
            changes_dir=folder / "changes",
        )
        index = SimpleNamespace(
            list_entries=lambda after=0, **filters: self.books.list_entries(**filters)[after:],
            list_open_intents=self.step.open_intents,
            count_entries=lambda: len(self.step.entries),
        )
        self.platform: Any = SimpleNamespace(
            project=project,
            clock=self.step.clock,
            ledger=SimpleNamespace(index=index),
            step=self.step,
            sequencer=SimpleNamespace(integrate=lambda: None),
            fence=self.fence,
            changes=self.store,
        )
        monkeypatch.setattr(change_releases, "seal_stories", lambda _, subjects: self.sealed.extend(subjects))

    def draft(self, text: str | None = None) -> DraftedChange:
        if text is not None:
            self.file.write_text(text)
        return change_releases.draft_change(self.platform, "policy", "", progress=lambda *_: None)

    def sign_proposal(self, change: ChangeRelease, person: Somebody | None = None) -> ChangeSummary:
        note = sign(person or self.ana, "proposal", change.signed_name, change.id, change.digest)
        return change_releases.propose_change(self.platform, change.id, note=note)

    def sign_approval(self, change: ChangeRelease, person: Somebody | None = None) -> ChangeSummary:
        note = sign(person or self.bo, "release", change.signed_name, change.id, change.digest)
        return change_releases.approve_change(self.platform, change.id, note=note)

    def states(self) -> dict[str, str]:
        summaries = change_releases.list_changes(self.store, self.platform.ledger.index)
        return {summary.release.id: summary.state for summary in summaries}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    world = World(tmp_path, monkeypatch)
    change_releases.adopt_first_content(world.platform, "policy", "project")
    return world


def code(refused: pytest.ExceptionInfo[Refused]) -> str:
    assert refused.value.verdict is not None
    return refused.value.verdict.reasons[0].code


def test_a_wider_policy_is_live_after_another_user_approved_it(world: World):
    (first,) = world.states()
    change = world.draft(WIDER).release
    assert (change.replaces, change.needs_second_person, change.summary) == (first, True, ("added: permit a.cedar:2",))
    assert world.sign_proposal(change).state == "open"
    with pytest.raises(Refused) as refused:
        world.sign_approval(change, world.ana)
    assert code(refused) == "self_approval"
    approved = world.sign_approval(change)
    assert (approved.state, approved.proposed_by, approved.approved_by) == ("live", "user:ana", "user:bo")
    assert world.states() == {first: "replaced", change.id: "live"}
    assert world.sealed == [change.subject]


def test_a_narrower_policy_is_live_with_its_proposal(world: World):
    change = world.draft(NARROWED).release
    proposed = world.sign_proposal(change)
    assert (proposed.state, proposed.approved_by) == ("live", "")
    (entry,) = world.step.done("activate")
    assert (entry.text("user"), entry.facts["second_person"]) == ("user:ana", False)
    # The job runs again after a crash.
    assert world.sign_proposal(change).state == "live"
    assert len(world.step.done("propose")) == 1


def test_a_record_that_says_one_person_suffices_does_not_make_it_so(world: World):
    drafted = world.draft(WIDER).release
    draft = ChangeDraft(content=drafted.content, summary=("less",), needs_second_person=False)
    forged = change_releases.build_change(
        "policy", "project", draft, replaces=drafted.replaces, tenant="acme", clock=world.step.clock
    )
    world.store.save(forged)
    with pytest.raises(Refused) as refused:
        world.sign_proposal(forged)
    assert (code(refused), world.states()[drafted.replaces]) == ("needs_second_person", "live")


def test_a_second_proposal_names_the_open_one_and_one_approval_closes_the_other(world: World):
    first = world.draft(WIDER).release
    world.sign_proposal(first)
    drafted = world.draft(f"{WIDER}\n{PERMIT}")
    assert drafted.open_releases == (first.id,)
    world.sign_proposal(drafted.release)
    world.sign_approval(drafted.release)
    assert world.states()[first.id] == "superseded"
    with pytest.raises(Refused) as refused:
        world.sign_approval(first)
    assert code(refused) == "superseded"


def test_another_user_approves_a_proposal_and_does_not_repeat_it(world: World):
    change = world.draft(WIDER).release
    world.sign_proposal(change)
    with pytest.raises(Refused) as refused:
        world.sign_proposal(change, world.bo)
    assert code(refused) == "already_proposed"
    assert world.sign_proposal(change).proposed_by == "user:ana"


def test_an_approval_of_other_bytes_than_were_signed_is_refused(world: World):
    change = world.draft(WIDER).release
    world.sign_proposal(change)
    note = sign(world.bo, "release", change.signed_name, change.id, "0" * 64)
    with pytest.raises(Refused, match="signed another release"):
        change_releases.approve_change(world.platform, change.id, note=note)


def test_unchanged_unreadable_and_unknown_content_is_not_drafted(world: World):
    with pytest.raises(Refused, match=r"is what release .* made live"):
        world.draft()
    with pytest.raises(ProjectError, match=r"a.cedar:1"):
        world.draft("permit (principal, action, nonsense);")
    with pytest.raises(NotFound):
        change_releases.draft_change(world.platform, "polices", "", progress=lambda *_: None)
    assert set(world.states().values()) == {"live"}


def test_the_first_content_is_adopted_once(world: World):
    assert change_releases.adopt_first_content(world.platform, "policy", "project") is None
    assert list(world.states().values()) == ["live"]


def test_an_approval_that_a_crash_left_without_its_switch_is_executed(world: World):
    change = world.draft(WIDER).release
    world.sign_proposal(change)
    world.approve(change)
    assert world.sign_approval(change).state == "live"
    assert len(world.step.done("approve")) == 1


def test_policies_that_nobody_could_replace_are_refused(world: World):
    for text in ("// nobody may do anything", PERMIT.replace("action,", 'action == Action::"propose",')):
        with pytest.raises(Refused) as refused:
            world.draft(text)
        assert code(refused) == "locked_out"
