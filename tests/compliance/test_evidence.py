import json
import shutil
from pathlib import Path

import pytest

from tests.builders import prediction_story
from tests.builders.journal_keys import SERVICE_KEY_LINES
from tests.builders.ledger import CONTRACT, JournalStep, Ledger, sha, tell_drop
from tests.builders.recording_step import FixedClock
from wellspring.compliance.evidence import (
    collect_documents,
    collect_story,
    find_seal,
    lay_out_pack,
    seal_story,
    write_pack,
)
from wellspring.errors import CorruptedError, NotFound, Refused
from wellspring.records.models import Release
from wellspring.records.trust import Ref
from wellspring.trust.approvals import compute_release_digest
from wellspring_verify import canonical, verify_pack
from wellspring_verify.story import render_story_json, render_story_page

CONTRACTS = {"medical_claim@1.0.0": CONTRACT}


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    item = Ledger(tmp_path / "project")
    tell_drop(item, "d1", edition="e1", parent=None)
    tell_drop(item, "d2", edition="e2", parent="e1")
    tell_drop(item, "x9", edition="e3", parent="e2", contract="eligibility")
    item.sequencer.integrate()
    return item


def packed(ledger: Ledger, folder: Path, subject: str = "drop:d1", contracts: dict[str, bytes] = CONTRACTS) -> int:
    result = collect_story(ledger.index, subject)
    seal_story(JournalStep(ledger, "worker"), ledger.index, result, contracts)
    ledger.sequencer.integrate()
    return write_pack(folder, result, contracts, ledger.tree, ledger.index)


def tree_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def result(ledger: Ledger, subject: str) -> list[tuple[str, str, str]]:
    return [
        (item.entry.action, item.entry.phase, item.entry.subject)
        for item in collect_story(ledger.index, subject).entries
    ]


def test_a_drop_s_story_holds_all_its_entries_and_the_editions_that_took_it_in(ledger: Ledger):
    assert result(ledger, "drop:d2") == [
        ("land", "done", "drop:d2"),
        ("admit", "done", "drop:d2"),
        ("stage", "done", "drop:d2"),
        ("publish", "intent", "edition:e2"),
        ("publish", "done", "edition:e2"),
        ("settle", "done", "drop:d2"),
    ]


def test_an_edition_s_story_holds_its_drops_and_its_ancestors(ledger: Ledger):
    assert {about for _, _, about in result(ledger, "edition:e2")} == {"drop:d1", "drop:d2", "edition:e1", "edition:e2"}
    assert {about for _, _, about in result(ledger, "edition:e1")} == {"drop:d1", "edition:e1"}


def test_a_dataset_s_story_has_the_drops_validated_against_its_contract(ledger: Ledger):
    assert {about for _, _, about in result(ledger, "dataset:eligibility")} == {"drop:x9", "edition:e3"}
    abouts = {about for _, _, about in result(ledger, "dataset:medical_claim")}
    assert abouts == {"drop:d1", "drop:d2", "edition:e1", "edition:e2"}


def test_what_has_no_story_is_not_found_with_the_nearest_name(ledger: Ledger):
    for subject, hint in (
        ("drop:d3", "drop:d"),
        ("edition:e11", "edition:e1"),
        ("dataset:medical_clam", "dataset:medical_claim"),
        ("server:openbao", "name drop:ID"),
        ("d1", "name drop:ID"),
        ("drop:", "name drop:ID"),
    ):
        with pytest.raises(NotFound) as caught:
            collect_story(ledger.index, subject)
        assert hint in caught.value.fix


def test_a_story_says_who_what_when_which_contract_and_which_rows_by_digest(ledger: Ledger):
    item = collect_story(ledger.index, "drop:d1")
    facts = json.loads(render_story_json(item.subject, item.verifier_entries))["entries"]
    admit = facts[1]
    assert (admit["actor"], admit["action"], admit["subject"]) == ("service:enclave", "admit", "drop:d1")
    assert admit["known_since"] == "2026-11-25T12:00:02.000000Z"
    assert admit["contracts"] == [{"name": "contract:medical_claim@1.0.0", "digest": sha(CONTRACT)}]
    assert admit["outputs"] == [{"name": "rows:d1/0", "digest": sha("rows d1")}]
    assert "10 received, 8 admitted as tokens, 2 quarantined, 1 masked; outcome pass" in admit["description"]
    page = render_story_page(item.subject, item.verifier_entries).decode()
    assert "service:enclave fetched the file medical_claim_d1.csv of 1234 bytes, 10 rows" in page
    assert f"- contract: `contract:medical_claim@1.0.0`, SHA-256 `{sha(CONTRACT)}`" in page


