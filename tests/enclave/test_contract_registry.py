"""A contract is in force with its first drop, and each later version by a release that two users signed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.builders.enclave import ProjectFixture
from wellspring.data.contracts import contract as contracts
from wellspring.enclave.contract_registry import ContractRegistry
from wellspring.errors import CorruptedError, NotFound, ProjectError, Refused
from wellspring.records.contracts import DataContract
from wellspring.trust.approvals import compute_release_digest
from wellspring.trust.dlp.registry import load_scanner

pytestmark = pytest.mark.live
PERSONAL = "name: member_name\n        logicalType: string\n        classification: operational\n        "
PERSONAL += "customProperties: [{ property: egress, value: plain }]\n      - name: kind\n"


def open_registry(project: ProjectFixture) -> ContractRegistry:
    """Open the contract registry of an open enclave."""
    dependencies = project.dependencies
    return ContractRegistry(
        dependencies.project,
        project.store,
        load_scanner(dependencies.project),
        step=project.step,
        clock=project.clock,
        index=dependencies.index,
    )


def list_codes(refused: pytest.ExceptionInfo[Refused]) -> set[str]:
    assert refused.value.verdict is not None
    return {reason.code for reason in refused.value.verdict.reasons}


def edit_contract(project: ProjectFixture, *replacements: tuple[str, str], name: str = "claim") -> DataContract:
    """Edit the file of a contract, and return what it says now."""
    path = project.folder / "contracts" / f"{name}.odcs.yaml"
    text = path.read_text()
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    return contracts.load_contract(path, tenant="wellspring-benefits", known_since=project.clock.now())


def add_contract(project: ProjectFixture, name: str, **replacements: str) -> DataContract:
    """Write a second contract of the same source beside the first, and return it."""
    text = (project.folder / "contracts" / "claim.odcs.yaml").read_text()
    (project.folder / "contracts" / f"{name}.odcs.yaml").write_text(text)
    own = {"id: claim\n": f"id: {name}\n", "name: claim\n": f"name: {name}\n", '"claim_': f'"{name}_'}
    return edit_contract(project, *own.items(), *replacements.items(), name=name)


def test_a_first_contract_is_accepted_once_and_remembered(project: ProjectFixture) -> None:
    contract = project.contract()
    with project.open_enclave():
        registry = open_registry(project)
        for _ in range(2):
            assert registry.accept(contract.digest) == contract
        assert registry.accepted_by_digest(contract.digest) == contract
        with pytest.raises(CorruptedError):
            registry.accepted_by_digest("0" * 64)
    assert [entry.subject for entry in project.list_entries("accept")] == ["contract:claim@1.0.0"]


def test_the_accepted_version_stays_in_force_while_the_file_differs(project: ProjectFixture) -> None:
    contract = project.contract()
    with project.open_enclave():
        registry = open_registry(project)
        registry.accept(contract.digest)
        changed = project.write_contract(version="2.0.0", kinds=("a", "b", "c"))
        assert registry.read_all() == (contract,)
        assert registry.accept(contract.digest, source="clearinghouse", name="claim_1.csv") == contract
        with pytest.raises(Refused, match="no contract in force"):
            registry.accept(changed.digest)


def test_a_version_is_in_force_once_two_users_signed_it(project: ProjectFixture) -> None:
    with project.open_enclave():
        registry = open_registry(project)
        registry.accept(project.contract().digest)
        wider = edit_contract(
            project,
            ("1.0.0", "1.1.0"),
            ("decimal(12,2)", "decimal(14,2)"),
            ("name: amount\n", PERSONAL.replace("member_name", "place").replace("name: kind", "name: amount")),
        )
        change = project.draft_release()
        review = registry.review_contract(wider.digest)
        assert (review.replaced_version, review.effect, review.exceptions) == ("1.0.0", "compatible", ())
        assert review.changes == (
            "compatible: place is new: string, operational, leaves as plain",
            "compatible: amount is wider: from decimal128(12, 2) to decimal128(14, 2)",
        )
        project.sign_release(change)
        accepted = registry.accept_change(change.id)
        assert {column.name: column.added_in for column in accepted.columns if column.added_in} == {"place": "1.1.0"}
        assert registry.accept_change(change.id) == accepted, "a recovery repeats it"
        assert registry.accept(wider.digest).digest == wider.digest
    last = project.list_entries("accept")[-1]
    assert (last.text("release"), last.text("approved_by"), last.text("effect")) == (change.id, "user:bo", "compatible")


@pytest.mark.parametrize("is_proposed", [True, False])
def test_the_word_of_the_worker_that_somebody_approved_counts_for_nothing(
    project: ProjectFixture, is_proposed: bool
) -> None:
    with project.open_enclave():
        registry = open_registry(project)
        registry.accept(project.contract().digest)
        project.write_contract(version="1.1.0", kinds=("a", "b", "c"))
        # The worker writes this record itself, and it says that one person may make the change.
        change = project.draft_release(second_person=False)
        if is_proposed:
            project.sign_release(change, is_approved=False)
        with pytest.raises(Refused) as refused:
            registry.accept_change(change.id)
        assert list_codes(refused) == {"not_approved" if is_proposed else "not_proposed"}
        assert registry.read_all()[0].version == "1.0.0"
    assert len(project.list_entries("accept", "refused")) == 1


def test_the_proposer_and_an_unknown_user_are_no_second_person(project: ProjectFixture) -> None:
    with project.open_enclave():
        registry = open_registry(project)
        registry.accept(project.contract().digest)
        project.write_contract(version="1.1.0", kinds=("a", "b", "c"))
        change = project.draft_release()
        project.sign_release(change)
        (approval,) = project.books.list_entries(action="approve")
        signed = approval.entry
        for facts in ({"user": "user:ana"}, {"user": "user:eve"}, {"signature": signed.text("signature")[::-1]}):
            project.books.change(signed, facts={**signed.facts, **facts})
            with pytest.raises(CorruptedError):
                registry.accept_change(change.id)
        assert registry.read_all()[0].version == "1.0.0"


def test_a_release_of_another_contract_or_kind_puts_nothing_into_force(project: ProjectFixture) -> None:
    with project.open_enclave():
        registry = open_registry(project)
        registry.accept(project.contract().digest)
        project.write_contract(version="1.1.0", kinds=("a", "b", "c"))
        loose = project.draft_release()
        add_contract(project, "again")
        changes = registry._changes
        renamed = loose.model_copy(update={"name": "again", "id": "", "digest": ""})
        with pytest.raises(NotFound):
            registry.accept_change("0" * 12)
        digest = compute_release_digest(renamed)
        renamed = changes.save(renamed.model_copy(update={"id": digest[:12], "digest": digest}))
        project.sign_release(renamed)
        with pytest.raises(Refused) as refused:
            registry.accept_change(renamed.id)
        assert list_codes(refused) == {"other_content"}


@pytest.mark.parametrize(
    ("replacement", "code"),
    [
        (("name: kind", "name: sort"), "removed_column"),
        (("decimal(12,2)", "decimal(10,2)"), "changed_type"),
        (("decimal(12,2)", "decimal(12,4)"), "changed_type"),
        (("{ property: domain", "{ property: normalization, value: trim nfc lower }, { property: domain"),
         "normalization_changed"),
        (("validValues: [a, b]", "validValues: [a]"), "narrowed"),
        (("        primaryKey: true\n", ""), "changed_key"),
    ],
)  # fmt: skip
def test_a_breaking_version_is_refused_once_rows_are_published(
    project: ProjectFixture, replacement: tuple[str, str], code: str
) -> None:
    project.put("claim_1.csv", "C-1,a,1.00")
    with project.open_enclave() as enclave:
        first = enclave.ingest_file("clearinghouse", "claim_1.csv", project.contract().digest)
        edit_contract(project, ("1.0.0", "1.1.0"), replacement)
        change = project.draft_release()
        project.sign_release(change)
        assert enclave.review_contract(change.content).effect == "breaking", "no row is published yet"
        enclave.confirm_published(first.drop.id, 0)
        for call in (lambda: enclave.review_contract(change.content), lambda: enclave.accept_contract(change.id)):
            with pytest.raises(Refused, match="would break the rows") as refused:
                call()
            assert code in list_codes(refused)
            assert "another contract" in refused.value.fix
    assert len(project.list_entries("accept", "refused")) == 2


@pytest.mark.parametrize(("version", "code"), [("1.0.0", "version_unchanged"), ("0.9.0", "version_lower")])
def test_a_version_is_higher_than_the_one_in_force(project: ProjectFixture, version: str, code: str) -> None:
    """So an old release, whose signatures stay valid, does not come back."""
    with project.open_enclave():
        registry = open_registry(project)
        registry.accept(project.contract().digest)
        project.write_contract(version=version, kinds=("a", "b", "c"))
        change = project.draft_release()
        project.sign_release(change)
        with pytest.raises(Refused) as refused:
            registry.accept_change(change.id)
        assert list_codes(refused) == {code}


def test_a_contract_that_cannot_be_read_stops_everything(project: ProjectFixture) -> None:
    (project.folder / "contracts" / "claim.odcs.yaml").write_text("nonsense: true\n")
    with project.open_enclave():
        registry = open_registry(project)
        with pytest.raises(ProjectError):
            registry.read_all()


def test_a_weaker_version_names_what_it_weakens(project: ProjectFixture) -> None:
    with project.open_enclave():
        registry = open_registry(project)
        registry.accept(project.contract().digest)
        edit_contract(project, ("1.0.0", "1.1.0"), ("classification: financial", "classification: operational"))
        change = project.draft_release()
        review = registry.review_contract(change.content)
        assert (review.effect, [reason.code for reason in review.exceptions]) == ("weakened", ["weakened_protection"])
        assert review.needs_second_person


@pytest.mark.parametrize("column", ["member_name", "street", "note", "ssn", "e_mail"])
def test_a_first_contract_that_lets_personal_data_leave_needs_the_second_person(
    project: ProjectFixture, column: str
) -> None:
    plain = PERSONAL.replace("member_name", column)
    with project.open_enclave():
        registry = open_registry(project)
        open_contract = add_contract(project, "open", **{"name: kind\n": plain})
        with pytest.raises(Refused, match=f"{column} holds .* by its name, and leaves as plain") as refused:
            registry.accept(open_contract.digest)
        assert list_codes(refused) == {"personal_column"}
        assert "release propose --kind contract open" in refused.value.fix
        change = project.draft_release("open", second_person=False)
        project.sign_release(change, is_approved=False)
        with pytest.raises(Refused, match="not approved by a second person"):
            registry.accept_change(change.id)
        change = project.draft_release("open")
        project.sign_release(change)
        assert registry.accept_change(change.id).digest == open_contract.digest
        assert registry.accept(open_contract.digest).digest == open_contract.digest
        # What was permitted once is not asked again.
        edit_contract(project, ("1.0.0", "1.1.0"), name="open")
        assert registry.review_contract(project.draft_release("open").content).exceptions == ()


def test_a_first_contract_without_exceptions_may_be_released_by_one_person(project: ProjectFixture) -> None:
    with project.open_enclave():
        registry = open_registry(project)
        change = project.draft_release(second_person=False)
        assert not registry.review_contract(change.content).needs_second_person
        project.sign_release(change, is_approved=False)
        assert registry.accept_change(change.id).version == "1.0.0"


def test_a_contract_of_another_name_that_protects_a_column_less_needs_the_second_person(
    project: ProjectFixture,
) -> None:
    token = "egress, value: token }, { property: domain, value: claim }"
    with project.open_enclave():
        registry = open_registry(project)
        registry.accept(project.contract().digest)
        again = add_contract(project, "again")
        registry.accept(again.digest)
        looser = add_contract(project, "loose", **{token: "egress, value: plain }"})
        with pytest.raises(Refused, match=r"claim_id leaves as .*claim 1\.0\.0, an earlier contract") as refused:
            registry.accept(looser.digest)
        assert list_codes(refused) == {"weakened_protection"}
        assert "loose" not in project.store.list_latest_contracts()
    (entry,) = project.list_entries("accept", "refused")
    assert entry.subject == "contract:loose@1.0.0"


def test_a_contract_of_the_same_files_under_a_new_source_that_protects_a_column_less_is_refused(
    project: ProjectFixture,
) -> None:
    token = "egress, value: token }, { property: domain, value: claim }"
    source = {"source, value: clearinghouse": "source, value: second"}
    path = project.folder / "wellspring.toml"
    path.write_text(path.read_text() + "\n[sources.second]\nkind = 'sftp'\naddress = 'embedded'\n")
    with project.open_enclave():
        registry = open_registry(project)
        registry.accept(project.contract().digest)
        looser = add_contract(project, "loose", **{token: "egress, value: plain }", '"loose_*': '"*'}, **source)
        with pytest.raises(Refused, match="an earlier contract of the source clearinghouse"):
            registry.accept(looser.digest)
        # Other files.
        registry.accept(add_contract(project, "open", **{token: "egress, value: plain }"}, **source).digest)
        registry.accept(add_contract(project, "loose", **{'"loose_*': '"*'}, **source).digest)


def test_a_check_that_spells_a_protected_column_needs_the_second_person(project: ProjectFixture) -> None:
    named = "name: claim_id\n        logicalType: string\n"
    spelling: dict[str, Any] = {named: f"{named}        logicalTypeOptions: {{ pattern: '^d' }}\n"}
    with project.open_enclave():
        registry = open_registry(project)
        with pytest.raises(Refused, match="claim_id has a pattern that spells letters") as refused:
            registry.accept(add_contract(project, "spelled", **spelling).digest)
        assert list_codes(refused) == {"revealing_check"}
        shape = {named: f"{named}        logicalTypeOptions: {{ pattern: '^[A-Z]{{3}}[0-9]{{6}}$' }}\n"}
        registry.accept(add_contract(project, "spelled", **shape).digest)
        add_contract(project, "spelled", **spelling, **{"version: 1.0.0": "version: 1.1.0"})
        review = registry.review_contract(project.draft_release("spelled").content)
        assert [reason.code for reason in review.exceptions] == ["weakened_check", "revealing_check"]
