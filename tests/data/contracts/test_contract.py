"""Loading of contracts with all errors; matching of a file to exactly one contract; weaker protection."""

import hashlib
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from tests.builders.contract_texts import JOURNEY, load, problems
from tests.builders.contracts import EXPECTED, column, contract
from wellspring.data.contracts import contract as contracts
from wellspring.errors import CorruptedError, NotFound, ProjectError, Refused
from wellspring.records.contracts import DataContract, RowRule

EXAMPLES = Path(__file__).resolve().parents[3] / "examples" / "health_plan" / "contracts"


def test_the_contract_of_the_journey_is_read(tmp_path: Path):
    result = load(tmp_path)
    assert result == DataContract(
        tenant="tests", known_since=EXPECTED, name="medical_claim", version="1.0.0",
        digest=hashlib.sha256(JOURNEY.encode()).hexdigest(), source="clearinghouse", files="medical_claim_*.csv",
        format="csv", owner="owner", contact="claims-data@clearinghouse.example.com",
        columns=(
            column("claim_id", egress="token", domain="claim", required=True, classification="identifier"),
            column("charge_amount", "decimal128(12, 2)", required=True, classification="financial", minimum=0.0,
                maximum=9999999.0),
            column("paid_amount", "decimal128(12, 2)", classification="financial"),
        ),
        key=("claim_id",),
        rules=(RowRule(name="paid_within_charge", sql="paid_amount <= charge_amount",
                description="what was paid is at most what was charged"),),
        retention_days=7, freshness_hours=24,
    )  # fmt: skip


def test_the_contracts_of_the_example_are_read():
    result = contracts.load_all(EXAMPLES, tenant="tests", known_since=EXPECTED, sources=["clearinghouse"])
    names = ("accumulator", "claim_adjustment", "eligibility", "medical_claim", "prior_authorization", "remittance")
    assert tuple(item.name for item in result) == names
    assert all(item.key and item.rules for item in result)
    # Features are joined by when the payer's system knew a row.
    expected = [column for item in result for column in item.columns if column.name == "recorded_at"]
    assert [(column.type, column.required) for column in expected] == [("timestamp[us, tz=UTC]", True)] * len(names)


def test_omitted_service_levels_have_defaults(tmp_path: Path):
    start, end = JOURNEY.index("slaProperties"), JOURNEY.index("schema:")
    result = load(tmp_path, JOURNEY[:start] + JOURNEY[end:])
    assert (result.retention_days, result.freshness_hours) == (7, None)


