"""The enclave's doors, seen from outside: one connection a call, over a Unix socket."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from pydantic import JsonValue

from wellspring.errors import Refused, Unavailable
from wellspring.records.data import AdmissionResult, QuarantinedRow, SourceFile
from wellspring.trust.vault import protocol
from wellspring.trust.vault.port import ProgressCallback

_CONNECT_TIMEOUT = 5.0
_IDLE_TIMEOUT = 900.0


class EnclaveClient:
    """Implements Vault at intake.sock, and the tokenizing half of Grants at vault.sock: which one, `path` says.

    silence: seconds without a word from the enclave after which it counts as gone.
    """

    def __init__(self, path: Path, *, idle_timeout: float = _IDLE_TIMEOUT) -> None:
        self._path = path
        self._idle_timeout = idle_timeout

    def list_files(self, source: str) -> tuple[SourceFile, ...]:
        value, _ = self._call({"op": "list_files", "source": source})
        return tuple(SourceFile.model_validate(file) for file in cast(list[JsonValue], value))

    def ingest_file(
        self, source: str, name: str, contract_digest: str, *, progress: ProgressCallback | None = None
    ) -> AdmissionResult:
        request: protocol.FrameMessage = {
            "op": "ingest_file",
            "source": source,
            "name": name,
            "contract_digest": contract_digest,
        }
        return protocol.decode_admission(*self._call(request, progress))

    def replay_quarantined(
        self, drop: str, contract_digest: str, *, progress: ProgressCallback | None = None
    ) -> AdmissionResult:
        request: protocol.FrameMessage = {"op": "replay_quarantined", "drop": drop, "contract_digest": contract_digest}
        return protocol.decode_admission(*self._call(request, progress))

    def confirm_published(self, drop: str, replay_number: int) -> None:
        self._call({"op": "confirm_published", "drop": drop, "replay_number": replay_number})

    def list_quarantined(self, drop: str | None = None) -> tuple[QuarantinedRow, ...]:
        value, _ = self._call({"op": "list_quarantined", "drop": drop})
        return tuple(QuarantinedRow.model_validate(row) for row in cast(list[JsonValue], value))

    def tokenize_values(
        self, domain: str, values: Sequence[str], *, purpose: str, conversation_id: str | None = None
    ) -> tuple[str, ...]:
        requested_values: list[JsonValue] = [*values]
        value, _ = self._call(
            {
                "op": "tokenize",
                "domain": domain,
                "values": requested_values,
                "purpose": purpose,
                "conversation_id": conversation_id,
            }
        )
        return tuple(str(token) for token in cast(list[JsonValue], value))

    def _call(
        self, request: protocol.FrameMessage, progress: ProgressCallback | None = None
    ) -> tuple[JsonValue, bytearray]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_CONNECT_TIMEOUT)
            try:
                connection.connect(str(self._path))
                connection.settimeout(self._idle_timeout)
                protocol.send_frame(connection, request)
            except PermissionError:
                raise Refused(
                    f"the enclave's door {self._path.name} is closed to this user", fix=_ASK_OWNER_FIX
                ) from None
            except (BrokenPipeError, ConnectionResetError):
                # Refused at the door: why is what it said before it closed.
                pass
            except OSError:
                raise Unavailable("the enclave does not answer", fix="run `wellspring up`") from None
            while True:
                message = protocol.receive_frame(connection, limit=protocol.REPLY_LIMIT)
                if message is None:
                    raise Unavailable(
                        "the enclave closed the connection without an answer",
                        fix="see `wellspring status` and the enclave's log, then try again",
                    )
                if message["kind"] == "error":
                    raise protocol.decode_error(message)
                if message["kind"] == "done":
                    return message["value"], protocol.receive_payload(connection, cast(int, message["arrow_bytes"]))
                if progress is not None:
                    progress(str(message["stage"]), cast(int, message["done"]), cast(int, message["total"]))


_ASK_OWNER_FIX = "run the command as the owner of the project"
