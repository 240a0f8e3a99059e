"""The versions in force are those that the enclave's entries name, and nobody else's."""

from __future__ import annotations

from tests.builders.approvals import Books
from wellspring.data.contracts.accepted_versions import AcceptedVersion, list_accepted_versions
from wellspring.records.trust import Ref


def accept(books: Books, subject: str, digest: str, *, service: str = "enclave") -> None:
    with books.step("accept", subject, inputs=[Ref(name=subject, digest=digest)]):
        pass
    books.change(books.step.entries[-1], service=service)


def test_the_last_version_that_the_enclave_accepted_is_in_force():
    books = Books()
    accept(books, "contract:claim@1.0.0", "1" * 64)
    accept(books, "contract:order@1.0.0", "2" * 64)
    accept(books, "contract:claim@1.1.0", "3" * 64)
    accept(books, "contract:order@9.0.0", "4" * 64, service="worker")
    assert list_accepted_versions(books) == {
        "claim": AcceptedVersion("claim", "1.1.0", "3" * 64),
        "order": AcceptedVersion("order", "1.0.0", "2" * 64),
    }


def test_an_entry_that_names_no_content_puts_nothing_into_force():
    books = Books()
    with books.step("accept", "contract:claim@1.0.0", inputs=[Ref(name="release:1", digest="1" * 64)]):
        pass
    books.change(books.step.entries[-1], service="enclave")
    assert list_accepted_versions(books) == {}
