"""Request handlers of the two sockets: decode a request, call the service, encode the response."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, BinaryIO

from pydantic import JsonValue

from wellspring.enclave.socket_server import RequestHandler, RowHandler, text_field
from wellspring.errors import Refused
from wellspring.records.observe import Recorder
from wellspring.trust import user_notes
from wellspring.trust.vault import protocol
from wellspring.trust.vault.port import IntakeService, ProgressCallback

if TYPE_CHECKING:
    import pyarrow as pa

BREAK_GLASS_OPERATIONS = ("detokenize", "erase_identifier")

_Response = tuple[JsonValue, BinaryIO | None]


def intake_handlers(intake_service: IntakeService, open_spool: Callable[[], BinaryIO]) -> Mapping[str, RequestHandler]:
    """Return the handlers of the intake socket: the intake operations and `ping`. open_spool: of rows to send."""

    def ping(_request: protocol.FrameMessage, _progress: ProgressCallback) -> _Response:
        return "pong", None

    def list_files(request: protocol.FrameMessage, _progress: ProgressCallback) -> _Response:
        return [file.model_dump(mode="json") for file in intake_service.list_files(text_field(request, "source"))], None

    def read_file_keys(request: protocol.FrameMessage, progress: ProgressCallback) -> _Response:
        source, name, digest = (text_field(request, field) for field in ("source", "name", "contract_digest"))
        keys = intake_service.read_file_keys(source, name, digest, progress=progress)
        return None, None if keys is None else protocol.spool_rows(keys, open_spool())

    def read_quarantined_keys(request: protocol.FrameMessage, progress: ProgressCallback) -> _Response:
        drop, digest = text_field(request, "drop"), text_field(request, "contract_digest")
        keys = intake_service.read_quarantined_keys(drop, digest, progress=progress)
        return None, None if keys is None else protocol.spool_rows(keys, open_spool())

    def confirm_published(request: protocol.FrameMessage, _progress: ProgressCallback) -> _Response:
        replay_number = request.get("replay_number")
        if not isinstance(replay_number, int) or isinstance(replay_number, bool) or not 0 <= replay_number < 1 << 31:
            raise Refused(
                "the request has no integer 'replay_number'",
                fix="send the replay number from the result of an intake or a replay",
            )
        intake_service.confirm_published(text_field(request, "drop"), replay_number)
        return None, None

    def review_contract(request: protocol.FrameMessage, _progress: ProgressCallback) -> _Response:
        return intake_service.review_contract(text_field(request, "digest")).model_dump(mode="json"), None

    def accept_contract(request: protocol.FrameMessage, _progress: ProgressCallback) -> _Response:
        intake_service.accept_contract(text_field(request, "release"))
        return None, None

    def withdraw_drop(request: protocol.FrameMessage, _progress: ProgressCallback) -> _Response:
        note = user_notes.parse_note(request.get("note"), "withdrawal")
        intake_service.withdraw_drop(text_field(request, "drop"), note, text_field(request, "reason"))
        return None, None

    def check_rejudge(request: protocol.FrameMessage, _progress: ProgressCallback) -> _Response:
        intake_service.check_rejudge(text_field(request, "drop"), text_field(request, "contract_digest"))
        return None, None

    def rejudge_drop(request: protocol.FrameMessage, _progress: ProgressCallback) -> _Response:
        signed = request.get("note")
        note = None if signed is None else user_notes.parse_note(signed, "rejudgement")
        reason = "" if note is None else text_field(request, "reason")
        drop, digest = text_field(request, "drop"), text_field(request, "contract_digest")
        intake_service.rejudge_drop(drop, digest, note, reason)
        return None, None

    def discard_quarantined(request: protocol.FrameMessage, _progress: ProgressCallback) -> _Response:
        note = user_notes.parse_note(request.get("note"), "discard")
        return intake_service.discard_quarantined(
            text_field(request, "drop"), note, text_field(request, "reason")
        ), None

    def count_quarantined(request: protocol.FrameMessage, _progress: ProgressCallback) -> _Response:
        drop = None if request.get("drop") is None else text_field(request, "drop")
        return [count.model_dump(mode="json") for count in intake_service.count_quarantined(drop)], None

    def list_quarantined(request: protocol.FrameMessage, _progress: ProgressCallback) -> _Response:
        drop = None if request.get("drop") is None else text_field(request, "drop")
        return [row.model_dump(mode="json") for row in intake_service.list_quarantined(drop)], None

    def count_persons(_request: protocol.FrameMessage, _progress: ProgressCallback) -> _Response:
        return intake_service.count_persons().model_dump(mode="json"), None

    def backfill_drop(request: protocol.FrameMessage, progress: ProgressCallback) -> _Response:
        return intake_service.backfill_drop(text_field(request, "drop"), progress=progress), None

    return {
        "ping": ping,
        "list_files": list_files,
        "read_file_keys": read_file_keys,
        "read_quarantined_keys": read_quarantined_keys,
        "confirm_published": confirm_published,
        "review_contract": review_contract,
        "accept_contract": accept_contract,
        "withdraw_drop": withdraw_drop,
        "check_rejudge": check_rejudge,
        "rejudge_drop": rejudge_drop,
        "discard_quarantined": discard_quarantined,
        "count_quarantined": count_quarantined,
        "list_quarantined": list_quarantined,
        "count_persons": count_persons,
        "backfill_drop": backfill_drop,
    }


def admission_handlers(intake_service: IntakeService, open_spool: Callable[[], BinaryIO]) -> Mapping[str, RowHandler]:
    """Return the handlers of the intake socket that admit rows; a request carries the rows of earlier drops."""

    def ingest_file(
        request: protocol.FrameMessage, progress: ProgressCallback, known_rows: pa.RecordBatchReader | None
    ) -> _Response:
        source, name, digest = (text_field(request, field) for field in ("source", "name", "contract_digest"))
        earlier_rows = None if known_rows is None else known_rows.read_all()
        admission = intake_service.ingest_file(source, name, digest, known_rows=earlier_rows, progress=progress)
        return protocol.encode_admission(admission, open_spool)

    def replay_quarantined(
        request: protocol.FrameMessage, progress: ProgressCallback, known_rows: pa.RecordBatchReader | None
    ) -> _Response:
        drop, digest = text_field(request, "drop"), text_field(request, "contract_digest")
        earlier_rows = None if known_rows is None else known_rows.read_all()
        admission = intake_service.replay_quarantined(drop, digest, known_rows=earlier_rows, progress=progress)
        return protocol.encode_admission(admission, open_spool)

    return {"ingest_file": ingest_file, "replay_quarantined": replay_quarantined}


def vault_handlers(step: Recorder) -> Mapping[str, RequestHandler]:
    """Return handlers that refuse the break-glass operations, which are not implemented, and record each refusal."""

    def refusal_handler(name: str) -> RequestHandler:
        def refuse(_request: protocol.FrameMessage, _progress: ProgressCallback) -> _Response:
            with step(name, "server:vault"):
                raise Refused(
                    f"{name} is refused to every user, because break-glass access is not implemented",
                    fix="use tokens instead of identifiers",
                )

        return refuse

    return {name: refusal_handler(name) for name in BREAK_GLASS_OPERATIONS}
