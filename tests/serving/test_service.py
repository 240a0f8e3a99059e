"""Policy before rows, a durable line before the answer, and nothing stale or missing in silence."""

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
from tests.builders.released_model import ANYTHING, NOW, PORTAL, Released, ask, claim, recipe, run
from tests.builders.synthetic_world import token
from wellspring.errors import NotFound, Refused, Unavailable
from wellspring.models.releases.promotion import promote_release
from wellspring.records.trust import Entry, EntryPhase, Ref
from wellspring.serving.service import PredictionResult, PredictionService, ServiceDependencies
from wellspring.trust import policy
from wellspring.trust.policy import PolicySet
from wellspring_verify import answer_signature, canonical


@pytest.fixture
def house(tmp_path: Path) -> Released:
    made = Released(tmp_path)
    made.released()
    return made


def told(step: RecordingStep, action: str) -> list[Entry]:
    return [entry for entry in step.entries if entry.action == action]


class Failing(RecordingStep):
    """A step whose journal takes no answer."""

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


def test_an_answer_is_whole_promised_and_in_the_ledger(house: Released):
    made, entry_id = ask(house)
    (entry,) = told(house.step, "predict")
    assert (entry.id, entry.subject, entry.phase) == (entry_id, made.subject, "done")
    given = made.model_dump(mode="json")
    assert entry.outputs[0].digest == answer_signature.answer_digest(given)
    assert entry.facts["principal"] == "service:portal"
    assert (made.freshness, made.age_seconds, made.edition) == ("fresh", 3 * 3600, house.lake.built.id)
    assert made.decision in recipe().labels
    assert len(made.reasons) >= 3
    # Whoever holds it cannot show it as the answer about something else.
    assert (
        given["request_digest"]
        == entry.facts["request_digest"]
        == hashlib.sha256(canonical.dumps_canonical(dict(claim(3)))).hexdigest()
    )
    # The key was made known first, and the promise holds under it.
    (key,) = told(house.step, "create_key")
    assert key.sequence < entry.sequence
    assert [item.name for item in entry.inputs if item.name.startswith("key:")] == [key.subject]
    key_id, signature = answer_signature.read_signature(given)
    assert key.subject == f"key:{key_id}"
    assert answer_signature.verify_signature(
        base64.b64decode(str(key.facts["public_key"])), signature, answer_signature.signed_text(given)
    )


def test_all_rows_are_read_in_one_round_trip(house: Released):
    before = house.online.trips
    ask(house)
    assert house.online.trips == before + 1


def test_no_answer_without_its_line(house: Released):
    step = Failing(clock=house.clock)
    with pytest.raises(Unavailable, match="journal"):
        ask(house, step=step)
    assert told(step, "predict") == []


def test_the_line_is_written_before_anything_is_promised(house: Released):
    async def asked() -> list[str]:
        desk, ports = house.desk()
        order: list[str] = []
        key = ports.answer_signer.current_key()
        signed, answers = key.sign_answer, ports.step.record_answer
        key.sign_answer = lambda text: order.append("promise") or signed(text)  # type: ignore[method-assign]
        ports.step.record_answer = lambda *a, **k: order.append("line") or answers(*a, **k)  # type: ignore[method-assign]
        await desk.predict("denials", claim(1), include_reasons=False, principal=PORTAL)
        await desk.close()
        return order

    assert run(asked()) == ["line", "promise"]


def test_nothing_is_answered_unless_a_policy_permits_it(house: Released):
    house.online.rows = {}
    before = house.online.trips
    with pytest.raises(Refused, match="service:portal may not predict model:denials"):
        ask(house, policies='permit (principal == Service::"other", action, resource);')
    assert house.online.trips == before
    assert told(house.step, "predict") == []
    assert [item.phase for item in told(house.step, "authorize")] == ["refused"]


@pytest.mark.parametrize("raw", ["900-12-3456", "MBR-0001", token("member", 1)])
def test_a_raw_identifier_is_refused_and_nowhere_kept(house: Released, raw: str, caplog: pytest.LogCaptureFixture):
    with pytest.raises(Refused) as wrong:
        ask(house, {**claim(3), "claim_id": raw})
    said = wrong.value.what + wrong.value.fix + caplog.text
    said += "".join(item.model_dump_json() for item in house.step.entries)
    assert raw not in said
    (entry,) = told(house.step, "predict")
    assert (entry.phase, entry.subject) == ("refused", "model:denials")
    assert entry.facts["principal"] == "service:portal"


