"""Inference of columns: possible personal data and unknown content are protected."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest
import yaml

from tests.builders.pii import SCANNER
from wellspring.data.contracts import contract, inference
from wellspring.data.contracts.inference import InferredColumn
from wellspring.records.clock import SystemClock

MANY = 200
PEOPLE = ["Maria Papadopoulos", "John Smith", "Wei Kim", "Ahmed Okafor"]


def guessed(name: str, values: Sequence[str | None], rows: int = MANY) -> InferredColumn:
    """Infer a column in which the values repeat."""
    return inference.infer_column(
        name,
        pa.chunked_array([pa.array([values[instant % len(values)] for instant in range(rows)], pa.string())]),
        SCANNER,
    )


def leaves(name: str, values: Sequence[str | None], rows: int = MANY) -> str:
    return guessed(name, values, rows).egress


NUMBERS = [str(7_000_000 + index) for index in range(MANY)]
HANDFUL = [str(7_000_000 + index) for index in range(5)]


@pytest.mark.parametrize(
    "name",
    ["mrn", "memberid", "PatientID", "SubscriberNumber", "patient_no", "npi", "login", "account", "chart", "UserID"],
)
@pytest.mark.parametrize("values", [NUMBERS, HANDFUL], ids=["each its own", "a handful"])
def test_identifier_number_is_inferred_as_token(name: str, values: list[str]):
    result = guessed(name, values)
    assert (result.type, result.egress, result.classification) == ("string", "token", "identifier")
    assert result.domain


@pytest.mark.parametrize(
    ("name", "domain"),
    [("memberid", "member"), ("PatientID", "patient"), ("member_number", "member"), ("no", "no"), ("_id", "id"),
     ("id", "id"), ("__", "key"), ("mrn2", "mrn")],
)  # fmt: skip
def test_inferred_token_domain_is_valid(name: str, domain: str):
    assert guessed(name, NUMBERS).domain == domain


@pytest.mark.parametrize(
    "name", ["patient", "doctor", "agent", "who", "pat", "kind", "handled", "status", "x", "order_no"]
)
@pytest.mark.parametrize(
    "values", [PEOPLE, ["Maria", "John"], ["Smith, J.", "Kim, W."], ["maria k", "john s"], ["MARIA LEE", "J SMITH"]]
)
@pytest.mark.parametrize("rows", [1, 30, 500])
def test_texts_that_may_be_names_are_inferred_never(name: str, values: list[str], rows: int):
    assert leaves(name, values, rows) == "never"


@pytest.mark.parametrize("values", [["smith", "kim"], ["SMITH", "KIM"], ["MKP", "JS"], ["jsmith2", "wkim1"]])
@pytest.mark.parametrize("name", ["firma", "handled", "nombre", "agent", "mother_maiden"])
def test_words_in_a_column_with_unknown_name_never_leave(name: str, values: list[str]):
    assert leaves(name, values) in ("never", "token")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("age", ["31", "45"]), ("patient_age", ["31", "45"]), ("AgeAtVisit", ["31", "45"]), ("age_group", ["30-39"]),
        ("lat", ["37.98381"]), ("lon", ["23.72754"]), ("spot", ["37.98381", "23.72754"]), ("zip", ["10115", "02139"]),
        ("zipCode", ["10115"]), ("city", ["athens"]), ("home_city", ["athens"]), ("birth", ["12 May 1980"]),
        ("yob", ["1980"]), ("birth_year", ["1980"]), ("contact", ["2101234567"]), ("phone_number", ["2101234567"]),
        ("firstName", ["ada"]), ("mother_maiden", ["rossi"]), ("address1", ["12A"]), ("salary", ["1200.50"]),
        ("x", ["a@mail.example"]), ("x", [None]), ("notes", ["called"]), ("drop_id", ["a1"]), ("tenant", ["a1"]),
    ],
)  # fmt: skip
def test_personal_data_is_inferred_never(name: str, values: list[str | None]):
    assert leaves(name, values) == "never"


@pytest.mark.parametrize("rows", [1, 10, inference.MIN_VALUES - 1])
@pytest.mark.parametrize(
    ("name", "values"),
    [("category", ["shoes", "books"]), ("code", ["A1", "B2"]), ("level", ["1", "2"]), ("weight", ["1.5", "2.5"]),
     ("contact", ["Maria"]), ("visit", ["2026-01-02", "2026-01-03"])],
)  # fmt: skip
def test_few_rows_are_not_inferred_plain(name: str, values: list[str], rows: int):
    assert leaves(name, values, rows) in ("never", "token", "year")


@pytest.mark.parametrize(
    ("name", "values", "kind"),
    [
        ("category", ["shoes", "books", "lamps"], "string"), ("hivstatus", ["pos", "neg"], "string"),
        ("plan_code", ["PPO", "HMO"], "string"), ("dx", ["F32.1", "B20"], "string"),
        ("carc", ["CO-16", "PR-1"], "string"), ("sex", ["M", "F"], "string"), ("code", ["007", "008"], "string"),
        ("express", ["yes", "no"], "boolean"),
        ("no", ["yes", "no"], "boolean"), ("is_paid", ["true", "false"], "boolean"),
        ("paid", ["10.50", "7.00"], "number"),
        ("total_amount", NUMBERS, "integer"), ("pieces", ["1", "2"], "integer"), ("weight", ["1.5", "2.5"], "number"),
        ("lvl", ["1", "2", "3"], "integer"), ("model_year", ["2019", "2020"], "integer"),
        ("visit", ["2026-01-02"], "date"), ("recorded_at", ["2026-01-02T10:00:00Z"], "timestamp"),
    ],
)  # fmt: skip
def test_non_personal_data_is_inferred_plain(name: str, values: list[str], kind: str):
    result = guessed(name, values)
    assert (result.egress, result.type) == ("plain", kind)


@pytest.mark.parametrize(
    ("name", "day"), [("dob", "2020-01-02"), ("when", "1980-01-02"), ("died_on", "2020-01-02"), ("born", "2020-01-02")]
)
@pytest.mark.parametrize("time", ["", "T00:00:00Z"])
def test_possible_birth_date_is_inferred_year(name: str, day: str, time: str):
    assert leaves(name, [day + time, "2020-05-05" + time]) == "year"


def test_primary_key_is_the_first_unique_token():
    rows = pa.table({"a_id": ["1", "1"], "b_id": ["1", "2"], "at": ["2026-01-01", "2026-01-02"]})
    guesses = [
        InferredColumn("a_id", "string", "token", "identifier", ""),
        InferredColumn("b_id", "string", "token", "identifier", ""),
    ]
    instant = InferredColumn("at", "date", "plain", "operational", "")
    assert inference.infer_primary_key(rows, [*guesses, instant]) == ("b_id",)
    assert inference.infer_primary_key(rows, [guesses[0], instant]) == ("a_id", "at")
    assert inference.infer_primary_key(rows, [instant]) == ()


@pytest.mark.parametrize("name", ["no", "null", "on", "yes"])
def test_rendered_contract_quotes_names_that_yaml_misreads(tmp_path: Path, name: str):
    guesses = [
        InferredColumn(name, "string", "token", "identifier", "", name),
        InferredColumn("n", "number", "plain", "operational", ""),
    ]
    text = inference.render_contract(
        name,
        source=name,
        glob='a "b"*.csv',
        file_format="csv",
        settings={"escape": "backslash"},
        owner="owner@shop.example",
        columns=guesses,
        primary_key=(name,),
    )
    path = tmp_path / f"{name}.odcs.yaml"
    path.write_text(text, encoding="utf-8")
    result = contract.load_contract(path, tenant="shop", known_since=SystemClock().now())
    assert (result.name, result.source, result.files, result.key) == (name, name, 'a "b"*.csv', (name,))
    assert (result.columns[0].name, result.columns[0].domain) == (name, name)
    assert yaml.safe_load(text)["id"] == name
    assert result.format_settings == {"escape": "backslash"}
