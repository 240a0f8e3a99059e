"""The enclave's doors, seen from outside: one connection a call, over a Unix socket."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from pydantic import JsonValue

from wellspring.errors import Refused, Unavailable
from wellspring.records.data import Intake, Listed, QuarantinedRow
from wellspring.trust.vault import frames
from wellspring.trust.vault.port import Progress

_CONNECT = 5.0
_SILENCE = 900.0


class RemoteVault:
    """Implements Vault at intake.sock, and the tokenizing half of Grants at vault.sock: which one, `path` says.

    silence: seconds without a word from the enclave after which it counts as gone.
    """

    def __init__(self, path: Path, *, silence: float = _SILENCE) -> None:
        self._path = path
        self._silence = silence

    def listing(self, source: str) -> tuple[Listed, ...]:
        value, _ = self._ask({"op": "listing", "source": source})
        return tuple(Listed.model_validate(file) for file in cast(list[JsonValue], value))

    def intake(self, source: str, name: str, contract_digest: str, *, progress: Progress | None = None) -> Intake:
        request: frames.Message = {"op": "intake", "source": source, "name": name, "contract_digest": contract_digest}
        return frames.intake_in(*self._ask(request, progress))

    def replay(self, drop: str, contract_digest: str, *, progress: Progress | None = None) -> Intake:
        request: frames.Message = {"op": "replay", "drop": drop, "contract_digest": contract_digest}
        return frames.intake_in(*self._ask(request, progress))

    def settled(self, drop: str, part: int) -> None:
        self._ask({"op": "settled", "drop": drop, "part": part})

    def quarantined(self, drop: str | None = None) -> tuple[QuarantinedRow, ...]:
        value, _ = self._ask({"op": "quarantined", "drop": drop})
        return tuple(QuarantinedRow.model_validate(row) for row in cast(list[JsonValue], value))

    def tokenize(
        self, domain: str, values: Sequence[str], *, purpose: str, grant: str | None = None
    ) -> tuple[str, ...]:
        asked: list[JsonValue] = [*values]
        value, _ = self._ask({"op": "tokenize", "domain": domain, "values": asked, "purpose": purpose, "grant": grant})
        return tuple(str(token) for token in cast(list[JsonValue], value))

    def _ask(self, request: frames.Message, progress: Progress | None = None) -> tuple[JsonValue, bytearray]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_CONNECT)
            try:
                connection.connect(str(self._path))
                connection.settimeout(self._silence)
                frames.send(connection, request)
            except PermissionError:
                raise Refused(f"the enclave's door {self._path.name} is closed to this user", fix=_ASK) from None
            except (BrokenPipeError, ConnectionResetError):
                # Refused at the door: why is what it said before it closed.
                pass
            except OSError:
                raise Unavailable("the enclave does not answer", fix="run `wellspring up`") from None
            while True:
                message = frames.receive(connection, limit=frames.REPLY_LIMIT)
                if message is None:
                    raise Unavailable(
                        "the enclave closed the connection without an answer",
                        fix="see `wellspring status` and the enclave's log, then try again",
                    )
                if message["kind"] == "error":
                    raise frames.error_in(message)
                if message["kind"] == "done":
                    return message["value"], frames.receive_bytes(connection, cast(int, message["arrow"]))
                if progress is not None:
                    progress(str(message["stage"]), cast(int, message["done"]), cast(int, message["total"]))


_ASK = "run the command as the owner of the project"
