"""The files of a trained model: the file of its estimator and one JSON file, listed in a signed manifest.

A manifest is a signed note (C2SP) with one line `SHA256 NAME` per file; the artifact's digest is the SHA-256 of that
text. Only `model.json` and the file of the estimator that it names are ever opened: a pickle would run code when it is
read.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from wellspring.errors import CorruptedError, NotFound, Refused
from wellspring.models.estimators.port import MODEL_FILE_PATTERN, Estimator, FittedModel
from wellspring.models.estimators.registry import find_estimator
from wellspring.models.spec.inference_spec import SPEC_FILE, InferenceSpec, decode_spec
from wellspring.plugins import guard_plugin_code
from wellspring.records.record import Digest
from wellspring.runtime.optional_imports import allow_imports
from wellspring.stores.objects.port import ContentStore, NamedBlobStore
from wellspring.trust.keys.port import LogSigner
from wellspring_verify import canonical, notes


class ModelArtifact(NamedTuple):
    """The verified files of one model. content: of the file of its estimator."""

    digest: Digest
    content: bytes
    spec: InferenceSpec
    estimator: type[Estimator]

    def load_model(self) -> FittedModel:
        """Load the estimator's file. Raises CorruptedError, Unavailable without its package."""
        allow_imports(self.estimator.packages)
        with guard_plugin_code(
            f"the estimator {self.estimator.name} cannot read its file of {self.spec.model}",
            fix="train the model again; do not serve this one",
        ):
            return self.estimator.load_model(self.content)


def write_artifact(
    files: Mapping[str, bytes],
    *,
    objects: ContentStore,
    paths: NamedBlobStore,
    keys: Sequence[notes.VerifierKey],
    signer: LogSigner,
) -> Digest:
    """Store a model's files and their signed manifest, and return the artifact's digest; idempotent.

    paths: the models folder; the manifest is stored at `manifests/DIGEST`. keys: the signer's public keys, the newest
    first, named `ORIGIN/models`. Raises Refused for any file other than the two that a model has.
    """
    manifest_text = _render_manifest({name: hashlib.sha256(content).hexdigest() for name, content in files.items()})
    for content in files.values():
        objects.put(content)
    digest = hashlib.sha256(manifest_text).hexdigest()
    signature = notes.NoteSignature(keys[0].name, keys[0].key_id, signer.sign(manifest_text))
    if not notes.verify_signature_line(signature, keys[0], manifest_text):
        raise CorruptedError(
            "the key server signed with another key than it publishes", fix="stop; check the key `models`"
        )
    # The manifest is written last, so that it never names missing files.
    paths.write_once(f"manifests/{digest}", manifest_text + b"\n" + signature.to_line())
    return digest


def verify_artifact(digest: Digest, *, paths: NamedBlobStore, keys: Sequence[notes.VerifierKey]) -> dict[str, Digest]:
    """Verify a manifest's hash, signature and file names, and return the files' digests, without opening the files.

    keys: the versions of the key, one of which signed it. Raises NotFound, CorruptedError for a wrong hash or
    signature, Refused for an unknown file name.
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
    pairs = [(signature, key) for signature in note.signatures for key in keys]
    if not any(notes.verify_signature_line(signature, key, note.text) for signature, key in pairs):
        raise CorruptedError(
            f"artifact {digest} is not signed by {keys[0].name}",
            fix="stop; serve only models that this project trained",
        )
    return _parse_manifest(note.text)


def read_artifact(
    digest: Digest, *, objects: ContentStore, paths: NamedBlobStore, keys: Sequence[notes.VerifierKey]
) -> ModelArtifact:
    """Read a model's files and verify them against the signed manifest.

    Raises as `verify_artifact`, and ProjectError for an estimator that is not installed.
    """
    file_digests = verify_artifact(digest, paths=paths, keys=keys)
    spec = decode_spec(objects.get(file_digests[SPEC_FILE]))
    estimator = find_estimator(spec.estimator)
    if estimator.file_name not in file_digests:
        raise CorruptedError(
            f"artifact {digest} has no {estimator.file_name}, the file of its estimator {spec.estimator}",
            fix="stop; train the model again",
        )
    return ModelArtifact(digest, objects.get(file_digests[estimator.file_name]), spec, estimator)


def _render_manifest(file_digests: Mapping[str, Digest]) -> bytes:
    manifest_text = "".join(f"{file_digests[name]} {name}\n" for name in sorted(file_digests)).encode()
    _parse_manifest(manifest_text)
    return manifest_text


def _parse_manifest(manifest_text: bytes) -> dict[str, Digest]:
    """Parse the lines of a manifest: exactly `model.json` and one file of an estimator."""
    lines = [line.split(" ", 1) for line in manifest_text.decode("utf-8", "replace").removesuffix("\n").split("\n")]
    names = [line[-1] for line in lines]
    model_files = [name for name in names if re.fullmatch(MODEL_FILE_PATTERN, name)]
    if (
        len(model_files) != 1
        or names != sorted([SPEC_FILE, *model_files])
        or any(not re.fullmatch(r"[0-9a-f]{64}", line[0]) for line in lines)
    ):
        raise Refused(
            f"an artifact lists {', '.join(names)[:80]!a}, not {SPEC_FILE} and one file of an estimator; none was read",
            fix="train the model again; a model is opened only by the estimator that its model.json names",
        )
    return {line[1]: line[0] for line in lines}
