"""What may be asked at each door: requests are read here, and answers written, for whoever was let in."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue

from wellspring.enclave.doors import Operation, text
from wellspring.errors import Refused
from wellspring.records.observe import Step
from wellspring.trust.vault import frames
from wellspring.trust.vault.port import Progress, Vault

GRANTS = ("reveal", "erase")

_Answer = tuple[JsonValue, bytes | memoryview]


def intake_door(vault: Vault) -> Mapping[str, Operation]:
    """Offer the Vault, and `ping` to those who wait for it."""

    def ping(_request: frames.Message, _progress: Progress) -> _Answer:
        return "pong", b""

    def listing(request: frames.Message, _progress: Progress) -> _Answer:
        return [file.model_dump(mode="json") for file in vault.listing(text(request, "source"))], b""

    def intake(request: frames.Message, progress: Progress) -> _Answer:
        source, name, digest = (text(request, field) for field in ("source", "name", "contract_digest"))
        return frames.intake_out(vault.intake(source, name, digest, progress=progress))

    def replay(request: frames.Message, progress: Progress) -> _Answer:
        drop, digest = text(request, "drop"), text(request, "contract_digest")
        return frames.intake_out(vault.replay(drop, digest, progress=progress))

    def settled(request: frames.Message, _progress: Progress) -> _Answer:
        part = request.get("part")
        if not isinstance(part, int) or isinstance(part, bool) or not 0 <= part < 1 << 31:
            raise Refused(
                "the request has no whole number 'part'", fix="name the part that an intake or a replay named"
            )
        vault.settled(text(request, "drop"), part)
        return None, b""

    def quarantined(request: frames.Message, _progress: Progress) -> _Answer:
        drop = None if request.get("drop") is None else text(request, "drop")
        return [row.model_dump(mode="json") for row in vault.quarantined(drop)], b""

    return {
        "ping": ping,
        "listing": listing,
        "intake": intake,
        "replay": replay,
        "settled": settled,
        "quarantined": quarantined,
    }


def vault_door(step: Step) -> Mapping[str, Operation]:
    """Offer what nobody is granted: each is refused, and the refusal recorded, until break-glass is built."""

    def refusing(name: str) -> Operation:
        def refuse(_request: frames.Message, _progress: Progress) -> _Answer:
            with step(name, "server:vault"):
                raise Refused(
                    f"{name} is refused to everybody: not before break-glass is built",
                    fix="work with the tokens that you have",
                )

        return refuse

    return {name: refusing(name) for name in GRANTS}
