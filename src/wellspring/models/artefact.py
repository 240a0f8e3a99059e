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

from wellspring.errors import Broken, NotFound, Refused
from wellspring.records.models import Candidate
from wellspring.records.record import Digest, Frozen
from wellspring.stores.objects.port import Objects, Paths
from wellspring.trust.keys.port import Signer
from wellspring_verify import canonical, notes

BOOSTER, RECIPE = "model.lgb", "model.json"
FILES = (RECIPE, BOOSTER)
Value = int | float | bool | str | None


class Input(Frozen):
    """One feature as the model takes it. categories: in the order of their codes; empty for what is no string."""

    view: str
    name: str
    type: Literal["int64", "float64", "bool", "string"]
    categories: tuple[str, ...] = ()
    what: str

    def code(self, value: Value) -> float:
        """Turn one value into the number that the model sees; what is missing or was never seen is NaN."""
        if value is None:
            return math.nan
        if self.type == "string":
            return float(self.categories.index(value)) if value in self.categories else math.nan
        return float(value)


class Platt(Frozen):
    """Turns the booster's raw score into a probability: 1 / (1 + exp(-(a * raw + b))). a, b: float.hex()."""

    kind: Literal["platt"] = "platt"
    a: str
    b: str

    def probability(self, raw: float) -> float:
        """Calibrate one raw score; the same bits in every process of one machine."""
        z = float.fromhex(self.a) * raw + float.fromhex(self.b)
        if z >= 0:
            return 1.0 / (1.0 + math.exp(-z))
        grown = math.exp(z)
        return grown / (1.0 + grown)


class Recipe(Frozen):
    """`model.json`: everything between a row of features and a decision, but for the trees."""

    format: Literal[1] = 1
    model: str
    features: tuple[Input, ...]
    calibration: Platt
    threshold: str
    labels: tuple[str, str]
    keys: dict[str, tuple[str, ...]]
    seed: int
    rounds: int

    def encode(self) -> bytes:
        """Write it as canonical JSON."""
        return canonical.dumps(self.model_dump(mode="json"))

    def vector(self, values: Mapping[str, Mapping[str, Value]]) -> list[float]:
        """Put one answer's features, by view and name, into the model's order."""
        return [each.code(values.get(each.view, {}).get(each.name)) for each in self.features]

    def decide(self, score: float) -> str:
        """Say which label a calibrated score gets."""
        return self.labels[1] if score >= float(self.threshold) else self.labels[0]


class Artefact(NamedTuple):
    """The files of one model, checked. booster: LightGBM's text."""

    digest: Digest
    booster: str
    recipe: Recipe


def decode(content: bytes) -> Recipe:
    """Read `model.json`. Raises Broken when it is not exactly what `encode` writes."""
    try:
        canonical.loads_strict(content)
        return Recipe.model_validate_json(content)
    except canonical.Malformed:
        raise Broken(f"{RECIPE} is not canonical JSON", fix="train the model again; do not serve this one") from None
    except ValidationError as wrong:
        raise Broken(
            f"{RECIPE} is no recipe of a model: {wrong.error_count()} fields are wrong",
            fix="train the model again; do not serve this one",
        ) from None


def write(files: Mapping[str, bytes], *, objects: Objects, paths: Paths, key: notes.Key, signer: Signer) -> Digest:
    """Keep a model's files and their signed manifest, and return the artefact's digest; again changes nothing.

    paths: of the models' folder; the manifest stands under `manifests/DIGEST`. key: the signer's public half, named
    `ORIGIN/models`. Raises Refused for any file but the two that a model has.
    """
    text = _list({name: hashlib.sha256(content).hexdigest() for name, content in files.items()})
    for content in files.values():
        objects.put(content)
    digest = hashlib.sha256(text).hexdigest()
    signed = notes.Signature(key.name, key.id, signer.sign(text))
    if not notes.signs(signed, key, text):
        raise Broken("the key server signed with another key than it shows", fix="stop; check the key `models`")
    # Last: a manifest never names what is not there.
    paths.write_once(f"manifests/{digest}", text + b"\n" + signed.line())
    return digest


