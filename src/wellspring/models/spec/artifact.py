"""The files of a trained model: the file of its estimator and one JSON file, listed in a signed manifest.

A manifest is a signed note (C2SP) with one line `SHA256 NAME` per file; the artifact's digest is the SHA-256 of that
text. Only `model.json` and the file names of registered estimators are ever opened: a pickle would run code when it is
read.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from pydantic import JsonValue, ValidationError

from wellspring.errors import CorruptedError, NotFound, Refused
from wellspring.models.estimators.port import FittedModel
from wellspring.models.estimators.registry import find_estimator, list_model_files
from wellspring.models.tasks.port import Decoder
from wellspring.models.tasks.registry import find_task
from wellspring.records.decisions import DecisionRule
from wellspring.records.models import Candidate
from wellspring.records.record import Digest, Frozen
from wellspring.stores.objects.port import ContentStore, NamedBlobStore
from wellspring.trust.keys.port import LogSigner
from wellspring_verify import canonical, notes

SPEC_FILE = "model.json"
FeatureScalar = int | float | bool | str | None


class FeatureInput(Frozen):
    """One model input. categories: in the order of their codes; empty unless the type is string."""

    view: str
    name: str
    type: Literal["int64", "float64", "bool", "string"]
    categories: tuple[str, ...] = ()
    description: str

    def encode_value(self, value: FeatureScalar) -> float:
        """Encode one value as a float; missing values and unknown categories become NaN."""
        if value is None:
            return math.nan
        if self.type == "string":
            return float(self.categories.index(value)) if value in self.categories else math.nan
        return float(value)


class InferenceSpec(Frozen):
    """The content of `model.json`: everything that a prediction needs besides the estimator's file.

    task, estimator: registered names. calibration: of the task's decoder. rounds: 0 if the estimator has none.
    """

    format: Literal[1] = 1
    model: str
    task: str
    estimator: str
    features: tuple[FeatureInput, ...]
    calibration: dict[str, JsonValue]
    decision_rule: DecisionRule
    keys: dict[str, tuple[str, ...]]
    seed: int
    rounds: int

    def encode(self) -> bytes:
        """Encode as canonical JSON."""
        return canonical.dumps_canonical(self.model_dump(mode="json"))

    def feature_vector(self, values: Mapping[str, Mapping[str, FeatureScalar]]) -> list[float]:
        """Encode the features of one prediction, given by view and name, in the model's order."""
        return [feature.encode_value(values.get(feature.view, {}).get(feature.name)) for feature in self.features]

    def load_decoder(self, decision_rule: DecisionRule | None = None) -> Decoder:
        """Build the decoder, with another decision rule if one is given. Raises CorruptedError, ProjectError."""
        try:
            return find_task(self.task).load_decoder(self.calibration, decision_rule or self.decision_rule)
        except ValueError:
            raise CorruptedError(
                f"the calibration or the decision rule of {self.model} is not one of the task {self.task}",
                fix="train the model again; do not serve this one",
            ) from None


class ModelArtifact(NamedTuple):
    """The verified files of one model. content: of the estimator's file."""

    digest: Digest
    content: bytes
    spec: InferenceSpec

    def load_model(self) -> FittedModel:
        """Load the estimator's file. Raises CorruptedError, Unavailable without its package, ProjectError."""
        return find_estimator(self.spec.estimator).load_model(self.content)


