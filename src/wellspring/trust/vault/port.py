"""What the house may ask of the enclave. Two doors, two protocols, two sockets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from wellspring.records.data import AdmissionResult, QuarantinedRow, SourceFile

ProgressCallback = Callable[[str, int, int], None]
"""Called as (stage, done, total): stage is fetch, parse, judge or tokenize; done and total in bytes or rows."""


class IntakeService(Protocol):
    """The intake door: for the worker and the owner's command line. It never hands out an identifier."""

    def list_files(self, source: str) -> tuple[SourceFile, ...]:
        """List the source now, oldest first; files of no interest (dotfiles, `.part`) are left out.

        Raises NotFound (no such source), Unavailable (the vendor does not answer; retry later).
        """
        ...

    def ingest_file(
        self, source: str, name: str, contract_digest: str, *, progress: ProgressCallback | None = None
    ) -> AdmissionResult:
        """Fetch, keep, parse, judge, tokenize one file. Asked again for the same bytes, it answers the same table.

        contract_digest: the contract that the caller means; the enclave reads the project's contracts itself and
        raises Refused for a digest that it does not find, or for a contract that loosens a classification.
        Raises NotFound (no such file), Broken (the file changed under its old name; a finding is recorded).
        """
        ...

    def replay_quarantined(
        self, drop: str, contract_digest: str, *, progress: ProgressCallback | None = None
    ) -> AdmissionResult:
        """Judge the rows of a drop that wait in quarantine again; those that now pass leave as a new part.

        The same part is answered again until `settled` confirms it, so a crash between the two loses nothing.
        """
        ...

    def confirm_published(self, drop: str, replay_number: int) -> None:
        """Confirm that a part is published: its rows leave quarantine. Confirming again changes nothing."""
        ...

    def list_quarantined(self, drop: str | None = None) -> tuple[QuarantinedRow, ...]:
        """List the rows that wait, all values masked, at most 1,000 a drop."""
        ...


class TokenVault(Protocol):
    """The vault's door, for a grant. `tokenize` is under the project's policies; the others refuse everybody till
    break-glass is built."""

    def tokenize_values(
        self, domain: str, values: Sequence[str], *, purpose: str, conversation_id: str | None = None
    ) -> tuple[str, ...]:
        """Return the tokens of at most 50 identifiers of one domain, in their order.

        purpose: one word, for the policies and for the entry. grant: the id of the conversation, 32 hex digits; without
        one no conversation is open. Raises Refused (no policy permits it, or a value has not the form that the
        contracts promise; no value is repeated), NotFound (no such domain), Unavailable.
        """
        ...

    def detokenize(self, token: str) -> str: ...
    def erase_identifier(self, token: str) -> None: ...
