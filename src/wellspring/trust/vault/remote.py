"""Call the enclave over a Unix socket, with one connection per call."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, BinaryIO, cast

from pydantic import JsonValue

from wellspring.errors import Refused, Unavailable, decode_error
from wellspring.records.contracts import ContractReview
from wellspring.records.ingestion import AdmissionResult, PersonCounts, QuarantineCount, QuarantinedRow, SourceFile
from wellspring.records.user_notes import UserNote
from wellspring.runtime.unix_socket import ServerSocket, connect_unix_socket
from wellspring.trust.vault import protocol
from wellspring.trust.vault.port import ProgressCallback

if TYPE_CHECKING:
    import pyarrow as pa

_CONNECT_TIMEOUT = 5.0
_IDLE_TIMEOUT = 900.0


class EnclaveClient:
    """A client of IntakeService (at intake.sock) and of `tokenize_values` (at vault.sock).

    idle_timeout: seconds without a frame from the enclave before the call fails. current_trace:
    returns the trace that the enclave continues; without it, each call has a trace of its own.
    """

    def __init__(
        self,
        socket: ServerSocket,
        *,
        idle_timeout: float = _IDLE_TIMEOUT,
        current_trace: Callable[[], str] | None = None,
    ) -> None:
        self._socket = socket
        self._idle_timeout = idle_timeout
        self._current_trace = current_trace

    def list_files(self, source: str) -> tuple[SourceFile, ...]:
        value, _ = self._call({"op": "list_files", "source": source})
        return tuple(SourceFile.model_validate(file) for file in cast(list[JsonValue], value))

    def read_file_keys(
        self, source: str, name: str, contract_digest: str, *, progress: ProgressCallback | None = None
    ) -> pa.RecordBatchReader | None:
        request = _file_request("read_file_keys", source, name, contract_digest)
        return self._call(request, progress)[1]

    def ingest_file(
        self,
        source: str,
        name: str,
        contract_digest: str,
        *,
        known_rows: pa.Table | None = None,
        progress: ProgressCallback | None = None,
    ) -> AdmissionResult:
        request = _file_request("ingest_file", source, name, contract_digest)
        return self._request_admission(request, known_rows, progress)

    def read_quarantined_keys(
        self, drop: str, contract_digest: str, *, progress: ProgressCallback | None = None
    ) -> pa.RecordBatchReader | None:
        request: protocol.FrameMessage = {
            "op": "read_quarantined_keys",
            "drop": drop,
            "contract_digest": contract_digest,
        }
        return self._call(request, progress)[1]

    def replay_quarantined(
        self,
        drop: str,
        contract_digest: str,
        *,
        known_rows: pa.Table | None = None,
        progress: ProgressCallback | None = None,
    ) -> AdmissionResult:
        request: protocol.FrameMessage = {"op": "replay_quarantined", "drop": drop, "contract_digest": contract_digest}
        return self._request_admission(request, known_rows, progress)

    def confirm_published(self, drop: str, replay_number: int) -> None:
        self._call({"op": "confirm_published", "drop": drop, "replay_number": replay_number})

    def review_contract(self, digest: str) -> ContractReview:
        return ContractReview.model_validate(self._call({"op": "review_contract", "digest": digest})[0])

    def accept_contract(self, release: str) -> None:
        self._call({"op": "accept_contract", "release": release})

    def withdraw_drop(self, drop: str, note: UserNote, reason: str) -> None:
        self._call(_decision_request("withdraw_drop", drop, note, reason))

    def check_rejudge(self, drop: str, contract_digest: str) -> None:
        self._call({"op": "check_rejudge", "drop": drop, "contract_digest": contract_digest})

    def rejudge_drop(self, drop: str, contract_digest: str, note: UserNote | None, reason: str) -> None:
        self._call({**_decision_request("rejudge_drop", drop, note, reason), "contract_digest": contract_digest})

    def discard_quarantined(self, drop: str, note: UserNote, reason: str) -> int:
        return cast(int, self._call(_decision_request("discard_quarantined", drop, note, reason))[0])

    def count_quarantined(self, drop: str | None = None) -> tuple[QuarantineCount, ...]:
        value, _ = self._call({"op": "count_quarantined", "drop": drop})
        return tuple(QuarantineCount.model_validate(count) for count in cast(list[JsonValue], value))

    def count_persons(self) -> PersonCounts:
        return PersonCounts.model_validate(self._call({"op": "count_persons"})[0])

    def backfill_drop(self, drop: str, *, progress: ProgressCallback | None = None) -> int:
        return cast(int, self._call({"op": "backfill_drop", "drop": drop}, progress)[0])

    def list_quarantined(self, drop: str | None = None) -> tuple[QuarantinedRow, ...]:
        value, _ = self._call({"op": "list_quarantined", "drop": drop})
        return tuple(QuarantinedRow.model_validate(row) for row in cast(list[JsonValue], value))

    def store_credentials(self, source: str, values: Mapping[str, str]) -> tuple[str, ...]:
        """Replace the credentials of a source, and return the names of their keys; for the owner's command line."""
        requested_values: dict[str, JsonValue] = {**values}
        value, _ = self._call({"op": "store_credentials", "source": source, "values": requested_values})
        return tuple(str(key) for key in cast(list[JsonValue], value))

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

    def _request_admission(
        self, request: protocol.FrameMessage, known_rows: pa.Table | None, progress: ProgressCallback | None
    ) -> AdmissionResult:
        """Send a request with the rows of earlier drops, which are spooled to a file: there can be millions."""
        if known_rows is None:
            return protocol.decode_admission(*self._call(request, progress))
        with tempfile.TemporaryFile() as spool:
            payload = protocol.spool_rows(known_rows.to_reader(), spool)
            return protocol.decode_admission(*self._call(request, progress, payload=payload))

    def _call(
        self,
        request: protocol.FrameMessage,
        progress: ProgressCallback | None = None,
        *,
        payload: BinaryIO | None = None,
    ) -> tuple[JsonValue, pa.RecordBatchReader | None]:
        """Send a request, with the rest of a file as its Arrow bytes, and wait for the response.

        Rows are received while the caller reads them; the connection ends with the last row, or with the reader.
        """
        if self._current_trace is not None:
            request = {**request, "trace": self._current_trace()}
        try:
            connection = connect_unix_socket(self._socket, _CONNECT_TIMEOUT)
        except PermissionError:
            raise Refused(
                f"this user may not use the enclave's socket {self._socket.path.name}", fix=_ASK_OWNER_FIX
            ) from None
        except OSError:
            raise Unavailable("the enclave does not respond", fix="run `wellspring up`") from None
        with ExitStack() as resources:
            resources.enter_context(connection)
            connection.settimeout(self._idle_timeout)
            try:
                protocol.send_frame(connection, request, payload)
            except (BrokenPipeError, ConnectionResetError):
                # The enclave refused the caller: its error frame has the reason.
                pass
            except OSError:
                raise Unavailable("the enclave does not respond", fix="run `wellspring up`") from None
            while True:
                message = protocol.receive_frame(connection, limit=protocol.REPLY_LIMIT)
                if message is None:
                    raise Unavailable(
                        "the enclave closed the connection without a response",
                        fix="see `wellspring status` and the enclave's log, then try again",
                    )
                if message["kind"] == "error":
                    raise decode_error(message)
                if message["kind"] == "done":
                    if not (length := protocol.payload_length(message)):
                        return message["value"], None
                    resources.pop_all()
                    rows = protocol.PayloadStream(connection, length, owns_connection=True)
                    return message["value"], protocol.receive_rows(rows)
                if progress is not None:
                    progress(str(message["stage"]), cast(int, message["done"]), cast(int, message["total"]))


def _file_request(operation: str, source: str, name: str, contract_digest: str) -> protocol.FrameMessage:
    return {"op": operation, "source": source, "name": name, "contract_digest": contract_digest}


def _decision_request(operation: str, drop: str, note: UserNote | None, reason: str) -> protocol.FrameMessage:
    signed = None if note is None else note.model_dump(mode="json")
    return {"op": operation, "drop": drop, "note": signed, "reason": reason}


_ASK_OWNER_FIX = "run the command as the owner of the project"
