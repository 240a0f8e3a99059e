"""The folder of candidates: each once, by the hash of its bytes, whatever its verdict."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from wellspring.records.models import Candidate
from wellspring.records.record import Digest
from wellspring.stores.objects.port import NamedBlobStore
from wellspring.stores.records import RecordKind, RecordStore
from wellspring_verify import canonical


def encode_candidate(candidate: Candidate) -> bytes:
    """Encode a candidate as canonical JSON without its id, which is the start of the hash of these bytes."""
    return canonical.dumps_canonical(_encode_floats(candidate.model_dump(mode="json", exclude={"id"})))


def candidate_digest(candidate: Candidate) -> Digest:
    """Return the SHA-256 of a candidate's bytes; its id is the first 12 digits."""
    return hashlib.sha256(encode_candidate(candidate)).hexdigest()


def assign_candidate_id(candidate: Candidate) -> Candidate:
    """Set a candidate's id to the start of the hash of its bytes."""
    return candidate.model_copy(update={"id": candidate_digest(candidate)[:12]})


def save_candidate(candidate: Candidate, *, paths: NamedBlobStore) -> None:
    """Store a candidate at `candidates/ID.json`; idempotent."""
    RecordStore(paths, _CANDIDATE_KIND).save(candidate)


def read_candidate(candidate_id: str, *, paths: NamedBlobStore) -> Candidate:
    """Read a candidate. Raises NotFound with the nearest id, CorruptedError when its bytes do not match its id."""
    return RecordStore(paths, _CANDIDATE_KIND).get(candidate_id)


def list_candidates(paths: NamedBlobStore) -> tuple[str, ...]:
    """List the ids of all stored candidates."""
    return RecordStore(paths, _CANDIDATE_KIND).list_ids()


def _decode_candidate(candidate_id: str, content: bytes) -> Candidate:
    fields = canonical.loads_canonical(content)
    if not isinstance(fields, dict):
        raise ValueError("not an object")
    return Candidate.model_validate({**fields, "id": candidate_id})


def _encode_floats(value: object) -> object:
    """Replace each float by text that parses to the same float, since canonical JSON has no floats."""
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, Mapping):
        return {str(name): _encode_floats(member) for name, member in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_encode_floats(member) for member in value]
    return value


_CANDIDATE_KIND = RecordKind(
    "candidate",
    encode_candidate,
    _decode_candidate,
    missing_fix="see `wellspring release list`",
    corrupted_fix="stop; train the model again",
    folder="candidates",
)