@pytest.mark.parametrize(
    ("change", "line", "output"),
    [
        (("apiVersion: v3.1.0", "apiVersion: v2.2.2"), 1, "write `apiVersion: v3.1.0`"),
        (("kind: DataContract", "kind: Other"), 2, "write `kind: DataContract`"),
        (("status: active", "status: draft"), 6, "write `status: active`"),
        (("name: medical_claim\nversion", "name: Medical\nversion"), 4, "lower-case"),
        (("version: 1.0.0", "version: one"), 5, "three numbers"),
        (("version: 1.0.0", "version: 1.0"), 5, "string"),
        (("role: owner", "role: steward"), 7, "role: owner"),
        (("value: csv", "value: parket"), 12, "unknown format 'parket'; did you mean 'parquet'?"),
        (('value: "medical_claim_*.csv"', "value: /a/b.csv"), 9, "remove the slash"),
        (("property: retention", "property: uptime"), 14, "retention, frequency and latency"),
        (("value: 7, unit: d", "value: 40000, unit: d"), 14, "of at most 100 years"),
        (("value: 7, unit: d", "value: .nan, unit: d"), 14, "of at most 100 years"),
        (("value: 7, unit: d", "value: 010, unit: d"), 14, "YAML reads 010 as the number 8"),
        (("value: 7, unit: d", "value: 1:30, unit: d"), 14, "YAML reads 1:30 as the number 90"),
        (("value: 7, unit: d", "value: 0x10, unit: d"), 14, "YAML reads 0x10 as the number 16"),
        (("value: 7, unit: d", "value: 7, unit: y"), 14, "unit h or d"),
        (("value: 7, unit: d", "value: 0, unit: d"), 14, "above 0"),
        (("value: 7, unit: d", "value: 5, unit: h"), 14, "whole days"),
        (("  - name: medical_claim", "  - name: claim"), 17, "name it 'medical_claim'"),
        (("status: active", "status: active\nowner: me"), 7, "unknown key"),
        (("status: active", "status: active\nstatus: active"), 6, "line 7 repeats this key"),
        (("query: paid_amount", "query: paid"), 40, "'paid' is not a declared column"),
        (("type: sql", "type: custom"), 38, "type: sql"),
        (("        query: paid_amount <= charge_amount\n", ""), 38, "`name` and a `query`"),
        (("query: paid_amount", "mustBeLessThan: 3\n        query: paid_amount"), 40, "does not enforce this ODCS key"),
        (("query: paid_amount", "mustBe: 0\n        query: paid_amount"), 40, "mustBe: true"),
    ],
)
def test_contract_error_has_line_and_fix(tmp_path: Path, change: tuple[str, str], line: int, output: str):
    result = problems(tmp_path, change)
    assert len(result) == 1, result
    assert result[0].startswith(f"{tmp_path / 'claim.odcs.yaml'}:{line}: ")
    assert output in result[0]


def test_unknown_property_is_reported_with_nearest_and_missing_one(tmp_path: Path):
    result = problems(tmp_path, ("property: source", "property: sources"))
    assert "add `- { property: source, value: SOURCE }`" in result[0]
    assert "did you mean 'source'" in result[1]


def test_all_errors_of_a_contract_are_reported(tmp_path: Path):
    result = problems(
        tmp_path, ("version: 1.0.0", "version: 1.0"), ("kind: DataContract", "knd: DataContract"), ("unit: h",
            "unit: w"),
        ("logicalType: string", "logicalType: text"), ("value: token", "value: open"), ("query: paid_amount",
            "query: x"),
    )  # fmt: skip
    lines = [int(item.removeprefix(f"{tmp_path / 'claim.odcs.yaml'}:").partition(":")[0]) for item in result]
    assert lines == [1, 2, 5, 15, 20, 24, 40], result


@pytest.mark.parametrize("text", ["", "- a\n", "a: [", "a: b: c\n", "\t"])
def test_file_that_is_not_a_contract_is_reported(tmp_path: Path, text: str):
    with pytest.raises(ProjectError, match=r"claim\.odcs\.yaml"):
        load(tmp_path, text)


def test_contract_that_is_not_utf8_is_reported(tmp_path: Path):
    path = tmp_path / "claim.odcs.yaml"
    path.write_bytes(JOURNEY.encode("utf-16"))
    with pytest.raises(ProjectError, match="not UTF-8"):
        contracts.load_contract(path, tenant="tests", known_since=EXPECTED)


def test_errors_of_all_contracts_are_reported(tmp_path: Path):
    (tmp_path / "a.odcs.yaml").write_text(JOURNEY)
    (tmp_path / "b.odcs.yaml").write_text(JOURNEY.replace("status: active", "status: retired"))
    (tmp_path / "c.odcs.yaml").write_text(JOURNEY)
    (tmp_path / "d.yaml").write_text("a: b\n")
    with pytest.raises(ProjectError) as error:
        contracts.load_all(tmp_path, tenant="tests", known_since=EXPECTED, sources=["other"])
    result = error.value.what
    assert "b.odcs.yaml:6: status" in result
    assert "c.odcs.yaml: a.odcs.yaml already defines a contract named 'medical_claim'" in result
    assert "d.yaml: this file is not loaded" in result
    assert result.count("'clearinghouse' is not in wellspring.toml; it has: other") == 2


