"""The signature of an entry: of the right service, the right journal and the right bytes, in one spelling."""

from __future__ import annotations

import pytest

from tests.builders.journal_keys import SERVICE_KEY_LINES, SERVICE_KEYS, journal_key
from tests.builders.verifier_entries import ENTRY
from wellspring_verify.canonical import CanonicalValue, MalformedError, dumps_canonical
from wellspring_verify.entry_signature import find_signature_fault, parse_service_keys, service_of

SIGNATURE: dict[str, CanonicalValue] = {**journal_key("enclave").sign_line(dumps_canonical(ENTRY)).model_dump()}
LINE = dumps_canonical({**ENTRY, "signature": SIGNATURE})


def fault(journal: str = "enclave", content: bytes = LINE, value: CanonicalValue = SIGNATURE) -> str:
    return find_signature_fault(journal, content, value, SERVICE_KEYS)


def test_a_line_that_its_service_signed_has_no_fault():
    assert fault() == ""


def test_each_numbered_journal_belongs_to_its_service():
    assert [service_of(name) for name in ("worker", "worker-2", "worker-x", "api")] == [
        "worker", "worker", "worker-x", "api",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("journal", "content", "value", "message"),
    [
        ("api", LINE, SIGNATURE, "is not certified for the journal api"),
        ("enclave-2", LINE, SIGNATURE, "is not certified for the journal enclave-2"),
        ("nobody", LINE, SIGNATURE, "is not a service whose key is known"),
        ("enclave", LINE, None, "it is not signed by enclave"),
        ("enclave", LINE.replace(b"acme", b"acne"), SIGNATURE, "its signature is not valid"),
        ("enclave", LINE, {**SIGNATURE, "more": ""}, "another form"),
        ("enclave", LINE, {**SIGNATURE, "value": 1}, "another form"),
        ("enclave", LINE, "text", "another form"),
        ("enclave", LINE, {**SIGNATURE, "value": "AB=="}, "not in the canonical form"),
        ("enclave", LINE + LINE, SIGNATURE, "not once in its line"),
    ],
)
def test_a_line_of_another_writer_has_a_fault(journal: str, content: bytes, value: CanonicalValue, message: str):
    assert message in fault(journal, content, value)


def test_the_keys_of_services_are_read_from_lines_with_other_keys():
    lines = ["", "# keys", "wellspring.example.com/x/1+00000000+AAAA", *SERVICE_KEY_LINES]
    assert parse_service_keys(lines) == SERVICE_KEYS
    changed = SERVICE_KEY_LINES[0].replace("/test/", "/other/")
    with pytest.raises(MalformedError):
        parse_service_keys([changed])
