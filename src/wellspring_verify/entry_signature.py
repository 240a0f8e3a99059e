"""The signature of an entry: each process of a service signs its lines with a key of its own, made at its start.

The member `signature` of an entry is `{"certificate", "key", "value"}`, each in canonical base64: `key` is the public
key of the process (32 bytes, Ed25519), `value` its signature of the line without this member, and `certificate` the
signature of `certified_text` with the key of the service, which is in OpenBao and which only this service may use. So
an entry is verified with the public key of its service, and nothing else.

The entry of an answer has no signature. A later entry of the same journal names the batch of lines that it is in
(`line_batch`), and that entry is signed.
"""

from __future__ import annotations

import base64
import functools
from collections.abc import Iterable, Mapping
from typing import NamedTuple, cast

from wellspring_verify import notes
from wellspring_verify.answer_signature import verify_signature
from wellspring_verify.canonical import CanonicalValue, MalformedError, dumps_canonical

SIGNED_SERVICES = ("api", "dispatcher", "enclave", "sequencer", "supervisor", "worker")
"""The services that write journals; each has a key in OpenBao."""
KEY_NAME_PART = "/journals/"
"""In the name of a service's verifier key: the name of the log, this, and the service."""


class EntrySignature(NamedTuple):
    """The member `signature`, decoded: the certificate of the key, the public key, the signature of the line."""

    certificate: bytes
    key: bytes
    value: bytes


def service_of(journal: str) -> str:
    """Return the service to which a journal belongs: `worker` for `worker` and `worker-2`."""
    name, dash, number = journal.rpartition("-")
    return name if dash and number.isascii() and number.isdecimal() else journal


def certified_text(journal: str, public_key: bytes) -> bytes:
    """Return the text that the key of a service signs for the key of one of its processes."""
    return f"wellspring journal key\n{journal}\n{base64.b64encode(public_key).decode()}\n".encode()


def parse_signature(value: CanonicalValue) -> EntrySignature:
    """Decode the member `signature`. Raises MalformedError."""
    if not isinstance(value, dict) or value.keys() != {"certificate", "key", "value"}:
        raise MalformedError("its signature has another form")
    if not all(isinstance(text, str) for text in value.values()):
        raise MalformedError("its signature has another form")
    texts = cast("dict[str, str]", value)
    return EntrySignature(*(notes.decode_base64(texts[name]) for name in ("certificate", "key", "value")))


def remove_signature(content: bytes, value: CanonicalValue) -> bytes:
    """Return the signed text: the line without its member `signature`, whose value is given. Raises MalformedError."""
    member = b'"signature":' + dumps_canonical(value) + b","
    if content.count(member) != 1:
        raise MalformedError("its signature is not once in its line")
    return content.replace(member, b"")


def find_signature_fault(journal: str, content: bytes, value: CanonicalValue, keys: Mapping[str, bytes]) -> str:
    """Return why a line is not signed by its service; '' if it is.

    journal: to which the line says that it belongs. value: its member `signature`. keys: public key by service.
    """
    service = service_of(journal)
    if service not in keys:
        return f"{service!a} is not a service whose key is known"
    if value is None:
        return f"it is not signed by {service}"
    try:
        signature = parse_signature(value)
        text = remove_signature(content, value)
    except MalformedError as exc:
        return str(exc)
    if not _is_certified(journal, signature.key, signature.certificate, keys[service]):
        return f"the key that signed it is not certified for the journal {journal} by {service}"
    if not verify_signature(signature.key, signature.value, text):
        return f"its signature is not valid: it is not what {service} wrote"
    return ""


def parse_service_keys(lines: Iterable[str]) -> dict[str, bytes]:
    """Read the public keys of the services by service, from lines that may have other verifier keys too.

    Raises MalformedError for two different keys of one service.
    """
    keys: dict[str, bytes] = {}
    for line in lines:
        if KEY_NAME_PART not in line:
            continue
        key = notes.parse_verifier_key(line.strip())
        service = key.name.rpartition(KEY_NAME_PART)[2]
        if keys.setdefault(service, key.public_key) != key.public_key:
            raise MalformedError(f"there are two keys of the service {service!a}")
    return keys


@functools.lru_cache(1024)
def _is_certified(journal: str, key: bytes, certificate: bytes, service_key: bytes) -> bool:
    return verify_signature(service_key, certificate, certified_text(journal, key))