def test_a_folder_without_contracts_has_none(tmp_path: Path):
    assert contracts.load_all(tmp_path, tenant="tests", known_since=EXPECTED) == ()
    shutil.rmtree(tmp_path)
    assert contracts.load_all(tmp_path, tenant="tests", known_since=EXPECTED) == ()


def test_file_belongs_to_the_one_matching_contract():
    claims, members = contract(name="claim"), contract(name="member", files="member_*.csv")
    elsewhere = contract(name="else", source="other")
    assert contracts.contract_for_file([members, claims, elsewhere], "vendor", "claim_1.csv") is claims


@pytest.mark.parametrize("name", ["member_1.csv", "Claim_1.csv", "claim_1.csv.gpg"])
def test_file_without_a_contract_is_refused(name: str):
    with pytest.raises(Refused, match="matches no contract") as refused:
        contracts.contract_for_file([contract()], "vendor", name)
    assert refused.value.verdict is not None
    assert refused.value.verdict.reasons[0].code == "no_contract"


def test_file_that_matches_several_contracts_is_refused():
    both = [contract(name="b", files="*_1.csv"), contract(name="a"), contract(name="c", files="x")]
    with pytest.raises(Refused, match="matches several contracts: a, b"):
        contracts.contract_for_file(both, "vendor", "claim_1.csv")


def test_egress_schema_has_types_in_column_order():
    result = contracts.egress_schema(
        contract(
            column("id", egress="token", domain="claim"), column("gone", egress="never"), column("born",
                "date32[day]", egress="year"),
            column("amount", "decimal128(12, 2)"), column("at", "timestamp[us, tz=UTC]"), column("flag", "bool"),
        )
    )  # fmt: skip
    assert result == pa.schema(
        [
            ("id", pa.string()), ("born", pa.int64()), ("amount", pa.decimal128(12, 2)), ("at", pa.timestamp("us",
                    "UTC")),
            ("flag", pa.bool_()), ("row_number", pa.int64()),
        ]
    )  # fmt: skip


KEY_COLUMN = "{ property: egress, value: token }, { property: domain, value: claim }"


def test_a_key_that_does_not_leave_cannot_identify_a_row(tmp_path: Path):
    assert "egress plain or token" in problems(tmp_path, (KEY_COLUMN, "{ property: egress, value: never }"))[0]


def test_a_column_names_its_normalization(tmp_path: Path):
    result = load(
        tmp_path, JOURNEY.replace(KEY_COLUMN, f"{KEY_COLUMN}, {{ property: normalization, value: trim lower }}")
    )
    assert [item.normalization for item in result.columns[:2]] == [("trim", "lower"), ("trim", "nfc")]
    output = problems(tmp_path, (KEY_COLUMN, f"{KEY_COLUMN}, {{ property: normalization, value: fold }}"))[0]
    assert "trim, nfc, lower, upper, none" in output


def test_the_columns_of_one_domain_are_normalized_alike(tmp_path: Path):
    (tmp_path / "one.odcs.yaml").write_text(JOURNEY)
    dental = JOURNEY.replace("medical_claim", "dental_claim")
    dental = dental.replace(KEY_COLUMN, f"{KEY_COLUMN}, {{ property: normalization, value: upper }}")
    (tmp_path / "two.odcs.yaml").write_text(dental)
    with pytest.raises(ProjectError, match="write the same `normalization`"):
        contracts.load_all(tmp_path, tenant="tests", known_since=EXPECTED)


INSTANT = (
    "        logicalType: number\n        physicalType: decimal(12,2)\n        required: true\n"
    "        classification: financial\n        logicalTypeOptions: { minimum: 0, maximum: 9999999 }"
)


