"""Only what two people stand behind is ever pointed to, whole; and going back needs one person and nobody else."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.builders import drops, lakes
from tests.builders.recording_step import Died, FixedClock, RecordingStep
from tests.builders.released_model import ANYTHING, NOW, Released
from tests.builders.rollbacks import go_back
from wellspring.errors import CorruptedError, NotFound, Refused, Unavailable
from wellspring.models.releases import candidates
from wellspring.models.releases.comparison import require_current_comparison
from wellspring.models.releases.history import build_rollback_stack, list_release_periods
from wellspring.models.releases.promotion import (
    PromotionExecutor,
    build_release,
    promote_release,
    recover_releases,
    refuse_retirement,
    rollback_release,
    sync_registry,
)
from wellspring.models.spec import artifact
from wellspring.records.decisions import DecisionRule, MostLikelyRule, ThresholdRule
from wellspring.trust.identity.port import Principal
from wellspring.trust.policy import PolicySet


@pytest.fixture
def project(tmp_path: Path) -> Released:
    return Released(tmp_path)


def rule(**changes: Any) -> ThresholdRule:
    return ThresholdRule(**{"labels": ("pays", "denies"), "threshold": "0.40", **changes})


def with_rule(read: artifact.ModelArtifact, decision_rule: DecisionRule) -> artifact.ModelArtifact:
    return read._replace(spec=read.spec.model_copy(update={"decision_rule": decision_rule}))


def test_a_release_is_the_digest_of_all_its_parts(project: Released):
    release = project.train()
    expected = candidates.read_candidate(release.candidate, paths=project.releases.paths)
    read = artifact.read_artifact(
        release.artifact, objects=project.objects, paths=project.releases.paths, keys=(project.signer.verifier_key,)
    )  # fmt: skip
    assert build_release(expected, read, ANYTHING.digest) == release
    assert release.digest[:12] == release.id
    rest = [
        build_release(expected, read, "0" * 64),
        build_release(expected, with_rule(read, rule(threshold="0.41")), ANYTHING.digest),
        build_release(expected, with_rule(read, rule(labels=("a", "b"))), ANYTHING.digest),
    ]
    assert len({item.id for item in [release, *rest]}) == 4
    for error in ("1.5", "0", "1", "nan", "half"):
        with pytest.raises(ValueError, match="threshold"):
            rule(threshold=error)
    with pytest.raises(CorruptedError, match="is not one of the task binary"):
        build_release(expected, with_rule(read, MostLikelyRule(labels=("pays", "denies"))), ANYTHING.digest)
    with pytest.raises(Refused, match="evaluated with another artifact"):
        build_release(expected.model_copy(update={"artifact": "0" * 64}), read, ANYTHING.digest)


def test_a_release_is_kept_once_and_read_back_whole(project: Released):
    release = project.train()
    later = release.model_copy(update={"known_since": NOW + timedelta(days=1)})
    assert project.releases.save(later) == release
    assert project.releases.get(release.id) == release
    assert project.releases.list_ids() == (release.id,)
    with pytest.raises(NotFound, match="no release"):
        project.releases.get("0" * 12)


def test_a_changed_release_is_never_handed_out(project: Released):
    release = project.train()
    path = project.folder / "models/releases" / f"{release.id}.json"
    path.write_bytes(path.read_bytes().replace(b'"0.40"', b'"0.01"'))
    with pytest.raises(CorruptedError, match="does not match its digest"):
        project.releases.get(release.id)
    with pytest.raises(Refused, match="does not match its digest"):
        project.releases.save(release.model_copy(update={"decision_rule": rule(threshold="0.01")}))


def test_a_promotion_moves_the_pointer_updates_mlflow_and_is_recorded(project: Released):
    release = project.released()
    assert project.releases.get_live("denials") == release
    (done,) = project.step.done("promote")
    assert done.facts == {"model": "denials", "previous_release": "", "user": "user:bo"}
    assert done.intent is not None
    assert (done.subject, done.inputs[0].digest) == (release.subject, release.digest)
    shown = project.mlflow.shown["denials"]
    assert shown is not None
    assert (shown.run, shown.release, shown.approved_by) == (f"{1:032x}", release.id, "user:bo")
    promote_release(release, "user:bo", project.project, step=project.step)
    assert len(project.step.done("promote")) == 1


def test_only_an_approved_release_is_promoted(project: Released):
    release = project.train()
    for prepare in (lambda: None, lambda: project.propose(release)):
        prepare()
        with pytest.raises(Refused, match="not approved by a second person"):
            promote_release(release, "user:bo", project.project, step=project.step)
    assert project.releases.live_id("denials") == ""
    assert [entry.phase for entry in project.step.entries if entry.action == "check"] == ["refused", "refused"]
    assert not [entry for entry in project.step.entries if entry.action == "promote"]


def test_a_release_whose_gate_did_not_pass_is_never_promoted(project: Released):
    release = project.train(outcome="fail")
    project.approve(release)
    with pytest.raises(Refused, match="has not passed the gate"):
        promote_release(release, "user:bo", project.project, step=project.step)
    assert project.releases.live_id("denials") == ""


def test_a_release_whose_edition_is_gone_is_never_promoted(project: Released):
    release = project.train()
    project.approve(release)
    (project.folder / "lake/editions" / f"{release.edition}.json").unlink()
    project.lake.stored = type(project.lake.stored)(project.folder / "lake/editions")
    with pytest.raises(Refused, match="is missing from the lake"):
        promote_release(release, "user:bo", project.project, step=project.step)
    assert project.releases.live_id("denials") == ""


def test_a_release_whose_files_are_not_whole_is_never_promoted(project: Released):
    release = project.train()
    project.approve(release)
    (project.folder / "models/manifests" / release.artifact).unlink()
    with pytest.raises(NotFound):
        promote_release(release, "user:bo", project.project, step=project.step)
    assert project.releases.live_id("denials") == ""


def test_with_mlflow_down_nothing_moves_forward_and_everything_back(project: Released):
    first = project.released(1)
    second = project.train(2)
    project.approve(second)
    project.mlflow.down = True
    with pytest.raises(Unavailable):
        promote_release(second, "user:bo", project.project, step=project.step)
    assert project.releases.get_live("denials") == first
    project.mlflow.down = False
    promote_release(second, "user:bo", project.project, step=project.step)
    project.mlflow.down = True
    assert go_back(project) == first
    project.mlflow.down = False
    assert sync_registry("denials", project.project) == ("production",)
    assert sync_registry("denials", project.project) == ()


def test_a_rollback_restores_the_former_tuple_byte_for_byte_and_goes_further_back(project: Released):
    first, second, third = (project.released(seed) for seed in (1, 2, 3))
    before = {
        item.id: (project.folder / "models/releases" / f"{item.id}.json").read_bytes()
        for item in (first, second, third)
    }
    assert go_back(project) == second
    assert project.releases.get_live("denials") == second
    assert go_back(project) == first
    assert project.releases.get_live("denials") == first
    with pytest.raises(Refused, match="no release of denials was live before"):
        go_back(project)
    for name, content in before.items():
        assert (project.folder / "models/releases" / f"{name}.json").read_bytes() == content
    result = [(item.subject, item.facts["previous_release"]) for item in project.step.done("rollback")]
    assert result == [(second.subject, third.id), (first.subject, second.id)]
    # Forward again, and back from there.
    project.released(4)
    assert go_back(project) == first


def test_a_rollback_restores_any_release_that_was_live(project: Released):
    first, second, third = (project.released(seed) for seed in (1, 2, 3))
    assert go_back(project, target=first.id) == first
    assert build_rollback_stack(project.books, "denials") == [first.id]
    # Also one from which an earlier rollback went back.
    assert go_back(project, target=third.id) == third
    assert build_rollback_stack(project.books, "denials") == [first.id, third.id]
    assert go_back(project) == first
    assert project.releases.get_live("denials") == first
    facts = [entry.facts.get("to_release") for entry in project.step.done("rollback")]
    assert facts == [first.id, third.id, None]
    for target, what in ((first.id, "is live already"), (project.train(4).id, "was never live"), (second.id, None)):
        if what is None:
            assert go_back(project, target=target) == second
        else:
            with pytest.raises(Refused, match=what):
                go_back(project, target=target)


def test_a_rollback_is_always_a_persons_and_under_policy(project: Released):
    project.released(1)
    second = project.released(2)
    with pytest.raises(Refused, match="not a person"):
        rollback_release("denials", Principal("service:worker"), project.project, policies=ANYTHING, step=project.step)
    with pytest.raises(Refused, match="may not rollback"):
        go_back(project, PolicySet({}))
    assert project.releases.get_live("denials") == second


def test_a_pointer_that_was_moved_past_the_ledger_stops_a_rollback(project: Released):
    first = project.released(1)
    project.released(2)
    project.releases.set_live(first)
    with pytest.raises(CorruptedError, match="but the ledger names"):
        go_back(project)


@pytest.mark.parametrize("point", ["release.promote:intent", "release.promote:live-set"])
def test_a_promotion_that_was_killed_is_carried_out_once(project: Released, point: str):
    first = project.released(1)
    second = project.train(2)
    project.approve(second)
    project.step.die_at, project.step.nth = point, project.step.points.count(point) + 1
    with pytest.raises(Died):
        promote_release(second, "user:bo", project.project, step=project.step)
    assert project.releases.get_live("denials") in (first, second)
    project.step.die_at = None
    assert recover_releases("denials", project.step.open_intents(), project.project, step=project.step) == (second,)
    assert project.releases.get_live("denials") == second
    assert recover_releases("denials", project.step.open_intents(), project.project, step=project.step) == ()
    assert project.step.done("promote")[-1].facts["recovered"] is True
    assert getattr(project.mlflow.shown["denials"], "release", "") == second.id
    assert go_back(project) == first


def test_a_rolled_back_or_replaced_release_never_goes_live_again(project: Released):
    first, second = project.released(1), project.released(2)
    for gone, now in ((first, second), (second, first)):
        with pytest.raises(Refused, match="was live before") as refused:
            promote_release(gone, "user:bo", project.project, step=project.step)
        assert refused.value.verdict is not None
        assert [reason.code for reason in refused.value.verdict.reasons] == ["previously_live"]
        assert "wellspring train denials" in refused.value.fix
        assert project.releases.get_live("denials") == now
        if now == second:
            go_back(project)


def test_an_earlier_approval_is_executed_only_by_a_permitted_person(project: Released):
    release = project.train()
    project.approve(release)
    proposing = PolicySet({"a.cedar": 'permit (principal, action == Action::"propose", resource);'})
    cases = [
        (Principal("user:ana", ("owner", "approver")), ANYTHING, "self_approval"),
        (Principal("user:cy", ("approver",)), proposing, "no_policy"),
    ]
    for person, policies, code in cases:
        with pytest.raises(Refused) as refused:
            promote_release(
                release, "user:bo", project.project, step=project.step, executor=PromotionExecutor(person, policies)
            )
        assert refused.value.verdict is not None
        assert [reason.code for reason in refused.value.verdict.reasons] == [code]
        assert project.releases.live_id("denials") == ""
    executor = PromotionExecutor(Principal("user:cy", ("approver",)), ANYTHING)
    promote_release(release, "user:bo", project.project, step=project.step, executor=executor)
    (done,) = project.step.done("promote")
    assert (done.facts["user"], done.facts["executed_by"]) == ("user:bo", "user:cy")
    assert list_release_periods(project.books, "denials")[0].changed_by == "user:cy"


def test_a_candidate_compared_with_another_model_is_never_promoted(project: Released):
    early, first = project.train(2), project.released(1)
    project.approve(early)
    for compared, release in (("no model", early), (first.candidate, project.train(3))):
        if release is not early:
            project.approve(release)
            project.released(4)
        refuse = (
            lambda release=release: require_current_comparison(release, project.project),
            lambda release=release: promote_release(release, "user:bo", project.project, step=project.step),
        )
        before = project.releases.get_live("denials")
        assert before is not None
        for attempt in refuse:
            with pytest.raises(Refused, match=f"against {compared}, but {before.candidate} is live") as refused:
                attempt()
            assert refused.value.verdict is not None
            assert [reason.code for reason in refused.value.verdict.reasons] == ["evaluated_against_another"]
        assert project.releases.get_live("denials") == before
    # Going back compares nothing: it was served before.
    assert go_back(project) == first


@pytest.mark.parametrize("point", ["release.rollback:intent", "release.rollback:live-set"])
def test_a_rollback_that_was_killed_is_carried_out_once(project: Released, point: str):
    first, _ = project.released(1), project.released(2)
    project.step.die_at = point
    with pytest.raises(Died):
        go_back(project)
    project.step.die_at = None
    assert recover_releases("denials", project.step.open_intents(), project.project, step=project.step) == (first,)
    assert project.releases.get_live("denials") == first
    assert list_release_periods(project.books, "denials")[0].release == first.id


def test_recovery_never_replaces_a_release_that_the_intent_did_not_know(project: Released):
    first, second, third = project.released(1), project.released(2), project.train(3)
    project.approve(third)
    project.step.die_at, project.step.nth = "release.promote:intent", 3
    with pytest.raises(Died):
        promote_release(third, "user:bo", project.project, step=project.step)
    project.step.die_at = None
    project.releases.set_live(first)
    with pytest.raises(CorruptedError, match="is live"):
        recover_releases("denials", project.step.open_intents(), project.project, step=project.step)
    assert project.releases.get_live("denials") == first
    assert second.id != first.id


def test_a_model_without_a_name_has_no_pointer(project: Released):
    assert project.releases.live_version("../../etc/passwd") is None
    assert project.releases.live_id("900-12-3456") == ""
    assert project.releases.get_live("../live/denials") is None


def test_an_edition_that_a_release_names_is_never_retired_and_its_snapshots_stay(tmp_path: Path):
    clock, step = FixedClock(), RecordingStep()
    lake = lakes.open_lake(tmp_path / "real", clock=clock)
    contract = drops.contract()
    named = []
    for name in ("a", "b"):
        lake.stage_part(drops.intake(name, contract, drops.rows(3, first=10 * len(named))), contract, step=step)
        named.append(lake.publish("clearinghouse", lake.staged_parts(), step=step))
    project = Released(tmp_path)
    release = project.train()
    stands_on = release.model_copy(update={"edition": named[0].id})
    from wellspring.trust.approvals import compute_release_digest

    digest = compute_release_digest(stands_on)
    project.releases.save(stands_on.model_copy(update={"digest": digest, "id": digest[:12]}))
    assert named[0].id in project.releases.pinned_editions()
    with pytest.raises(Refused, match="cannot be retired"):
        refuse_retirement(named[0], project.releases)
    refuse_retirement(named[1], project.releases)
    lake.remove_orphan_files(older_than=clock.now() + timedelta(days=3650), step=step)
    assert lake.read_table(named[0], "medical_claim").num_rows == 3
    lake.close()


def test_a_release_of_development_is_not_restored_once_the_project_is_governed(project: Released):
    project.books.enter_mode("development")
    first, second = project.released(1), project.released(2)
    project.books.enter_mode("governed")
    with pytest.raises(Refused, match="approved in development only"):
        go_back(project)
    assert project.releases.live_id("denials") == second.id != first.id


def test_the_live_release_of_development_is_approved_again_while_it_is_live(project: Released):
    project.books.enter_mode("development")
    release = project.released(1)
    project.books.enter_mode("governed")
    for person in (project.ana, project.bo):
        project.books.enrol(person)
    require_current_comparison(release, project.project)
    project.approve(release)
    promote_release(release, "user:bo", project.project, step=project.step)
    assert len(project.step.done("promote")) == 1
