"""The service authorizes before it reads rows, writes the ledger entry before it responds, and marks stale rows."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import JsonValue

from tests.builders.recording_step import RecordingStep
from tests.builders.released_model import ANYTHING, NOW, PORTAL, Released, ask, claim, run
from tests.builders.synthetic_world import token
from wellspring.errors import NotFound, Refused, Unavailable
from wellspring.models.releases.promotion import promote_release
from wellspring.records.trust import Entry, EntryPhase, Ref
from wellspring.serving.prediction import PredictionResult
from wellspring.serving.service import PredictionService
from wellspring.trust import policy
from wellspring.trust.policy import PolicySet
from wellspring_verify import answer_signature, canonical


@pytest.fixture
def project(tmp_path: Path) -> Released:
    built = Released(tmp_path)
    built.released()
    return built


def entries_of(step: RecordingStep, action: str) -> list[Entry]:
    return [entry for entry in step.entries if entry.action == action]


class FailingStep(RecordingStep):
    """A recorder whose journal refuses predictions and feature reads."""

    def write(
        self,
        action: str,
        phase: EntryPhase,
        subject: str,
        *,
        intent: str | None,
        inputs: Iterable[Ref],
        outputs: Iterable[Ref],
        facts: dict[str, JsonValue],
    ) -> Entry:
        if action in {"predict", "read_features"}:
            raise Unavailable("the journal cannot be written", fix="free the disk")
        return super().write(action, phase, subject, intent=intent, inputs=inputs, outputs=outputs, facts=facts)


def test_prediction_is_signed_and_recorded_in_ledger(project: Released):
    prediction, entry_id = ask(project)
    (entry,) = entries_of(project.step, "predict")
    assert (entry.id, entry.subject, entry.phase) == (entry_id, prediction.subject, "done")
    response = prediction.model_dump(mode="json")
    assert entry.outputs[0].digest == answer_signature.answer_digest(response)
    assert entry.facts["principal"] == "service:portal"
    assert (prediction.freshness, prediction.age_seconds, prediction.edition) == (
        "fresh",
        3 * 3600,
        project.lake.built.id,
    )
    assert prediction.decision in {"pays", "denies"}
    assert len(prediction.reasons) >= 3
    # The request digest binds the prediction to its request.
    assert (
        response["request_digest"]
        == entry.facts["request_digest"]
        == hashlib.sha256(canonical.dumps_canonical(dict(claim(3)))).hexdigest()
    )
    # The key entry precedes the prediction, and the signature is valid under that key.
    (key,) = entries_of(project.step, "create_key")
    assert key.sequence < entry.sequence
    assert [ref.name for ref in entry.inputs if ref.name.startswith("key:")] == [key.subject]
    key_id, signature = answer_signature.read_signature(response)
    assert key.subject == f"key:{key_id}"
    assert answer_signature.verify_signature(
        base64.b64decode(str(key.facts["public_key"])), signature, answer_signature.signed_text(response)
    )


def test_rows_are_read_in_one_round_trip(project: Released):
    before = project.online.trips
    ask(project)
    assert project.online.trips == before + 1


def test_prediction_fails_without_ledger_entry(project: Released):
    step = FailingStep(clock=project.clock)
    with pytest.raises(Unavailable, match="journal"):
        ask(project, step=step)
    assert entries_of(step, "predict") == []


def test_ledger_entry_is_written_before_signature(project: Released):
    async def scenario() -> list[str]:
        service, dependencies = project.service()
        order: list[str] = []
        key = dependencies.answer_signer.current_key()
        signed, answers = key.sign_answer, dependencies.step.record_prediction
        key.sign_answer = lambda text: order.append("signature") or signed(text)  # type: ignore[method-assign]
        dependencies.step.record_prediction = lambda *a, **k: order.append("entry") or answers(*a, **k)  # type: ignore[method-assign]
        await service.predict("denials", claim(1), include_reasons=False, principal=PORTAL)
        await service.close()
        return order

    assert run(scenario()) == ["entry", "signature"]


def test_request_without_permit_is_refused(project: Released):
    project.online.rows = {}
    before = project.online.trips
    with pytest.raises(Refused, match="service:portal may not predict model:denials"):
        ask(project, policies='permit (principal == Service::"other", action, resource);')
    assert project.online.trips == before
    assert entries_of(project.step, "predict") == []
    assert [entry.phase for entry in entries_of(project.step, "authorize")] == ["refused"]


@pytest.mark.parametrize("raw", ["900-12-3456", "MBR-0001", token("member", 1)])
def test_raw_identifier_is_refused_and_not_stored(project: Released, raw: str, caplog: pytest.LogCaptureFixture):
    with pytest.raises(Refused) as error:
        ask(project, {**claim(3), "claim_id": raw})
    output = error.value.what + error.value.fix + caplog.text
    output += "".join(entry.model_dump_json() for entry in project.step.entries)
    assert raw not in output
    (entry,) = entries_of(project.step, "predict")
    assert (entry.phase, entry.subject) == ("refused", "model:denials")
    assert entry.facts["principal"] == "service:portal"


def test_unknown_entity_is_refused_and_recorded_once_a_second(project: Released):
    async def scenario(times: int) -> None:
        service, _ = project.service()
        for _ in range(times):
            with pytest.raises(Refused, match="no features for these keys in claim"):
                await service.predict(
                    "denials", {**claim(3), "claim_id": token("claim", 999)}, include_reasons=True, principal=PORTAL
                )
        project.clock.pass_(seconds=1)
        with pytest.raises(Refused):
            await service.predict(
                "denials", {**claim(3), "claim_id": token("claim", 999)}, include_reasons=True, principal=PORTAL
            )
        await service.close()

    run(scenario(4))
    assert [(entry.phase, entry.facts["suppressed_count"]) for entry in entries_of(project.step, "predict")] == [
        ("refused", 0),
        ("refused", 3),
    ]


def test_stale_prediction_is_marked_stale(project: Released):
    views = project.views
    aged = views.model_copy(
        update={"views": tuple(view.model_copy(update={"max_age_seconds": 3600}) for view in views.views)}
    )
    project.kept_views = lambda digest: aged  # type: ignore[method-assign]
    prediction, _ = ask(project)
    assert (prediction.freshness, prediction.age_seconds) == ("stale", 3 * 3600)
    (entry,) = entries_of(project.step, "predict")
    assert entry.facts["freshness"] == "stale"


def test_policy_can_forbid_stale_predictions(project: Released):
    if "freshness?" not in policy.CEDAR_SCHEMA:
        pytest.skip("the policy schema has no freshness")
    aged = project.views.model_copy(
        update={"views": tuple(view.model_copy(update={"max_age_seconds": 1}) for view in project.views.views)}
    )
    project.kept_views = lambda digest: aged  # type: ignore[method-assign]
    stale = 'forbid (principal, action == Action::"predict", resource) when { context has freshness };'
    with pytest.raises(Refused, match="may not predict"):
        ask(project, policies=f"permit (principal, action, resource);\n{stale}")
    assert [entry.phase for entry in entries_of(project.step, "predict")] == []


def test_stale_prediction_uses_policies_named_in_ledger_entry(project: Released, monkeypatch: pytest.MonkeyPatch):
    aged = project.views.model_copy(
        update={"views": tuple(view.model_copy(update={"max_age_seconds": 1}) for view in project.views.views)}
    )
    monkeypatch.setattr(project, "kept_views", lambda digest: aged)
    policy_sets = [ANYTHING, PolicySet({}), PolicySet({})]

    async def scenario() -> PredictionResult:
        service, dependencies = project.service()
        # The policies change while the request is in progress.
        monkeypatch.setattr(dependencies.policy_reloader, "current", lambda: policy_sets.pop(0))
        try:
            return await service.predict("denials", claim(3), include_reasons=False, principal=PORTAL)
        finally:
            await service.close()

    assert run(scenario()).prediction.freshness == "stale"
    (entry,) = entries_of(project.step, "predict")
    assert entry.facts["policy_digest"] == ANYTHING.digest


def test_row_of_older_edition_is_last_good_and_edition_is_recorded(project: Released):
    previous = project.lake.built
    project.lake.built = project.lake.publish(NOW - timedelta(hours=1))
    assert project.online.live is not None
    project.online.live = project.online.live._replace(edition=project.lake.built.id)
    keys = claim(3)
    row = project.lake.row(project.views.views[0], (keys["claim_id"],))
    assert row is not None
    project.online.rows = {("claim", row.key): row._replace(edition=previous.id)}
    prediction, _ = ask(project)
    assert (prediction.freshness, prediction.edition) == ("last_good", project.lake.built.id)
    (entry,) = entries_of(project.step, "predict")
    assert entry.facts["editions"] == {"claim": previous.id}


def test_unavailable_or_empty_online_store_is_unavailable(project: Released):
    project.online.broken = Unavailable("the online store does not answer", fix="start it")
    with pytest.raises(Unavailable, match="does not answer"):
        ask(project)
    project.online.broken, project.online.live = None, None
    with pytest.raises(Unavailable, match="holds no edition"):
        ask(project)
    assert entries_of(project.step, "predict") == []


def test_changed_live_pointer_applies_to_next_request(project: Released):
    async def scenario() -> tuple[str, str]:
        service, _ = project.service()
        await service.start()
        first = await service.predict("denials", claim(1), include_reasons=False, principal=PORTAL)
        second = project.train(2)
        project.approve(second)
        promote_release(second, "user:bo", project.project, step=project.step)
        after = await service.predict("denials", claim(1), include_reasons=False, principal=PORTAL)
        assert (await service.describe_model("denials", principal=PORTAL))["release"] == second.id
        await service.close()
        return first.prediction.release, after.prediction.release

    first, second = run(scenario())
    assert first != second
    assert project.releases.live_id("denials") == second


def test_features_are_returned_with_freshness_and_journaled(project: Released):
    async def scenario() -> None:
        service, _ = project.service()
        lookup = await service.get_features("provider_history", [token("provider", 1)], principal=PORTAL)
        assert lookup.values == {"denial_rate_30d": None, "claims_30d": 2}
        assert lookup.context.freshness == "fresh"
        for view, key, kind in (
            ("provider", [token("provider", 1)], NotFound),
            ("900-12-3456", [token("provider", 1)], NotFound),
            ("provider_history", [], Refused),
            ("provider_history", ["900-12-3456"], Refused),
            ("provider_history", [token("provider", 77)], Refused),
        ):
            with pytest.raises(kind) as error:
                await service.get_features(view, key, principal=PORTAL)
            assert "900-12-3456" not in error.value.what + error.value.fix
        await service.close()

    run(scenario())
    done = [entry for entry in entries_of(project.step, "read_features") if entry.phase == "done"]
    assert [(entry.subject, entry.facts["views"]) for entry in done] == [
        ("view:provider_history", {"provider_history": ["2026-10-26T12:01:00.000000Z", 1, token("provider", 1)]})
    ]
    assert "900-12-3456" not in "".join(entry.model_dump_json() for entry in project.step.entries)


def test_prediction_of_superseded_release_records_superseding_release(project: Released):
    async def scenario() -> str:
        service, _ = project.service()
        await service.start()
        second = project.released(2)
        path = project.folder / "models/manifests" / second.artifact
        path.write_bytes(path.read_bytes().replace(b"model.lgb", b"model.pkl"))
        result = await service.predict("denials", claim(1), include_reasons=False, principal=PORTAL)
        assert result.prediction.release != second.id
        assert (await service.health())["status"] == "degraded"
        await service.close()
        return second.subject

    superseding = run(scenario())
    (entry,) = entries_of(project.step, "predict")
    assert entry.facts["superseded_by"] == superseding


def test_service_starts_degraded_when_release_cannot_be_loaded(project: Released):
    (project.folder / "models/manifests" / project.releases.get(project.releases.live_id("denials")).artifact).unlink()
    project.online.broken = Unavailable("the online store does not answer", fix="start it")

    async def scenario() -> dict[str, Any]:
        service, _ = project.service()
        await service.start()
        health = await service.health()
        with pytest.raises(NotFound):
            await service.predict("denials", claim(1), include_reasons=False, principal=PORTAL)
        await service.close()
        return health

    assert run(scenario())["status"] == "degraded"


def test_a_release_reads_the_versions_of_the_views_that_it_pins(project: Released):
    live = project.online.live
    assert live is not None
    first, second = project.views.views
    newer = project.views.model_copy(update={"views": (first.model_copy(update={"version": "a" * 12}), second)})
    project.online.live = live._replace(views="0" * 64)

    async def scenario() -> None:
        _, dependencies = project.service()
        views = {"0" * 64: newer.model_copy(update={"digest": "0" * 64}), project.views.digest: project.views}
        service = PredictionService(replace(dependencies, load_views=views.__getitem__))
        # The newest transform is online, and the rows of the release's own versions are not.
        with pytest.raises(Unavailable, match="no edition with these versions of the views"):
            await service.predict("denials", claim(1), include_reasons=False, principal=PORTAL)
        project.online.markers[project.views.digest] = live
        answer = await service.predict("denials", claim(1), include_reasons=False, principal=PORTAL)
        assert answer.prediction.edition == live.edition
        assert (await service.describe_model("denials", principal=PORTAL))["edition"] == live.edition
        await service.get_features("claim", [claim(1)["claim_id"]], principal=PORTAL)
        await service.close()

    run(scenario())


def test_concurrent_predictions_have_one_entry_per_prediction(project: Released):
    async def scenario() -> set[str]:
        service, _ = project.service()
        results = await asyncio.gather(
            *(
                service.predict("denials", claim(n % 40), include_reasons=n % 2 == 0, principal=PORTAL)
                for n in range(60)
            )
        )
        await service.close()
        return {result.prediction.subject for result in results}

    subjects = run(scenario())
    assert len(subjects) == 60
    assert {entry.subject for entry in entries_of(project.step, "predict")} == subjects
