"""The files of a trained model: LightGBM's text and one JSON, named by a signed manifest, read only if all fits.

A manifest is a signed note (C2SP) whose text has one line `SHA256 NAME` a file; the artefact's digest is the SHA-256
of that text. Nothing else is a model here: a pickle runs code when it is read, so no name but two is ever opened.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from pydantic import ValidationError

from wellspring.errors import CorruptedError, NotFound, Refused
from wellspring.records.models import Candidate
from wellspring.records.record import Digest, Frozen
from wellspring.stores.objects.port import ContentStore, NamedBlobStore
from wellspring.trust.keys.port import LogSigner
from wellspring_verify import canonical, notes

BOOSTER_FILE, SPEC_FILE = "model.lgb", "model.json"
ARTIFACT_FILES = (SPEC_FILE, BOOSTER_FILE)
FeatureScalar = int | float | bool | str | None


class FeatureInput(Frozen):
    """One feature as the model takes it. categories: in the order of their codes; empty for what is no string."""

    view: str
    name: str
    type: Literal["int64", "float64", "bool", "string"]
    categories: tuple[str, ...] = ()
    description: str

    def encode_value(self, value: FeatureScalar) -> float:
        """Turn one value into the number that the model sees; what is missing or was never seen is NaN."""
        if value is None:
            return math.nan
        if self.type == "string":
            return float(self.categories.index(value)) if value in self.categories else math.nan
        return float(value)


class PlattCalibration(Frozen):
    """Turns the booster's raw score into a probability: 1 / (1 + exp(-(a * raw + b))). a, b: float.hex()."""

    kind: Literal["platt"] = "platt"
    a: str
    b: str

    def calibrate_score(self, raw_score: float) -> float:
        """Calibrate one raw score; the same bits in every process of one machine."""
        z = float.fromhex(self.a) * raw_score + float.fromhex(self.b)
        if z >= 0:
            return 1.0 / (1.0 + math.exp(-z))
        exp_z = math.exp(z)
        return exp_z / (1.0 + exp_z)


class InferenceSpec(Frozen):
    """`model.json`: everything between a row of features and a decision, but for the trees."""

    format: Literal[1] = 1
    model: str
    features: tuple[FeatureInput, ...]
    calibration: PlattCalibration
    threshold: str
    labels: tuple[str, str]
    keys: dict[str, tuple[str, ...]]
    seed: int
    rounds: int

    def encode(self) -> bytes:
        """Write it as canonical JSON."""
        return canonical.dumps_canonical(self.model_dump(mode="json"))

    def feature_vector(self, values: Mapping[str, Mapping[str, FeatureScalar]]) -> list[float]:
        """Put one answer's features, by view and name, into the model's order."""
        return [feature.encode_value(values.get(feature.view, {}).get(feature.name)) for feature in self.features]

    def label_for(self, score: float) -> str:
        """Say which label a calibrated score gets."""
        return self.labels[1] if score >= float(self.threshold) else self.labels[0]


class ModelArtifact(NamedTuple):
    """The files of one model, checked. booster: LightGBM's text."""

    digest: Digest
    booster_text: str
    spec: InferenceSpec


def decode_spec(content: bytes) -> InferenceSpec:
    """Read `model.json`. Raises Broken when it is not exactly what `encode` writes."""
    try:
        canonical.loads_canonical(content)
        return InferenceSpec.model_validate_json(content)
    except canonical.MalformedError:
        raise CorruptedError(
            f"{SPEC_FILE} is not canonical JSON", fix="train the model again; do not serve this one"
        ) from None
    except ValidationError as exc:
        raise CorruptedError(
            f"{SPEC_FILE} is no recipe of a model: {exc.error_count()} fields are wrong",
            fix="train the model again; do not serve this one",
        ) from None


def write_artifact(
    files: Mapping[str, bytes],
    *,
    objects: ContentStore,
    paths: NamedBlobStore,
    key: notes.VerifierKey,
    signer: LogSigner,
) -> Digest:
    """Keep a model's files and their signed manifest, and return the artefact's digest; again changes nothing.

    paths: of the models' folder; the manifest stands under `manifests/DIGEST`. key: the signer's public half, named
    `ORIGIN/models`. Raises Refused for any file but the two that a model has.
    """
    manifest_text = _render_manifest({name: hashlib.sha256(content).hexdigest() for name, content in files.items()})
    for content in files.values():
        objects.put(content)
    digest = hashlib.sha256(manifest_text).hexdigest()
    signature = notes.NoteSignature(key.name, key.key_id, signer.sign(manifest_text))
    if not notes.verify_signature_line(signature, key, manifest_text):
        raise CorruptedError("the key server signed with another key than it shows", fix="stop; check the key `models`")
    # Last: a manifest never names what is not there.
    paths.write_once(f"manifests/{digest}", manifest_text + b"\n" + signature.to_line())
    return digest