def decode_spec(content: bytes) -> InferenceSpec:
    """Read `model.json`. Raises CorruptedError unless it is what `InferenceSpec.encode` writes."""
    try:
        canonical.loads_canonical(content)
        return InferenceSpec.model_validate_json(content)
    except canonical.MalformedError:
        raise CorruptedError(
            f"{SPEC_FILE} is not canonical JSON", fix="train the model again; do not serve this one"
        ) from None
    except ValidationError as exc:
        raise CorruptedError(
            f"{SPEC_FILE} is not a valid inference spec: {exc.error_count()} fields are wrong",
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
    """Store a model's files and their signed manifest, and return the artifact's digest; idempotent.

    paths: the models folder; the manifest is stored at `manifests/DIGEST`. key: the signer's public key, named
    `ORIGIN/models`. Raises Refused for any file other than the two that a model has.
    """
    manifest_text = _render_manifest({name: hashlib.sha256(content).hexdigest() for name, content in files.items()})
    for content in files.values():
        objects.put(content)
    digest = hashlib.sha256(manifest_text).hexdigest()
    signature = notes.NoteSignature(key.name, key.key_id, signer.sign(manifest_text))
    if not notes.verify_signature_line(signature, key, manifest_text):
        raise CorruptedError(
            "the key server signed with another key than it publishes", fix="stop; check the key `models`"
        )
    # The manifest is written last, so that it never names missing files.
    paths.write_once(f"manifests/{digest}", manifest_text + b"\n" + signature.to_line())
    return digest


def verify_artifact(digest: Digest, *, paths: NamedBlobStore, key: notes.VerifierKey) -> dict[str, Digest]:
    """Verify a manifest's hash, signature and file names, and return the files' digests, without opening the files.

    Raises NotFound, CorruptedError for a wrong hash or signature, Refused for an unknown file name.
    """
    try:
        note = notes.parse_note(paths.read(f"manifests/{digest}"))
    except NotFound:
        raise NotFound(f"no model artifact {digest}", fix="name a candidate of `wellspring release list`") from None
    except canonical.MalformedError:
        raise CorruptedError(
            f"the manifest of artifact {digest} is not a signed note", fix="stop; train the model again"
        ) from None
    if hashlib.sha256(note.text).hexdigest() != digest:
        raise CorruptedError(
            f"the manifest of artifact {digest} does not match its digest", fix="stop; train the model again"
        )
    if not any(notes.verify_signature_line(signature, key, note.text) for signature in note.signatures):
        raise CorruptedError(
            f"artifact {digest} is not signed by {key.name}", fix="stop; serve only models that this project trained"
        )
    return _parse_manifest(note.text)


def read_artifact(
    digest: Digest, *, objects: ContentStore, paths: NamedBlobStore, key: notes.VerifierKey
) -> ModelArtifact:
    """Read a model's files and verify them against the signed manifest. Raises as `verify_artifact`."""
    file_digests = verify_artifact(digest, paths=paths, key=key)
    spec = decode_spec(objects.get(file_digests[SPEC_FILE]))
    file_name = find_estimator(spec.estimator).file_name
    if file_name not in file_digests:
        raise CorruptedError(
            f"artifact {digest} has no {file_name}, the file of its estimator {spec.estimator}",
            fix="stop; train the model again",
        )
    return ModelArtifact(digest, objects.get(file_digests[file_name]), spec)


def encode_candidate(candidate: Candidate) -> bytes:
    """Encode a candidate as canonical JSON without its id, which is the start of the hash of these bytes."""
    return canonical.dumps_canonical(_encode_floats(candidate.model_dump(mode="json", exclude={"id"})))


def candidate_digest(candidate: Candidate) -> Digest:
    """Return the SHA-256 of a candidate's bytes; its id is the first 12 digits."""
    return hashlib.sha256(encode_candidate(candidate)).hexdigest()


def save_candidate(candidate: Candidate, *, paths: NamedBlobStore) -> None:
    """Store a candidate at `candidates/ID.json`, whatever its verdict; idempotent."""
    paths.write_once(f"candidates/{candidate.id}.json", encode_candidate(candidate))


def read_candidate(candidate_id: str, *, paths: NamedBlobStore) -> Candidate:
    """Read a candidate. Raises NotFound, CorruptedError when its bytes do not match its id."""
    if not re.fullmatch(r"[0-9a-f]{12}", candidate_id):
        raise NotFound(f"{candidate_id!r} is not a candidate id", fix="see `wellspring release list`")
    try:
        content = paths.read(f"candidates/{candidate_id}.json")
    except NotFound:
        raise NotFound(f"no candidate {candidate_id}", fix="see `wellspring release list`") from None
    if hashlib.sha256(content).hexdigest()[:12] != candidate_id:
        raise CorruptedError(
            f"candidate {candidate_id} is corrupt: its content does not match its id", fix="stop; train the model again"
        )
    try:
        fields = canonical.loads_canonical(content)
        if isinstance(fields, dict):
            return Candidate.model_validate({"id": candidate_id, **fields})
    except (canonical.MalformedError, ValidationError):
        # The bytes match the id, but are not a candidate of this version.
        pass
    raise CorruptedError(
        f"candidate {candidate_id} is corrupt: its content is not a candidate", fix="stop; train the model again"
    )


def list_candidates(paths: NamedBlobStore) -> tuple[str, ...]:
    """List the ids of all stored candidates."""
    return tuple(name.removeprefix("candidates/").removesuffix(".json") for name in paths.list("candidates"))


def _render_manifest(file_digests: Mapping[str, Digest]) -> bytes:
    manifest_text = "".join(f"{file_digests[name]} {name}\n" for name in sorted(file_digests)).encode()
    _parse_manifest(manifest_text)
    return manifest_text


def _parse_manifest(manifest_text: bytes) -> dict[str, Digest]:
    """Parse the lines of a manifest: exactly `model.json` and one file of an estimator."""
    lines = [line.split(" ", 1) for line in manifest_text.decode("utf-8", "replace").removesuffix("\n").split("\n")]
    names = [line[-1] for line in lines]
    model_files = list_model_files()
    if unexpected := sorted(set(names) - {SPEC_FILE, *model_files}):
        raise Refused(
            f"an artifact lists {len(unexpected)} unknown files ({', '.join(unexpected)[:80]!r}); none was read",
            fix=f"a model is {SPEC_FILE} and one of {', '.join(sorted(model_files))}; pickles and other code are never "
            "opened",
        )
    if (
        names != sorted(names)
        or len(names) != 2
        or names.count(SPEC_FILE) != 1
        or any(not re.fullmatch(r"[0-9a-f]{64}", line[0]) for line in lines)
    ):
        raise Refused(
            f"an artifact's manifest does not list {SPEC_FILE} and one file of an estimator",
            fix="train the model again",
        )
    return {line[1]: line[0] for line in lines}


def _encode_floats(value: object) -> object:
    """Replace each float by text that parses to the same float, since canonical JSON has no floats."""
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, Mapping):
        return {str(name): _encode_floats(member) for name, member in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_encode_floats(member) for member in value]
    return value
