"""The table `prediction`: one row for each prediction in the log, with its tokens and its decision, without features.

| column | meaning |
|---|---|
| prediction_id, model, release, edition | what was predicted, by which release, from the features of which edition |
| role | the role of the release when it answered: `stable` |
| predicted_at | when it was recorded (UTC) |
| keys | canonical JSON: the tokens of the entity by key column |
| score, decision, freshness | as answered |
| caller | the principal of the request |
| latency_us | microseconds from the request to the entry; null for entries that do not record it |
| entry, log_index | the ledger entry, and its position in the log |
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from wellspring.errors import CorruptedError
from wellspring.records.features import FeatureViews
from wellspring.records.trust import Entry, IndexedEntry
from wellspring_verify import canonical

if TYPE_CHECKING:
    import pyarrow as pa

PREDICTION_TABLE = "prediction"
STABLE_ROLE = "stable"
BATCH_ROWS = 10_000


def prediction_schema() -> pa.Schema:
    """Return the Arrow schema of the table."""
    import pyarrow as pa

    text, instant = pa.string(), pa.timestamp("us", tz="UTC")
    return pa.schema(
        [
            ("prediction_id", text),
            ("model", text),
            ("release", text),
            ("role", text),
            ("edition", text),
            ("predicted_at", instant),
            ("keys", text),
            ("score", pa.float64()),
            ("decision", text),
            ("freshness", text),
            ("caller", text),
            ("latency_us", pa.int64()),
            ("entry", text),
            ("log_index", pa.int64()),
        ]
    )


def build_prediction_rows(
    entries: Iterable[IndexedEntry], load_views: Callable[[str], tuple[FeatureViews, Sequence[str]]]
) -> pa.RecordBatchReader:
    """Convert `predict` entries to rows, in batches.

    load_views: the feature views and the names of the key columns of a release, by its id. Raises CorruptedError for an
    entry that lacks what each prediction records.
    """
    import pyarrow as pa

    schema, release_keys = prediction_schema(), _ReleaseKeys(load_views)
    batches = (
        batch
        for rows in _batch_rows(entries, release_keys)
        for batch in pa.Table.from_pylist(rows, schema=schema).to_batches()
    )
    return pa.RecordBatchReader.from_batches(schema, batches)


class _ReleaseKeys:
    """The key columns of releases, each loaded once."""

    def __init__(self, load_views: Callable[[str], tuple[FeatureViews, Sequence[str]]]) -> None:
        self._load_views = load_views
        self._loaded: dict[str, tuple[FeatureViews, Sequence[str]]] = {}

    def encode_keys(self, entry: Entry, release: str) -> str:
        """Return the tokens of the entity by key column, as canonical JSON."""
        if release not in self._loaded:
            self._loaded[release] = self._load_views(release)
        views, key_columns = self._loaded[release]
        tokens: dict[str, str] = {}
        references = entry.facts.get("views")
        for name, reference in references.items() if isinstance(references, dict) else ():
            view = views.find_view(name)
            if view is None or not isinstance(reference, list):
                raise _incomplete(entry, f"the rows of the view {name}")
            # A reference is [known_since, sequence, *key tokens].
            tokens.update(zip(view.keys, map(str, reference[2:]), strict=True))
        missing = [column for column in key_columns if column not in tokens]
        if missing:
            raise _incomplete(entry, f"a token for {missing[0]}")
        return canonical.dumps_canonical({column: tokens[column] for column in key_columns}).decode()


def _batch_rows(entries: Iterable[IndexedEntry], release_keys: _ReleaseKeys) -> Iterator[list[dict[str, Any]]]:
    rows: list[dict[str, Any]] = []
    for indexed in entries:
        rows.append(_build_row(indexed, release_keys))
        if len(rows) == BATCH_ROWS:
            yield rows
            rows = []
    if rows:
        yield rows


def _build_row(indexed: IndexedEntry, release_keys: _ReleaseKeys) -> dict[str, Any]:
    entry = indexed.entry
    release, edition = _single_name(entry, "release"), _single_name(entry, "edition")
    latency = entry.facts.get("latency_us")
    return {
        "prediction_id": entry.subject.removeprefix("prediction:"),
        "model": entry.text("model"),
        "release": release,
        "role": STABLE_ROLE,
        "edition": edition,
        "predicted_at": entry.known_since,
        "keys": release_keys.encode_keys(entry, release),
        "score": _parse_score(entry),
        "decision": entry.text("decision"),
        "freshness": entry.text("freshness"),
        "caller": entry.text("principal"),
        "latency_us": latency if isinstance(latency, int) else None,
        "entry": entry.id,
        "log_index": indexed.index,
    }


def _parse_score(entry: Entry) -> float:
    try:
        return float.fromhex(entry.text("score"))
    except ValueError:
        raise _incomplete(entry, "its score") from None


def _single_name(entry: Entry, kind: str) -> str:
    names = [ref.name.partition(":")[2] for ref in entry.inputs if ref.name.startswith(f"{kind}:")]
    if len(names) != 1:
        raise _incomplete(entry, f"one {kind}")
    return names[0]


def _incomplete(entry: Entry, what: str) -> CorruptedError:
    return CorruptedError(f"{entry.id} does not name {what}", fix="keep all files, and run `wellspring ledger verify`")
