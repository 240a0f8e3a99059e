"""Requests become calls, answers become frames; what nobody is granted is refused to everybody, and recorded."""

from __future__ import annotations

import json

import pytest

from tests.steps import RecordingStep
from tests.trust.vault.test_frames import DROP, NOON
from wellspring.enclave.operations import GRANTS, intake_door, vault_door
from wellspring.errors import Refused
from wellspring.records.data import Intake, Listed, QuarantinedRow
from wellspring.records.verdict import Verdict
from wellspring.trust.vault import frames
from wellspring.trust.vault.port import Progress


class Canned:
    """A Vault that answers the same always, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []
        self.stopped = Intake(DROP, Verdict(subject=DROP.subject, outcome="fail"), 3, 0, 0, 0, (), "", None)

    def listing(self, source: str) -> tuple[Listed, ...]:
        self.asked.append(("listing", source))
        return (Listed(source=source, name="a.csv", size=4, modified=NOON, state="new"),)

    def intake(self, source: str, name: str, contract_digest: str, *, progress: Progress | None = None) -> Intake:
        self.asked.append(("intake", source, name, contract_digest))
        return self.stopped

    def replay(self, drop: str, contract_digest: str, *, progress: Progress | None = None) -> Intake:
        self.asked.append(("replay", drop, contract_digest))
        return self.stopped

    def settled(self, drop: str, part: int) -> None:
        self.asked.append(("settled", drop, part))

    def quarantined(self, drop: str | None = None) -> tuple[QuarantinedRow, ...]:
        self.asked.append(("quarantined", drop))
        return (QuarantinedRow(drop="d", row_number=3, reasons=(), values={"x": "***"}, waiting_until=NOON),)


def quiet(stage: str, done: int, total: int) -> None:
    return None


REQUESTS: list[tuple[frames.Message, tuple[object, ...]]] = [
    ({"op": "listing", "source": "s"}, ("listing", "s")),
    ({"op": "intake", "source": "s", "name": "n", "contract_digest": "c"}, ("intake", "s", "n", "c")),
    ({"op": "replay", "drop": "d", "contract_digest": "c"}, ("replay", "d", "c")),
    ({"op": "settled", "drop": "d", "part": 2}, ("settled", "d", 2)),
    ({"op": "quarantined", "drop": None}, ("quarantined", None)),
    ({"op": "quarantined", "drop": "d"}, ("quarantined", "d")),
]


@pytest.mark.parametrize(("request_", "call"), REQUESTS)
def test_a_request_becomes_its_call(request_: frames.Message, call: tuple[object, ...]) -> None:
    vault = Canned()
    value, _ = intake_door(vault)[str(request_["op"])](request_, quiet)
    assert vault.asked == [call]
    json.dumps(value)


@pytest.mark.parametrize(
    "request_",
    [
        {"op": "settled", "drop": "d", "part": "2"},
        {"op": "settled", "drop": "d", "part": True},
        {"op": "settled", "drop": "d", "part": -1},
        {"op": "settled", "drop": "d", "part": 1 << 40},
        {"op": "intake", "source": "s", "name": 7, "contract_digest": "c"},
        {"op": "quarantined", "drop": ["d"]},
    ],
)
def test_a_field_of_another_kind_is_refused(request_: frames.Message) -> None:
    vault = Canned()
    with pytest.raises(Refused):
        intake_door(vault)[str(request_["op"])](request_, quiet)
    assert vault.asked == []


def test_whoever_waits_for_the_enclave_may_ping() -> None:
    assert intake_door(Canned())["ping"]({"op": "ping"}, quiet) == ("pong", b"")


@pytest.mark.parametrize("grant", GRANTS)
def test_a_grant_is_refused_and_recorded(grant: str) -> None:
    step = RecordingStep()
    with pytest.raises(Refused, match="not before break-glass is built"):
        vault_door(step)[grant]({"op": grant, "domain": "ssn", "value": "900-12-3456"}, quiet)
    (entry,) = step.entries
    assert (entry.action, entry.phase, entry.subject) == (grant, "refused", "server:vault")
    assert "900-12-3456" not in entry.model_dump_json()


def test_no_door_offers_what_the_other_does() -> None:
    assert not set(intake_door(Canned())) & set(vault_door(RecordingStep()))