def verify(digest: Digest, *, paths: Paths, key: notes.Key) -> dict[str, Digest]:
    """Check a manifest's hash, signature and names, and return its files' digests; no file is opened for it.

    Raises NotFound, Broken when the text is another or the key did not sign it, Refused for a name that no model has.
    """
    try:
        note = notes.parse(paths.read(f"manifests/{digest}"))
    except NotFound:
        raise NotFound(f"no model artefact {digest}", fix="name a candidate of `wellspring release list`") from None
    except canonical.Malformed:
        raise Broken(
            f"the manifest of artefact {digest} is no signed note", fix="stop; train the model again"
        ) from None
    if hashlib.sha256(note.text).hexdigest() != digest:
        raise Broken(f"the manifest of artefact {digest} holds another text", fix="stop; train the model again")
    if not any(notes.signs(each, key, note.text) for each in note.signatures):
        raise Broken(f"artefact {digest} is not signed by {key.name}", fix="stop; serve only what this house trained")
    return _names(note.text)


def read(digest: Digest, *, objects: Objects, paths: Paths, key: notes.Key) -> Artefact:
    """Return a model's files, each byte checked against the signed manifest. Raises what `verify` does, and Broken."""
    named = verify(digest, paths=paths, key=key)
    recipe = decode(objects.get(named[RECIPE]))
    try:
        booster = objects.get(named[BOOSTER]).decode("utf-8")
    except UnicodeDecodeError:
        raise Broken(f"{BOOSTER} of artefact {digest} is no text", fix="stop; train the model again") from None
    return Artefact(digest, booster, recipe)


def encode_candidate(candidate: Candidate) -> bytes:
    """Write a candidate as canonical JSON, without its id: the id is the beginning of the hash of these bytes."""
    return canonical.dumps(_exact(candidate.model_dump(mode="json", exclude={"id"})))


def candidate_digest(candidate: Candidate) -> Digest:
    """Hash a candidate: SHA-256 of its bytes, of which its id is the first 12 digits."""
    return hashlib.sha256(encode_candidate(candidate)).hexdigest()


def keep_candidate(candidate: Candidate, *, paths: Paths) -> None:
    """Write a candidate down under `candidates/ID.json`, whatever its gate said; again changes nothing."""
    paths.write_once(f"candidates/{candidate.id}.json", encode_candidate(candidate))


def read_candidate(candidate_id: str, *, paths: Paths) -> Candidate:
    """Return a candidate. Raises NotFound, Broken when its bytes are others."""
    if not re.fullmatch(r"[0-9a-f]{12}", candidate_id):
        raise NotFound(f"{candidate_id!r} is no id of a candidate", fix="see `wellspring release list`")
    try:
        content = paths.read(f"candidates/{candidate_id}.json")
    except NotFound:
        raise NotFound(f"no candidate {candidate_id}", fix="see `wellspring release list`") from None
    if hashlib.sha256(content).hexdigest()[:12] != candidate_id:
        raise Broken(f"candidate {candidate_id} no longer hashes to its name", fix="stop; train the model again")
    try:
        fields = canonical.loads_strict(content)
        if isinstance(fields, dict):
            return Candidate.model_validate({"id": candidate_id, **fields})
    except (canonical.Malformed, ValidationError):
        # Its bytes are those that its name says: another version of the house wrote them, or nobody of it.
        pass
    raise Broken(f"candidate {candidate_id} is no candidate", fix="stop; train the model again")


def candidates(paths: Paths) -> tuple[str, ...]:
    """List the ids of all candidates that are kept."""
    return tuple(name.removeprefix("candidates/").removesuffix(".json") for name in paths.list("candidates"))


def _list(named: Mapping[str, Digest]) -> bytes:
    text = "".join(f"{named[name]} {name}\n" for name in sorted(named)).encode()
    _names(text)
    return text


def _names(text: bytes) -> dict[str, Digest]:
    """Read the lines of a manifest: exactly the two files of a model, each once."""
    lines = [line.split(" ", 1) for line in text.decode("utf-8", "replace").removesuffix("\n").split("\n")]
    names = [line[-1] for line in lines]
    if strange := sorted(set(names) - set(FILES)):
        raise Refused(
            f"an artefact holds {len(strange)} files that no model has ({', '.join(strange)[:80]!r}); none was read",
            fix=f"a model is {BOOSTER} and {RECIPE}; a pickle, or anything else that may run code, is never opened",
        )
    if tuple(names) != FILES or any(not re.fullmatch(r"[0-9a-f]{64}", line[0]) for line in lines):
        raise Refused(f"an artefact's manifest does not name {RECIPE} and {BOOSTER}, each once", fix="train it again")
    return {line[1]: line[0] for line in lines}


def _exact(value: object) -> object:
    """Write each float as the text that reads back as the same float: canonical JSON has none."""
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, Mapping):
        return {str(name): _exact(each) for name, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_exact(each) for each in value]
    return value