@pytest.mark.parametrize(
    ("options", "zone", "output"),
    [
        ("{ timezone: false, defaultTimezone: America/New_York }", "America/New_York", ""),
        ("{ timezone: true }", None, ""),
        ("{ defaultTimezone: Nowhere/City }", None, "the name of a time zone"),
        ("{ defaultTimezone: ../etc }", None, "the name of a time zone"),
        ("{ timezone: sometimes }", None, "true or false"),
    ],
)
def test_a_timestamp_names_its_time_zone(tmp_path: Path, options: str, zone: str | None, output: str):
    start, end = JOURNEY.index("    quality:"), len(JOURNEY)
    written = (
        f"        logicalType: timestamp\n        classification: operational\n        logicalTypeOptions: {options}"
    )
    text = (JOURNEY[:start] + JOURNEY[end:]).replace(INSTANT, written)
    if not output:
        assert load(tmp_path, text).columns[1].timezone == zone
        return
    with pytest.raises(ProjectError, match=output):
        load(tmp_path, text)


def formatted(name: str, *more: str) -> tuple[str, str]:
    """Change the format of the contract, and add lines to its custom properties."""
    lines = [f"{{ property: format, value: {name} }}", *(f"  - {line}" for line in more)]
    return "{ property: format, value: csv }", "\n".join(lines)


def test_a_format_may_have_settings(tmp_path: Path):
    old, new = formatted("csv", '{ property: delimiter, value: "|" }')
    assert load(tmp_path, JOURNEY.replace(old, new)).format_settings == {"delimiter": "|"}
    [error] = problems(tmp_path, formatted("csv", '{ property: delimiter, value: "#" }'))
    assert "`delimiter` is one of ',', ';', '|'" in error
    [error] = problems(tmp_path, formatted("parquet", '{ property: delimiter, value: "|" }'))
    assert "unknown property" in error


PATHS = "      - name: paid_amount\n"


@pytest.mark.parametrize(
    ("file_format", "path", "output"),
    [
        ("csv", "a.b", "only a column of a jsonl file"),
        ("jsonl", "a..b", "names separated by single dots"),
        ("jsonl", "claim_id", "two columns read the same value"),
        ("jsonl", "claim_id.part", "another column reads a part of this value"),
        ("jsonl", "amounts.paid", None),
    ],
)
def test_a_path_is_checked(tmp_path: Path, file_format: str, path: str, output: str | None):
    changes = (formatted(file_format), (PATHS, f"{PATHS}        physicalName: {path}\n"))
    if output is None:
        text = JOURNEY
        for old, new in changes:
            text = text.replace(old, new)
        assert load(tmp_path, text).columns[2].name_in_file == path
    else:
        assert any(output in error for error in problems(tmp_path, *changes))


def test_an_archived_contract_is_read_by_its_digest_or_not_at_all(tmp_path: Path):
    folder = EXAMPLES
    contracts.archive_contracts(folder, tmp_path)
    (loaded,) = contracts.load_all(folder, tenant="acme", known_since=EXPECTED)[:1]
    assert contracts.load_archived(tmp_path, loaded.digest, tenant="acme", known_since=EXPECTED) == loaded
    with pytest.raises(NotFound, match="no archived contract"):
        contracts.load_archived(tmp_path, "0" * 64, tenant="acme", known_since=EXPECTED)
    (tmp_path / f"{loaded.digest}.odcs.yaml").write_bytes(b"kind: DataContract\n")
    with pytest.raises(CorruptedError, match="does not match its id"):
        contracts.load_archived(tmp_path, loaded.digest, tenant="acme", known_since=EXPECTED)


@pytest.mark.parametrize("name", ["claim.yaml", "claim.yml", "CLAIM.ODCS.YAML", "vendor/claim.odcs.yaml"])
def test_a_contract_that_would_not_be_loaded_is_an_error(tmp_path: Path, name: str):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("apiVersion: v3.1.0\n")
    with pytest.raises(ProjectError, match=f"{name}: this file is not loaded"):
        contracts.load_all(tmp_path, tenant="acme", known_since=datetime(2026, 1, 1, tzinfo=UTC))