def test_a_thing_that_is_not_known_is_refused_and_recorded_once_a_second(house: Released):
    async def asked(times: int) -> None:
        desk, _ = house.desk()
        for _ in range(times):
            with pytest.raises(Refused, match="nothing is known of this in claim"):
                await desk.predict(
                    "denials", {**claim(3), "claim_id": token("claim", 999)}, include_reasons=True, principal=PORTAL
                )
        house.clock.pass_(seconds=1)
        with pytest.raises(Refused):
            await desk.predict(
                "denials", {**claim(3), "claim_id": token("claim", 999)}, include_reasons=True, principal=PORTAL
            )
        await desk.close()

    run(asked(4))
    assert [(item.phase, item.facts["suppressed_count"]) for item in told(house.step, "predict")] == [
        ("refused", 0),
        ("refused", 3),
    ]


def test_what_is_stale_is_answered_and_said(house: Released):
    views = house.views
    aged = views.model_copy(
        update={"views": tuple(view.model_copy(update={"max_age_seconds": 3600}) for view in views.views)}
    )
    house.kept_views = lambda digest: aged  # type: ignore[method-assign]
    made, _ = ask(house)
    assert (made.freshness, made.age_seconds) == ("stale", 3 * 3600)
    (entry,) = told(house.step, "predict")
    assert entry.facts["freshness"] == "stale"


def test_a_policy_may_forbid_to_answer_from_what_is_stale(house: Released):
    if "freshness?" not in policy.CEDAR_SCHEMA:
        pytest.skip("the schema of the policies does not know the state of an answer")
    aged = house.views.model_copy(
        update={"views": tuple(view.model_copy(update={"max_age_seconds": 1}) for view in house.views.views)}
    )
    house.kept_views = lambda digest: aged  # type: ignore[method-assign]
    stale = 'forbid (principal, action == Action::"predict", resource) when { context has state };'
    with pytest.raises(Refused, match="may not predict"):
        ask(house, policies=f"permit (principal, action, resource);\n{stale}")
    assert [item.phase for item in told(house.step, "predict")] == []


def test_a_stale_answer_is_judged_by_the_policies_that_its_line_names(house: Released, monkeypatch: pytest.MonkeyPatch):
    aged = house.views.model_copy(
        update={"views": tuple(view.model_copy(update={"max_age_seconds": 1}) for view in house.views.views)}
    )
    monkeypatch.setattr(house, "kept_views", lambda digest: aged)
    waiting = [ANYTHING, PolicySet({}), PolicySet({})]

    async def asked() -> PredictionResult:
        desk, ports = house.desk()
        # They change while the question is under way.
        monkeypatch.setattr(ports.policy_reloader, "current", lambda: waiting.pop(0))
        try:
            return await desk.predict("denials", claim(3), include_reasons=False, principal=PORTAL)
        finally:
            await desk.close()

    assert run(asked()).prediction.freshness == "stale"
    (entry,) = told(house.step, "predict")
    assert entry.facts["policy_digest"] == ANYTHING.digest


def test_a_row_that_only_an_older_edition_has_is_last_good_and_its_edition_is_told(house: Released):
    old = house.lake.built
    house.lake.built = house.lake.publish(NOW - timedelta(hours=1))
    assert house.online.live is not None
    house.online.live = house.online.live._replace(edition=house.lake.built.id)
    given = claim(3)
    row = house.lake.row(house.views.views[0], (given["claim_id"],))
    assert row is not None
    house.online.rows = {("claim", row.key): row._replace(edition=old.id)}
    made, _ = ask(house)
    assert (made.freshness, made.edition) == ("last_good", house.lake.built.id)
    (entry,) = told(house.step, "predict")
    assert entry.facts["editions"] == {"claim": old.id}


def test_a_store_that_does_not_answer_or_is_empty_answers_nothing(house: Released):
    house.online.broken = Unavailable("the online store does not answer", fix="start it")
    with pytest.raises(Unavailable, match="does not answer"):
        ask(house)
    house.online.broken, house.online.live = None, None
    with pytest.raises(Unavailable, match="no edition"):
        ask(house)
    assert told(house.step, "predict") == []


def test_a_moved_pointer_answers_the_next_question(house: Released):
    async def asked() -> tuple[str, str]:
        desk, _ = house.desk()
        await desk.start()
        first = await desk.predict("denials", claim(1), include_reasons=False, principal=PORTAL)
        second = house.train(2)
        house.approve(second)
        promote_release(second, "user:bo", house.house, step=house.step)
        after = await desk.predict("denials", claim(1), include_reasons=False, principal=PORTAL)
        assert (await desk.describe_model("denials", principal=PORTAL))["release"] == second.id
        await desk.close()
        return first.prediction.release, after.prediction.release

    first, second = run(asked())
    assert first != second
    assert house.releases.live_id("denials") == second