def test_a_pack_verifies_with_the_keys_and_only_with_them(ledger: Ledger, tmp_path: Path):
    for number, subject in enumerate(("drop:d1", "edition:e2", "dataset:medical_claim")):
        folder = tmp_path / f"pack{number}"
        packed(ledger, folder, subject)
        log, witness = ledger.sequencer.verifier_key(), ledger.witness.verifier_key()
        report = verify_pack(folder, key=log, witness=witness, services=SERVICE_KEY_LINES)
        assert (report.outcome, report.findings, report.subject) == (0, (), subject)
        for keys in ((log, None), (None, witness), (None, None)):
            assert verify_pack(folder, key=keys[0], witness=keys[1], services=SERVICE_KEY_LINES).outcome == 10


def test_a_story_is_sealed_once_and_rendered_the_same_each_time(ledger: Ledger, tmp_path: Path):
    first = packed(ledger, tmp_path / "first")
    second = packed(ledger, tmp_path / "second")
    assert first == second
    assert tree_of(tmp_path / "first") == tree_of(tmp_path / "second")
    assert len(ledger.index.list_entries(action="seal")) == 1
    # Another story of the same subject is sealed again: the contract's bytes are part of it.
    packed(ledger, tmp_path / "third", contracts={})
    assert len(ledger.index.list_entries(action="seal")) == 2


def test_seals_and_proofs_are_not_part_of_the_story(ledger: Ledger, tmp_path: Path):
    before = collect_story(ledger.index, "drop:d1")
    packed(ledger, tmp_path / "pack")
    with JournalStep(ledger, "worker")("prove", "drop:d1"):
        pass
    ledger.sequencer.integrate()
    assert collect_story(ledger.index, "drop:d1") == before


def test_an_older_pack_is_replaced_and_nothing_else_is(ledger: Ledger, tmp_path: Path):
    folder = tmp_path / "deep" / "pack"
    packed(ledger, folder)
    (folder / "left over").touch()
    packed(ledger, folder, "edition:e2")
    assert (
        verify_pack(
            folder,
            key=ledger.sequencer.verifier_key(),
            witness=ledger.witness.verifier_key(),
            services=SERVICE_KEY_LINES,
        ).outcome
        == 0
    )
    second = tmp_path / "other"
    second.mkdir()
    packed(ledger, second)
    shutil.rmtree(second)
    second.mkdir()
    (second / "thesis.txt").write_text("mine")
    with pytest.raises(Refused, match="is not a pack"):
        packed(ledger, second)
    assert (second / "thesis.txt").read_text() == "mine"
    file = tmp_path / "file"
    file.write_text("mine")
    link = tmp_path / "link"
    link.symlink_to(folder)
    for taken in (file, link):
        with pytest.raises(Refused, match="is not a pack"):
            packed(ledger, taken)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["deep", "file", "link", "other", "project"]


def test_contracts_are_found_by_digest(ledger: Ledger, tmp_path: Path):
    item = collect_story(ledger.index, "drop:d1")
    assert collect_documents(item, tmp_path) == {}
    (tmp_path / "any.odcs.yaml").write_bytes(CONTRACT)
    (tmp_path / "other.odcs.yaml").write_bytes(CONTRACT + b"#")
    assert collect_documents(item, tmp_path) == CONTRACTS
    (tmp_path / "any.odcs.yaml").write_bytes(CONTRACT + b"##")
    assert collect_documents(item, tmp_path) == {}


def test_a_contract_that_changed_since_is_refused(ledger: Ledger, tmp_path: Path):
    for error in ({"medical_claim@1.0.0": CONTRACT + b"#"}, {"medical_claim@2.0.0": CONTRACT}, {"../x@1": CONTRACT}):
        with pytest.raises(Refused):
            packed(ledger, tmp_path / "pack", contracts=error)
    assert not (tmp_path / "pack").exists()


def test_a_story_that_is_not_sealed_is_never_packed(ledger: Ledger, tmp_path: Path):
    item = collect_story(ledger.index, "drop:d1")
    assert find_seal(ledger.index, item, {}) is None
    with pytest.raises(NotFound, match="not sealed"):
        write_pack(tmp_path / "pack", item, {}, ledger.tree, ledger.index)


