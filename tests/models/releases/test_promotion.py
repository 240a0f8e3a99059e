"""Only what two people stand behind is ever pointed to, whole; and going back needs one person and nobody else."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from tests.builders import drops
from tests.builders.recording_step import Died, FixedClock, RecordingStep
from tests.builders.released_model import ANYTHING, NOW, Released
from wellspring.errors import CorruptedError, NotFound, Refused, Unavailable
from wellspring.lake.lake import Lake
from wellspring.models.releases.history import list_release_periods
from wellspring.models.releases.promotion import (
    PromotionExecutor,
    build_release,
    promote_release,
    recover_releases,
    refuse_retirement,
    require_current_comparison,
    rollback_release,
    sync_registry,
)
from wellspring.models.spec import artifact
from wellspring.records.models import Release
from wellspring.trust.identity.port import Principal
from wellspring.trust.policy import PolicySet

BO = Principal("user:bo", ("approver",))


@pytest.fixture
def house(tmp_path: Path) -> Released:
    return Released(tmp_path)


def go_back(house: Released, policies: PolicySet = ANYTHING) -> Release:
    return rollback_release("denials", BO, house.house, policies=policies, step=house.step)


def test_a_release_is_the_digest_of_all_its_parts(house: Released):
    release = house.train()
    known = artifact.read_candidate(release.candidate, paths=house.releases.paths)
    read = artifact.read_artifact(
        release.artifact, objects=house.objects, paths=house.releases.paths, key=house.signer.key_id
    )  # fmt: skip
    assert build_release(known, read, ANYTHING.digest) == release
    assert release.digest[:12] == release.id
    others = [
        build_release(known, read, "0" * 64),
        build_release(known, read, ANYTHING.digest, threshold="0.41"),
        build_release(known, read, ANYTHING.digest, labels=("a", "b")),
    ]
    assert len({item.id for item in [release, *others]}) == 4
    for wrong in ("1.5", "0", "nan", "half"):
        with pytest.raises(Refused, match="threshold"):
            build_release(known, read, ANYTHING.digest, threshold=wrong)
    with pytest.raises(Refused, match="not judged with this artefact"):
        build_release(known.model_copy(update={"artifact": "0" * 64}), read, ANYTHING.digest)


def test_a_release_is_kept_once_and_read_back_whole(house: Released):
    release = house.train()
    later = release.model_copy(update={"known_since": NOW + timedelta(days=1)})
    assert house.releases.save(later) == release
    assert house.releases.get(release.id) == release
    assert house.releases.list_ids() == (release.id,)
    with pytest.raises(NotFound, match="no release"):
        house.releases.get("0" * 12)


def test_a_changed_release_is_never_handed_out(house: Released):
    release = house.train()
    path = house.folder / "models/releases" / f"{release.id}.json"
    path.write_bytes(path.read_bytes().replace(b'"0.40"', b'"0.01"'))
    with pytest.raises(CorruptedError, match="not what its digest says"):
        house.releases.get(release.id)
    with pytest.raises(Refused, match="not what its digest says"):
        house.releases.save(release.model_copy(update={"threshold": "0.01"}))


def test_a_promotion_points_tells_mlflow_and_is_remembered(house: Released):
    release = house.released()
    assert house.releases.get_live("denials") == release
    (done,) = house.step.done("promote")
    assert done.facts == {"model": "denials", "previous_release": "", "user": "user:bo"}
    assert done.intent is not None
    assert (done.subject, done.inputs[0].digest) == (release.subject, release.digest)
    shown = house.mlflow.shown["denials"]
    assert shown is not None
    assert (shown.run, shown.release, shown.approved_by) == (f"{1:032x}", release.id, "user:bo")
    promote_release(release, "user:bo", house.house, step=house.step)
    assert len(house.step.done("promote")) == 1


def test_only_an_approved_release_is_promoted(house: Released):
    release = house.train()
    for asked in (lambda: None, lambda: house.propose(release)):
        asked()
        with pytest.raises(Refused, match="not approved by a second person"):
            promote_release(release, "user:bo", house.house, step=house.step)
    assert house.releases.live_id("denials") == ""
    assert [entry.phase for entry in house.step.entries if entry.action == "check"] == ["refused", "refused"]
    assert not [entry for entry in house.step.entries if entry.action == "promote"]


def test_a_release_whose_gate_did_not_pass_is_never_promoted(house: Released):
    release = house.train(outcome="fail")
    house.approve(release)
    with pytest.raises(Refused, match="has not passed the gate"):
        promote_release(release, "user:bo", house.house, step=house.step)
    assert house.releases.live_id("denials") == ""


def test_a_release_whose_edition_is_gone_is_never_promoted(house: Released):
    release = house.train()
    house.approve(release)
    (house.folder / "lake/editions" / f"{release.edition}.json").unlink()
    house.lake.kept = type(house.lake.kept)(house.folder / "lake/editions")
    with pytest.raises(Refused, match="is gone from the lake"):
        promote_release(release, "user:bo", house.house, step=house.step)
    assert house.releases.live_id("denials") == ""


def test_a_release_whose_files_are_not_whole_is_never_promoted(house: Released):
    release = house.train()
    house.approve(release)
    (house.folder / "models/manifests" / release.artifact).unlink()
    with pytest.raises(NotFound):
        promote_release(release, "user:bo", house.house, step=house.step)
    assert house.releases.live_id("denials") == ""


def test_with_mlflow_down_nothing_moves_forward_and_everything_back(house: Released):
    first = house.released(1)
    second = house.train(2)
    house.approve(second)
    house.mlflow.down = True
    with pytest.raises(Unavailable):
        promote_release(second, "user:bo", house.house, step=house.step)
    assert house.releases.get_live("denials") == first
    house.mlflow.down = False
    promote_release(second, "user:bo", house.house, step=house.step)
    house.mlflow.down = True
    assert go_back(house) == first
    house.mlflow.down = False
    assert sync_registry("denials", house.house) == ("production",)
    assert sync_registry("denials", house.house) == ()


def test_a_rollback_restores_the_former_tuple_byte_for_byte_and_goes_further_back(house: Released):
    first, second, third = (house.released(seed) for seed in (1, 2, 3))
    before = {
        item.id: (house.folder / "models/releases" / f"{item.id}.json").read_bytes() for item in (first, second, third)
    }
    assert go_back(house) == second
    assert house.releases.get_live("denials") == second
    assert go_back(house) == first
    assert house.releases.get_live("denials") == first
    with pytest.raises(Refused, match="nothing was live of denials before"):
        go_back(house)
    for name, content in before.items():
        assert (house.folder / "models/releases" / f"{name}.json").read_bytes() == content
    told = [(item.subject, item.facts["previous_release"]) for item in house.step.done("rollback")]
    assert told == [(second.subject, third.id), (first.subject, second.id)]
    # Forward again, and back from there.
    house.released(4)
    assert go_back(house) == first


def test_a_rollback_is_always_a_persons_and_under_policy(house: Released):
    house.released(1)
    second = house.released(2)
    with pytest.raises(Refused, match="no person"):
        rollback_release("denials", Principal("service:worker"), house.house, policies=ANYTHING, step=house.step)
    with pytest.raises(Refused, match="may not rollback"):
        go_back(house, PolicySet({}))
    assert house.releases.get_live("denials") == second


def test_a_pointer_that_was_moved_past_the_ledger_stops_a_rollback(house: Released):
    first = house.released(1)
    house.released(2)
    house.releases.set_live(first)
    with pytest.raises(CorruptedError, match="the ledger says that"):
        go_back(house)


@pytest.mark.parametrize("point", ["release.promote:intent", "release.promote:live-set"])
def test_a_promotion_that_was_killed_is_carried_out_once(house: Released, point: str):
    first = house.released(1)
    second = house.train(2)
    house.approve(second)
    house.step.die_at, house.step.nth = point, house.step.points.count(point) + 1
    with pytest.raises(Died):
        promote_release(second, "user:bo", house.house, step=house.step)
    assert house.releases.get_live("denials") in (first, second)
    house.step.die_at = None
    assert recover_releases(house.step.open_intents(), house.house, step=house.step) == (second,)
    assert house.releases.get_live("denials") == second
    assert recover_releases(house.step.open_intents(), house.house, step=house.step) == ()
    assert house.step.done("promote")[-1].facts["recovered"] is True
    assert getattr(house.mlflow.shown["denials"], "release", "") == second.id
    assert go_back(house) == first


def test_what_was_taken_back_or_replaced_never_goes_live_again(house: Released):
    first, second = house.released(1), house.released(2)
    for gone, now in ((first, second), (second, first)):
        with pytest.raises(Refused, match="was live before") as refused:
            promote_release(gone, "user:bo", house.house, step=house.step)
        assert refused.value.verdict is not None
        assert [reason.code for reason in refused.value.verdict.reasons] == ["previously_live"]
        assert "wellspring train denials" in refused.value.fix
        assert house.releases.get_live("denials") == now
        if now == second:
            go_back(house)


def test_what_was_approved_before_is_carried_out_only_by_whom_the_policy_lets_approve(house: Released):
    release = house.train()
    house.approve(release)
    proposing = PolicySet({"a.cedar": 'permit (principal, action == Action::"propose", resource);'})
    cases = [
        (Principal("user:ana", ("owner", "approver")), ANYTHING, "self_approval"),
        (Principal("user:cy", ("approver",)), proposing, "no_policy"),
    ]
    for who, policies, code in cases:
        with pytest.raises(Refused) as refused:
            promote_release(release, "user:bo", house.house, step=house.step, executor=PromotionExecutor(who, policies))
        assert refused.value.verdict is not None
        assert [reason.code for reason in refused.value.verdict.reasons] == [code]
        assert house.releases.live_id("denials") == ""
    carrier = PromotionExecutor(Principal("user:cy", ("approver",)), ANYTHING)
    promote_release(release, "user:bo", house.house, step=house.step, executor=carrier)
    (done,) = house.step.done("promote")
    assert (done.facts["user"], done.facts["executed_by"]) == ("user:bo", "user:cy")
    assert list_release_periods(house.books, "denials")[0].changed_by == "user:cy"


def test_a_candidate_that_was_judged_beside_another_is_never_promoted(house: Released):
    early, first = house.train(2), house.released(1)
    house.approve(early)
    for beside, asked in (("nothing", early), (first.candidate, house.train(3))):
        if asked is not early:
            house.approve(asked)
            house.released(4)
        refuse = (
            lambda asked=asked: require_current_comparison(asked, house.house),
            lambda asked=asked: promote_release(asked, "user:bo", house.house, step=house.step),
        )
        before = house.releases.get_live("denials")
        assert before is not None
        for item in refuse:
            with pytest.raises(Refused, match=f"beside {beside}, and {before.candidate} is live") as refused:
                item()
            assert refused.value.verdict is not None
            assert [reason.code for reason in refused.value.verdict.reasons] == ["evaluated_against_another"]
        assert house.releases.get_live("denials") == before
    # Going back compares nothing: it was served before.
    assert go_back(house) == first


@pytest.mark.parametrize("point", ["release.rollback:intent", "release.rollback:live-set"])
def test_a_rollback_that_was_killed_is_carried_out_once(house: Released, point: str):
    first, _ = house.released(1), house.released(2)
    house.step.die_at = point
    with pytest.raises(Died):
        go_back(house)
    house.step.die_at = None
    assert recover_releases(house.step.open_intents(), house.house, step=house.step) == (first,)
    assert house.releases.get_live("denials") == first
    assert list_release_periods(house.books, "denials")[0].release == first.id


def test_recovery_never_replaces_a_release_that_the_intent_did_not_know(house: Released):
    first, second, third = house.released(1), house.released(2), house.train(3)
    house.approve(third)
    house.step.die_at, house.step.nth = "release.promote:intent", 3
    with pytest.raises(Died):
        promote_release(third, "user:bo", house.house, step=house.step)
    house.step.die_at = None
    house.releases.set_live(first)
    with pytest.raises(CorruptedError, match="is live"):
        recover_releases(house.step.open_intents(), house.house, step=house.step)
    assert house.releases.get_live("denials") == first
    assert second.id != first.id


def test_a_model_without_a_name_has_no_pointer(house: Released):
    assert house.releases.live_version("../../etc/passwd") is None
    assert house.releases.live_id("900-12-3456") == ""
    assert house.releases.get_live("../live/denials") is None


def test_an_edition_that_a_release_names_is_never_retired_and_its_snapshots_stay(tmp_path: Path):
    clock, step = FixedClock(), RecordingStep()
    lake = Lake(tmp_path / "real", tenant="acme", clock=clock)
    contract = drops.contract()
    named = []
    for name in ("a", "b"):
        lake.stage_part(drops.intake(name, contract, drops.rows(3, first=10 * len(named))), contract, step=step)
        named.append(lake.publish("clearinghouse", lake.staged_parts(), step=step))
    house = Released(tmp_path)
    release = house.train()
    stands_on = release.model_copy(update={"edition": named[0].id})
    from wellspring.trust.approvals import compute_release_digest

    digest = compute_release_digest(stands_on)
    house.releases.save(stands_on.model_copy(update={"digest": digest, "id": digest[:12]}))
    assert named[0].id in house.releases.pinned_editions()
    with pytest.raises(Refused, match="cannot be retired"):
        refuse_retirement(named[0], house.releases)
    refuse_retirement(named[1], house.releases)
    lake.remove_orphan_files(older_than=clock.now() + timedelta(days=3650), step=step)
    assert lake.read_table(named[0], "medical_claim").num_rows == 3
    lake.close()