def verify_artifact(digest: Digest, *, paths: NamedBlobStore, key: notes.VerifierKey) -> dict[str, Digest]:
    """Check a manifest's hash, signature and names, and return its files' digests; no file is opened for it.

    Raises NotFound, Broken when the text is another or the key did not sign it, Refused for a name that no model has.
    """
    try:
        note = notes.parse_note(paths.read(f"manifests/{digest}"))
    except NotFound:
        raise NotFound(f"no model artefact {digest}", fix="name a candidate of `wellspring release list`") from None
    except canonical.MalformedError:
        raise CorruptedError(
            f"the manifest of artefact {digest} is no signed note", fix="stop; train the model again"
        ) from None
    if hashlib.sha256(note.text).hexdigest() != digest:
        raise CorruptedError(f"the manifest of artefact {digest} holds another text", fix="stop; train the model again")
    if not any(notes.verify_signature_line(signature, key, note.text) for signature in note.signatures):
        raise CorruptedError(
            f"artefact {digest} is not signed by {key.name}", fix="stop; serve only what this house trained"
        )
    return _parse_manifest(note.text)


def read_artifact(
    digest: Digest, *, objects: ContentStore, paths: NamedBlobStore, key: notes.VerifierKey
) -> ModelArtifact:
    """Return a model's files, each byte checked against the signed manifest. Raises what `verify` does, and Broken."""
    file_digests = verify_artifact(digest, paths=paths, key=key)
    spec = decode_spec(objects.get(file_digests[SPEC_FILE]))
    try:
        booster_text = objects.get(file_digests[BOOSTER_FILE]).decode("utf-8")
    except UnicodeDecodeError:
        raise CorruptedError(
            f"{BOOSTER_FILE} of artefact {digest} is no text", fix="stop; train the model again"
        ) from None
    return ModelArtifact(digest, booster_text, spec)


def encode_candidate(candidate: Candidate) -> bytes:
    """Write a candidate as canonical JSON, without its id: the id is the beginning of the hash of these bytes."""
    return canonical.dumps_canonical(_encode_floats(candidate.model_dump(mode="json", exclude={"id"})))


def candidate_digest(candidate: Candidate) -> Digest:
    """Hash a candidate: SHA-256 of its bytes, of which its id is the first 12 digits."""
    return hashlib.sha256(encode_candidate(candidate)).hexdigest()


def save_candidate(candidate: Candidate, *, paths: NamedBlobStore) -> None:
    """Write a candidate down under `candidates/ID.json`, whatever its gate said; again changes nothing."""
    paths.write_once(f"candidates/{candidate.id}.json", encode_candidate(candidate))


def read_candidate(candidate_id: str, *, paths: NamedBlobStore) -> Candidate:
    """Return a candidate. Raises NotFound, Broken when its bytes are others."""
    if not re.fullmatch(r"[0-9a-f]{12}", candidate_id):
        raise NotFound(f"{candidate_id!r} is no id of a candidate", fix="see `wellspring release list`")
    try:
        content = paths.read(f"candidates/{candidate_id}.json")
    except NotFound:
        raise NotFound(f"no candidate {candidate_id}", fix="see `wellspring release list`") from None
    if hashlib.sha256(content).hexdigest()[:12] != candidate_id:
        raise CorruptedError(
            f"candidate {candidate_id} no longer hashes to its name", fix="stop; train the model again"
        )
    try:
        fields = canonical.loads_canonical(content)
        if isinstance(fields, dict):
            return Candidate.model_validate({"id": candidate_id, **fields})
    except (canonical.MalformedError, ValidationError):
        # Its bytes are those that its name says: another version of the house wrote them, or nobody of it.
        pass
    raise CorruptedError(f"candidate {candidate_id} is no candidate", fix="stop; train the model again")


def list_candidates(paths: NamedBlobStore) -> tuple[str, ...]:
    """List the ids of all candidates that are kept."""
    return tuple(name.removeprefix("candidates/").removesuffix(".json") for name in paths.list("candidates"))


def _render_manifest(file_digests: Mapping[str, Digest]) -> bytes:
    manifest_text = "".join(f"{file_digests[name]} {name}\n" for name in sorted(file_digests)).encode()
    _parse_manifest(manifest_text)
    return manifest_text


def _parse_manifest(manifest_text: bytes) -> dict[str, Digest]:
    """Read the lines of a manifest: exactly the two files of a model, each once."""
    lines = [line.split(" ", 1) for line in manifest_text.decode("utf-8", "replace").removesuffix("\n").split("\n")]
    names = [line[-1] for line in lines]
    if unexpected := sorted(set(names) - set(ARTIFACT_FILES)):
        raise Refused(
            f"an artefact holds {len(unexpected)} files that no model has ({', '.join(unexpected)[:80]!r}); none was read",
            fix=f"a model is {BOOSTER_FILE} and {SPEC_FILE}; a pickle, or anything else that may run code, is never opened",
        )
    if tuple(names) != ARTIFACT_FILES or any(not re.fullmatch(r"[0-9a-f]{64}", line[0]) for line in lines):
        raise Refused(
            f"an artefact's manifest does not name {SPEC_FILE} and {BOOSTER_FILE}, each once", fix="train it again"
        )
    return {line[1]: line[0] for line in lines}


def _encode_floats(value: object) -> object:
    """Write each float as the text that reads back as the same float: canonical JSON has none."""
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, Mapping):
        return {str(name): _encode_floats(element) for name, element in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_encode_floats(item) for item in value]
    return value
