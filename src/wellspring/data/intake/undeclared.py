"""Count what a file holds beside the columns of its contract: these values stay in the enclave."""

from __future__ import annotations

from collections import Counter

from wellspring.data.contracts import casting
from wellspring.data.formats.parsed import ParsedBatch, safe_column_name
from wellspring.records.contracts import DataContract
from wellspring.records.verdict import Reason
from wellspring.trust.dlp.scanner import PiiScanner


class UndeclaredColumns:
    """Counts the values of undeclared columns and the kinds of personal data in them, batch by batch."""

    def __init__(self, contract: DataContract, scanner: PiiScanner) -> None:
        self._declared = {column.name for column in contract.columns}
        self._scanner = scanner
        self._values: Counter[str] = Counter()
        self._kinds: dict[str, Counter[str]] = {}
        self._unsearched: set[str] = set()

    @property
    def value_count(self) -> int:
        """Return the number of values, over all columns."""
        return sum(self._values.values())

    def add_batch(self, batch: ParsedBatch) -> None:
        """Count the values of one batch."""
        for index, name in enumerate(batch.column_names):
            if name in self._declared:
                continue
            column = batch.table.column(index)
            self._values[name] += len(column) - column.null_count
            kinds = self._kinds.setdefault(name, Counter())
            text = casting.to_text(column)
            if text is None:
                self._unsearched.add(name)
            else:
                kinds.update(self._scanner.scan_column(text, column_name=name).counts)

    def describe_columns(self) -> tuple[Reason, ...]:
        """Describe each undeclared column, with a name in which personal data is masked."""
        reasons: list[Reason] = []
        for name, kinds in self._kinds.items():
            count = self._values[name]
            kind_texts = [f"{kind} in {rows} rows" for kind, rows in kinds.items()]
            if name in self._unsearched:
                kind_texts.append("values that cannot be searched for personal data")
            kinds_text = ", ".join(kind_texts) or "no detectable personal data"
            safe_name = safe_column_name(name, self._scanner)
            # Without the name of the column, so that the message can be recorded in the ledger.
            message = f"the contract does not declare the column: {count} values stay in the enclave, with {kinds_text}"
            reasons.append(Reason(code="undeclared_column", message=message, column=safe_name, count=count))
        return tuple(reasons)
