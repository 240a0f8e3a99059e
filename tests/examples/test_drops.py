"""The demo's drops are what they say: the good keep their contract, each flaw of the bad is there and nothing else."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from collections import defaultdict
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

import pytest
import yaml
from open_data_contract_standard.model import OpenDataContractStandard

from examples.health_plan import drops
from tests.builders.reference_validator import Reasons, validate_rows
from tests.builders.validation import validate_file
from wellspring.data.contracts.contract import contract_for_file, load_all, load_contract
from wellspring.data.contracts.protection import weakened_protections
from wellspring.records.contracts import DataContract
from wellspring.trust.tokenization import Tokenizer

EXAMPLE = Path(drops.__file__).parent
CONTRACTS = sorted((EXAMPLE / "contracts").iterdir())
CLAIM, ELIGIBILITY = (EXAMPLE / "contracts" / f"{name}.odcs.yaml" for name in ("medical_claim", "eligibility"))


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> drops.Bad:
    return drops.bad(tmp_path_factory.mktemp("outbox"))


@pytest.mark.parametrize("path", CONTRACTS, ids=lambda path: path.name)
def test_contracts_keep_the_standard_itself(path: Path) -> None:
    import jsonschema

    schema = json.loads(files("open_data_contract_standard").joinpath("schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(yaml.safe_load(path.read_text()), schema)
    assert OpenDataContractStandard.from_file(str(path)).version == "1.0.0"


@pytest.mark.parametrize("path", CONTRACTS, ids=lambda path: path.name)
def test_each_column_says_how_it_may_leave(path: Path) -> None:
    for column in yaml.safe_load(path.read_text())["schema"][0]["properties"]:
        output = {custom["property"]: custom["value"] for custom in column["customProperties"]}
        assert column["classification"]
        assert output["egress"] in {"plain", "token", "year", "prefix(3)", "masked", "never"}
        assert ("domain" in output) == (output["egress"] == "token")
        if column["classification"] in {"identifier", "contact"}:
            assert output["egress"] in {"token", "never"}


def test_good_rows_keep_their_contract(tmp_path: Path) -> None:
    good = drops.good(tmp_path, lines=3000)
    assert {path.name for path in tmp_path.iterdir()} == set(good.rows)
    eligibility, claims = good.paths
    assert validate_rows(eligibility, ELIGIBILITY) == {}
    assert validate_rows(claims, CLAIM) == {}
    assert [len(_rows(path)) - 1 for path in good.paths] == list(good.rows.values())


def test_the_rows_of_the_history_keep_their_contracts(tmp_path: Path) -> None:
    history = drops.history(tmp_path, months=8, members=500, lines=3000)
    assert {path.name for path in tmp_path.iterdir()} == set(history.rows)
    for path in history.paths:
        name = path.name.removesuffix("_2026-03_2026-10.csv")
        contract = EXAMPLE / "contracts" / f"{name}.odcs.yaml"
        assert validate_rows(path, contract) == {}, name
        assert len(_rows(path)) - 1 == history.rows[path.name] > 0
        signed = yaml.safe_load(contract.read_text())["schema"][0]["properties"]
        assert _rows(path)[0] == [item["name"] for item in signed]
    assert {path.name.removesuffix("_2026-03_2026-10.csv") for path in history.paths} == {
        path.name.removesuffix(".odcs.yaml") for path in CONTRACTS
    }


def test_validation_accepts_the_whole_history(tmp_path: Path) -> None:
    history = drops.history(tmp_path, months=3, members=500, lines=3000)
    since = datetime(2026, 11, 1, tzinfo=UTC)
    contracts = load_all(EXAMPLE / "contracts", tenant="wellspring-benefits", known_since=since)
    for path in history.paths:
        contract = contract_for_file(contracts, "clearinghouse", path.name)
        validated = validate_file(path.read_bytes(), contract, _tokenizer(contract))
        assert validated.valid.num_rows == history.rows[path.name], contract.name
        # Notes hold personal data, which is masked; nothing else is noted.
        noted = {finding.code.partition(".")[0] for finding in validated.findings if finding.column != "note"}
        assert noted == set(), contract.name


def test_no_claim_of_a_later_drop_has_a_number_of_the_history(tmp_path: Path, bad: drops.Bad) -> None:
    history = drops.history(tmp_path, months=2, members=500, lines=3000)
    expected = {row["claim_id"] for row in _named(history.paths[1])}
    sent = {row["claim_id"] for path in (drops.corrected(tmp_path), bad.path) for row in _named(path)}
    assert expected
    assert not expected & sent
    # The same people, so that their tokens join.
    members = {row["member_id"] for row in _named(history.paths[0])}
    assert {row["member_id"] for row in _named(drops.good(tmp_path, lines=500, members=500).paths[1])} <= members


def test_the_truth_of_the_history_is_about_its_claims_and_in_none_of_its_files(tmp_path: Path) -> None:
    result = drops.truth(months=2, members=500, lines=3000)
    history = drops.history(tmp_path, months=2, members=500, lines=3000)
    assert set(result["claim_id"].to_pylist()) == {row["claim_id"] for row in _named(history.paths[1])}
    assert not any("probability" in _rows(path)[0] for path in history.paths)


def test_good_drop_holds_the_planted_people(tmp_path: Path) -> None:
    good = drops.good(tmp_path)
    eligibility, claims = (path.read_text() for path in good.paths)
    assert len(good.planted) == drops.PLANTED
    for person in good.planted:
        assert all(mark in eligibility for mark in person.marks)
        assert person.member_id in claims


def test_the_reference_validator_finds_exactly_the_planted_flaws(bad: drops.Bad) -> None:
    assert validate_rows(bad.path, CLAIM) == _expected_reasons(bad)
    assert len({flaw.kind for flaw in bad.flaws}) == 10
    assert len({flaw.row for flaw in bad.flaws}) == len(bad.flaws)


def test_validation_finds_exactly_the_planted_flaws(bad: drops.Bad) -> None:
    contract = load_contract(CLAIM, tenant="wellspring-benefits", known_since=datetime(2026, 11, 1, tzinfo=UTC))
    validated = validate_file(bad.path.read_bytes(), contract, _tokenizer(contract))
    matches: Reasons = defaultdict(set)
    for number, code, column in validated.reasons:
        matches[number].add((code, column or ""))
    assert dict(matches) == _expected_reasons(bad)
    undeclared = [finding for finding in validated.findings if finding.code == "undeclared_column"]
    assert [(finding.column, finding.count) for finding in undeclared] == [(bad.undeclared, bad.rows)]


def test_revalidation_accepts_exactly_the_repairable_rows(bad: drops.Bad, tmp_path: Path) -> None:
    shutil.copy(CLAIM, tmp_path)
    since = datetime(2026, 11, 1, tzinfo=UTC)
    old = load_contract(CLAIM, tenant="wellspring-benefits", known_since=since)
    new = load_contract(drops.repaired_contract(tmp_path), tenant="wellspring-benefits", known_since=since)
    assert weakened_protections(old, new) == ()
    content = bad.path.read_bytes()
    first = validate_file(content, old, _tokenizer(old))
    again = validate_file(content, new, _tokenizer(new), only_rows=first.quarantined)
    assert again.valid["row_number"].to_pylist() == [
        flaw.row for flaw in bad.flaws if flaw.column == "place_of_service_code"
    ]


def test_bad_drop_has_a_column_of_phones_that_nobody_declared(bad: drops.Bad) -> None:
    with bad.path.open(newline="") as text:
        rows = list(csv.DictReader(text))
    assert len(rows) == bad.rows
    assert all("-555-01" in row[bad.undeclared] for row in rows)
    assert bad.undeclared not in CLAIM.read_text()


def test_repaired_contract_frees_what_the_contract_forgot_and_nothing_else(bad: drops.Bad, tmp_path: Path) -> None:
    shutil.copy(CLAIM, tmp_path)
    path = drops.repaired_contract(tmp_path)
    assert [item.name for item in tmp_path.iterdir()] == [CLAIM.name]
    assert OpenDataContractStandard.from_file(str(path)).version == "1.1.0"
    before, after = validate_rows(bad.path, CLAIM), validate_rows(bad.path, path)
    freed = {number for number in before if number not in after}
    assert freed == {flaw.row for flaw in bad.flaws if flaw.column == "place_of_service_code"}
    assert len(freed) == bad.repairable
    assert after.items() <= before.items()
    with pytest.raises(ValueError, match=r"not medical_claim 1\.0\.0"):
        drops.repaired_contract(tmp_path)


def test_broken_schema_lacks_a_required_column_and_corrected_has_it_back(tmp_path: Path) -> None:
    broken, corrected = drops.broken_schema(tmp_path), drops.corrected(tmp_path)
    assert broken.name != corrected.name
    (header, *rows), (mended, *same) = (_rows(path) for path in (broken, corrected))
    assert set(mended) - set(header) == {"member_id"}
    assert rows == same
    assert validate_rows(corrected, CLAIM) == {}


def test_drops_load_beside_the_project_without_a_package(tmp_path: Path) -> None:
    """A wheel holds these files under another name, and a person may copy them: neither may need `examples`."""
    for path in EXAMPLE.glob("*.py"):
        shutil.copy(path, tmp_path)
    code = (
        "import sys, pathlib, drops; here = pathlib.Path(sys.argv[1]);"
        " drops.history(here, months=2, members=50, lines=40); print(drops.broken_schema(here, lines=5).name)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == ["medical_claim_2026-11.csv"]


def _tokenizer(contract: DataContract) -> Tokenizer:
    return Tokenizer({column.domain: (1, b"k" * 32) for column in contract.columns if column.domain})


def _named(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as text:
        return list(csv.DictReader(text))


def _rows(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as text:
        return list(csv.reader(text))


def _expected_reasons(bad: drops.Bad) -> Reasons:
    result: Reasons = defaultdict(set)
    for flaw in bad.flaws:
        result[flaw.row].add((flaw.code, flaw.column))
    return dict(result)