def test_an_index_that_differs_from_the_tree_is_never_packed(ledger: Ledger, tmp_path: Path):
    item = collect_story(ledger.index, "drop:d1")
    seal_story(JournalStep(ledger, "worker"), ledger.index, item, {})
    ledger.sequencer.integrate()
    bundle = ledger.paths.read(f"tile/entries/000.p/{ledger.tree.size}")
    assert bundle.count(b'"received":10') > 0
    ledger.paths.replace(f"tile/entries/000.p/{ledger.tree.size}", bundle.replace(b'"received":10', b'"received":99'))
    with pytest.raises(CorruptedError, match="differ in entry"):
        write_pack(tmp_path / "pack", item, {}, ledger.tree, ledger.index)


def test_the_texts_behind_digests_are_found_by_digest(tmp_path: Path):
    item = Ledger(tmp_path / "project")
    prediction_story.record_entry(item, prediction_story.steps())
    subject = prediction_story.SUBJECT
    now, models = collect_story(item.index, subject), prediction_story.stored(tmp_path / "models")
    release, candidate = prediction_story.release(), f"candidate:{prediction_story.CANDIDATE_ID}"
    name = f"documents/release/{release.name.partition(':')[2]}/{release.digest}"
    matches = collect_documents(now, tmp_path, models)
    assert sorted(matches) == sorted(
        [name, f"documents/{candidate.replace(':', '/')}/{sha(prediction_story.CANDIDATE)}"]
    )
    assert json.loads(matches[name]) == prediction_story.RELEASE
    # A manifest's digest is that of its text, without the signature lines below it.
    (models / "manifest").write_bytes("artefact\n\n\u2014 project AAAA\n".encode())
    steps = prediction_story.steps()
    artefact = Ref(name="artifact:denials", digest=sha("artefact\n"))
    two = Ledger(tmp_path / "second")
    prediction_story.record_entry(two, {"train": steps["train"]._replace(outputs=(artefact,))})
    assert collect_documents(collect_story(two.index, "run:r1"), tmp_path, models) == {
        f"documents/artifact/denials/{artefact.digest}": b"artefact\n"
    }
    # What was changed since, or lies nowhere, is not among them.
    prediction_story.stored(models, prediction_story.with_threshold("0.9"))
    (models / "candidates" / "one.json").write_bytes(b"[" * 100_000)
    assert collect_documents(now, tmp_path, models, tmp_path / "nowhere") == {}


def test_a_stored_release_is_found_by_the_digest_of_its_approved_fields(tmp_path: Path):
    """What two people signed is the digest of the record's other fields: see records.models.Release."""
    record = Release.model_validate(
        {**prediction_story.RELEASE, "id": "", "digest": "", "tenant": "acme", "known_since": FixedClock().now()}
    )
    digest = compute_release_digest(record)
    assert digest == prediction_story.release().digest
    stored = record.model_copy(update={"id": digest[:12], "digest": digest})
    (tmp_path / "one.json").write_bytes(canonical.dumps_canonical(stored.model_dump(mode="json")))
    item = Ledger(tmp_path / "project")
    prediction_story.record_entry(item, prediction_story.steps())
    matches = collect_documents(collect_story(item.index, prediction_story.SUBJECT), tmp_path / "contracts", tmp_path)
    assert matches == {f"documents/release/{digest[:12]}/{digest}": canonical.dumps_canonical(prediction_story.RELEASE)}


def test_a_document_that_no_entry_names_is_refused(tmp_path: Path):
    item = Ledger(tmp_path / "project")
    prediction_story.record_entry(item, prediction_story.steps())
    now = collect_story(item.index, prediction_story.SUBJECT)
    right = collect_documents(now, tmp_path, prediction_story.stored(tmp_path / "models"))
    assert lay_out_pack(now, "log", right).files.keys() >= right.keys()
    name = next(iter(right))
    for error in ({name: right[name] + b" "}, {f"documents/release/x/{sha('x')}": b"x"}, {"documents/../x": b"x"}):
        with pytest.raises(Refused):
            lay_out_pack(now, "log", error)


def test_a_model_s_story_that_is_not_there_is_not_found_with_the_nearest_name(tmp_path: Path):
    item = Ledger(tmp_path / "project")
    prediction_story.record_entry(item, prediction_story.steps())
    release = prediction_story.release().name.partition(":")[2]
    for subject, hint in (
        (f"model:denial@{release}", f"model:denials@{release}"),
        ("prediction:p9", "check the id"),
        ("user:ines", "name drop:ID"),
    ):
        with pytest.raises(NotFound) as caught:
            collect_story(item.index, subject)
        assert hint in caught.value.fix
