"""Define the two services of the enclave: intake and token vault, each on its own socket."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from wellspring.records.contracts import ContractReview
from wellspring.records.ingestion import AdmissionResult, PersonCounts, QuarantineCount, QuarantinedRow, SourceFile
from wellspring.records.user_notes import UserNote

if TYPE_CHECKING:
    import pyarrow as pa

ProgressCallback = Callable[[str, int, int], None]
"""Called as (stage, done, total): stage is fetch, compare or validate; done and total in bytes or rows."""


class IntakeService(Protocol):
    """Intake, for the worker and the owner's command line. It never returns an identifier."""

    def list_files(self, source: str) -> tuple[SourceFile, ...]:
        """List the files of a source that need a decision, oldest first; dotfiles and `.part` files are left out.

        A file whose drop is published, or has nothing to publish, is listed only if it has changed since.

        Raises NotFound (no such source), Unavailable (the vendor does not respond; retry later).
        """
        ...

    def read_file_keys(
        self, source: str, name: str, contract_digest: str, *, progress: ProgressCallback | None = None
    ) -> pa.RecordBatchReader | None:
        """Fetch and store one file, and return the keys of its rows as they leave the enclave.

        None if its rows are not compared with those of earlier drops: it was admitted before, or its contract has no
        key that leaves. Raises as `ingest_file`.
        """
        ...

    def ingest_file(
        self,
        source: str,
        name: str,
        contract_digest: str,
        *,
        known_rows: pa.Table | None = None,
        progress: ProgressCallback | None = None,
    ) -> AdmissionResult:
        """Fetch, store, parse, validate and tokenize one file. The same bytes give the same table again.

        known_rows: rows of earlier drops with a key of this file (`known_rows.summarize_known_rows`).

        contract_digest: the contract of the caller; the enclave reads the project's contracts itself, and raises
        Refused for an unknown digest or for a contract that weakens a classification. Raises NotFound (no such file),
        CorruptedError (the file changed under the same name; a finding is recorded).
        """
        ...

    def read_quarantined_keys(
        self, drop: str, contract_digest: str, *, progress: ProgressCallback | None = None
    ) -> pa.RecordBatchReader | None:
        """Return the keys of the quarantined rows of a drop, as `read_file_keys`."""
        ...

    def replay_quarantined(
        self,
        drop: str,
        contract_digest: str,
        *,
        known_rows: pa.Table | None = None,
        progress: ProgressCallback | None = None,
    ) -> AdmissionResult:
        """Validate the quarantined rows of a drop again, and return those that now pass as a replay.

        Returns the same replay until `confirm_published` confirms it, so that a crash in between loses nothing.
        """
        ...

    def confirm_published(self, drop: str, replay_number: int) -> None:
        """Confirm that a replay is published: its rows leave quarantine. Confirming again has no effect."""
        ...

    def review_contract(self, digest: str) -> ContractReview:
        """Describe what a contract version changes that is not in force. digest: of its content, kept for releases.

        Raises NotFound, ProjectError (errors in it), Refused (it can never be in force: `removed_column` and others).
        """
        ...

    def accept_contract(self, release: str) -> None:
        """Put the contract version of a release, by its id, into force. The same again has no effect.

        The enclave checks the users' signatures itself. Raises NotFound, Refused (not approved by a second person, or
        what `review_contract` raises), CorruptedError (a signature that is not the user's).
        """
        ...

    def withdraw_drop(self, drop: str, note: UserNote, reason: str) -> None:
        """Take a drop out, as the author of a note: its rows are not published. The same note again has no effect.

        Raises NotFound, and Refused for a drop that was published or withdrawn, or a note of another act.
        """
        ...

    def check_rejudge(self, drop: str, contract_digest: str) -> None:
        """Raise what `rejudge_drop` would raise, except about a note."""
        ...

    def rejudge_drop(self, drop: str, contract_digest: str, note: UserNote | None, reason: str) -> None:
        """Return a drop to the state before its admission; `ingest_file` judges it by the contract in force.

        note: None only for a drop whose rows wait to be published and whose contract was mended since. Raises NotFound
        (no such drop, or its original is no longer kept), Refused (published; the contract is not accepted).
        """
        ...

    def discard_quarantined(self, drop: str, note: UserNote, reason: str) -> int:
        """Discard the quarantined rows of a drop for ever, as the author of a note, and return their number.

        Raises NotFound for a drop without any.
        """
        ...

    def count_quarantined(self, drop: str | None = None) -> tuple[QuarantineCount, ...]:
        """Count all quarantined rows of each drop, or of one drop. Raises NotFound for an unknown drop."""
        ...

    def list_quarantined(self, drop: str | None = None) -> tuple[QuarantinedRow, ...]:
        """List quarantined rows, all values masked, at most 1,000 per drop."""
        ...

    def count_persons(self) -> PersonCounts:
        """Count the persons that have a sealed row, and list the drops whose persons were not read."""
        ...

    def backfill_drop(self, drop: str, *, progress: ProgressCallback | None = None) -> int:
        """Store the sealed rows that the persons of an earlier drop lack, and return their number.

        0 for a drop that was read before. Raises NotFound, also after the retention of its original.
        """
        ...


class TokenVault(Protocol):
    """The token vault. The project's policies authorize `tokenize_values`; the other methods refuse every caller."""

    def tokenize_values(
        self, domain: str, values: Sequence[str], *, purpose: str, conversation_id: str | None = None
    ) -> tuple[str, ...]:
        """Return the tokens of at most 50 identifiers of one domain, in their order.

        purpose: one word, for the policies and the ledger entry. conversation_id: 32 hex digits; None outside a
        conversation. Raises Refused (no policy permits it, or a value does not have the form that the contracts
        require; the message has no value), NotFound (no such domain), Unavailable.
        """
        ...

    def detokenize(self, token: str) -> str: ...
    def erase_identifier(self, token: str) -> None: ...