def test_features_are_told_with_their_state_and_journalled(house: Released):
    async def asked() -> None:
        desk, _ = house.desk()
        found = await desk.get_features("provider_history", [token("provider", 1)], principal=PORTAL)
        assert found.values == {"denial_rate_30d": None, "claims_30d": 2}
        assert found.context.freshness == "fresh"
        for view, key, kind in (
            ("provider", [token("provider", 1)], NotFound),
            ("900-12-3456", [token("provider", 1)], NotFound),
            ("provider_history", [], Refused),
            ("provider_history", ["900-12-3456"], Refused),
            ("provider_history", [token("provider", 77)], Refused),
        ):
            with pytest.raises(kind) as wrong:
                await desk.get_features(view, key, principal=PORTAL)
            assert "900-12-3456" not in wrong.value.what + wrong.value.fix
        await desk.close()

    run(asked())
    done = [item for item in told(house.step, "read_features") if item.phase == "done"]
    assert [(item.subject, item.facts["views"]) for item in done] == [
        ("view:provider_history", {"provider_history": ["2026-10-26T12:01:00.000000Z", 1, token("provider", 1)]})
    ]
    assert "900-12-3456" not in "".join(entry.model_dump_json() for entry in house.step.entries)


def test_an_answer_of_a_release_that_should_have_been_replaced_says_so_in_its_line(house: Released):
    async def asked() -> str:
        desk, _ = house.desk()
        await desk.start()
        second = house.released(2)
        path = house.folder / "models/manifests" / second.artifact
        path.write_bytes(path.read_bytes().replace(b"model.lgb", b"model.pkl"))
        made = await desk.predict("denials", claim(1), include_reasons=False, principal=PORTAL)
        assert made.prediction.release != second.id
        assert desk.health()["status"] == "degraded"
        await desk.close()
        return second.subject

    replaced = run(asked())
    (entry,) = told(house.step, "predict")
    assert entry.facts["superseded_by"] == replaced


def test_a_desk_begins_also_when_a_release_cannot_be_loaded_and_says_so(house: Released):
    (house.folder / "models/manifests" / house.releases.get(house.releases.live_id("denials")).artifact).unlink()
    house.online.broken = Unavailable("the online store does not answer", fix="start it")

    async def asked() -> dict[str, Any]:
        desk, _ = house.desk()
        await desk.start()
        told = desk.health()
        with pytest.raises(NotFound):
            await desk.predict("denials", claim(1), include_reasons=False, principal=PORTAL)
        await desk.close()
        return told

    assert run(asked())["status"] == "degraded"


def test_what_is_online_under_a_new_definition_is_not_answered_from(house: Released):
    assert house.online.live is not None
    house.online.live = house.online.live._replace(views="0" * 64)
    one, two = house.views.views
    anew = house.views.model_copy(update={"views": (one.model_copy(update={"table": "other"}), two)})

    async def asked() -> None:
        _, ports = house.desk()
        both = {"0" * 64: anew, house.views.digest: house.views}
        made: ServiceDependencies = replace(ports, views=both.__getitem__)
        desk = PredictionService(made)
        with pytest.raises(Unavailable, match="defined anew"):
            await desk.predict("denials", claim(1), include_reasons=False, principal=PORTAL)
        await desk.close()

    run(asked())


def test_what_is_still_coming_online_under_a_new_definition_is_not_answered_from(house: Released):
    assert house.online.live is not None
    told = house.online.live
    one, two = house.views.views
    anew = house.views.model_copy(update={"views": (one.model_copy(update={"table": "other"}), two)})

    async def asked() -> None:
        _, ports = house.desk()
        both = {"0" * 64: anew, house.views.digest: house.views}
        desk = PredictionService(replace(ports, views=both.__getitem__))
        await desk.predict("denials", claim(1), include_reasons=False, principal=PORTAL)
        # The marker has not moved yet, and rows of the new definition lie there already.
        house.online.live = told._replace(pending_views=(house.views.digest, "0" * 64))
        for _ in range(2):
            with pytest.raises(Unavailable, match="defined anew"):
                await desk.predict("denials", claim(1), include_reasons=False, principal=PORTAL)
        with pytest.raises(Unavailable, match="claim is being defined anew"):
            await desk.get_features("claim", [claim(1)["claim_id"]], principal=PORTAL)
        await desk.get_features("provider_history", [token("provider", 1)], principal=PORTAL)
        house.online.live = told._replace(pending_views=(house.views.digest,))
        await desk.predict("denials", claim(1), include_reasons=False, principal=PORTAL)
        await desk.get_features("claim", [claim(1)["claim_id"]], principal=PORTAL)
        await desk.close()

    run(asked())


def test_many_at_once_have_a_line_each(house: Released):
    async def asked() -> set[str]:
        desk, _ = house.desk()
        found = await asyncio.gather(
            *(desk.predict("denials", claim(n % 40), include_reasons=n % 2 == 0, principal=PORTAL) for n in range(60))
        )
        await desk.close()
        return {item.prediction.subject for item in found}

    subjects = run(asked())
    assert len(subjects) == 60
    assert {item.subject for item in told(house.step, "predict")} == subjects
