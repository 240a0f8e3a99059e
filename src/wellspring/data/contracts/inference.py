"""Infer a draft contract from a file without one. A column whose content is unclear is protected.

A column gets egress `plain` only if neither its name nor its values suggest personal data and its values are money,
counts, small repeated numbers, dates since 2000, booleans or codes. A column with an unknown name or with too few
values is protected.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from wellspring.data.contracts import casting
from wellspring.lake.staging import SYSTEM_COLUMNS
from wellspring.trust.dlp.packs.general import BIRTH_DATE_COLUMN
from wellspring.trust.dlp.scanner import PiiScanner

if TYPE_CHECKING:
    import pyarrow as pa

MIN_VALUES = 50
"""Minimum number of values from which repetition of a value is meaningful."""
_MIN_DISTINCT = 20
_MIN_REPEATS = 10
"""Minimum average number of occurrences of each text in a column of codes."""
_MAX_CODES, _MAX_CODE_LENGTH, _MAX_TEXT_LENGTH, _SMALL_NUMBER, _MAX_COORDINATE = 200, 20, 40, 1000, 180
_FIRST_SAFE_YEAR = "2000"
"""A column with a date before this year may hold dates of birth, whatever its name."""

# Words that end in `id` but do not name an identifier: columns of money and of flags.
_NOT_AN_ID = r"(un|pre|over|re)?paid|(in)?valid|void|grid|bid|aid|covid|solid|liquid|fluid|hybrid"
_IDENTIFIER = re.compile(
    rf"(^|_)(?!({_NOT_AN_ID})$)[a-z0-9]*(id|uuid|guid)[0-9]*$|(^|_)(key|ref|mrn|npi|mbi|hicn)[0-9]*$"
)
_PERSON = re.compile(
    r"(no|number)[0-9]*$|(^|_)(nr|num|account|acct|login|users?|members?|patients?|subscribers?|persons?|people|clients?"
    r"|customers?|employees?|staff|doctor|dr|physician|provider|nurse|agent|rep|seller|manager|owner|author|assignee"
    r"|driver|host|guest|sender|recipient|beneficiary|guarantor|by|who|whom)[0-9]*$"
)
_PRIVATE = re.compile(
    r"name|maiden|address|street|phone|mail|passport|postcode|postal|zip|contact"
    r"|(^|_)(ages?|aged|age(group|band|range)|born|yob|bday|lat|latitude|lon|lng|long|longitude|coords?|coordinates?|geo"
    r"|gps|location|place|position|city|town|village|suburb|county|district|parish|plz|addr|house|apt|apartment|suite"
    r"|tel|cell|mobile|fax|ssn|iban|bic|ip|mac|url|device|vin|plate|licen[cs]e|passw(or)?d|pin|secret|salary|income|wage"
    r"|religion|race|ethnicity|nationality|photo|image|signature|initials|mother|father|parent|spouse|husband|wife"
    r"|child|sibling|kin|guardian)[0-9]*($|_)"
)
_FREE_TEXT = re.compile(r"(^|_)(notes?|comments?|remarks?|message|text|description)[0-9]*$")
_MONEY = re.compile(
    r"(^|_)(amounts?|prices?|costs?|totals?|(un|pre)?paid|fees?|charges?|charged|revenue|balance|tax)($|_)"
)
_COUNT = re.compile(
    r"(^|_)(quantity|qty|counts?|pieces|units|items|days|weeks|months|hours|minutes|seconds|times|visits|score|rate"
    r"|ratio|share|percent|pct|probability)$"
)
_DAY = re.compile(r"(^|_)(on|at|when|since|until|from|to|day|instant)$|(date|time|timestamp)$")
_LIFE = re.compile(r"(^|_)(born|bday|dod|died|deceased)($|_)|death")
_CATEGORY = re.compile(
    r"(category|kind|type|status|code|class)[0-9]*$|(^|_)(state|channel|plan|method|mode|reason|level|tier|grade|priority"
    r"|segment|currency|country|region|sex|gender|colou?r|size|unit|product|brand|service|specialty|department|dept|stage"
    r"|phase|outcome|result|decision|shape|diagnosis|procedure|drg|icd|cpt|modifier|weekday|month|quarter|severity)[0-9]*$"
)
_CODE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_./+-]*[A-Za-z0-9+])?")
_NUMBERED = re.compile(r"(?=.*[0-9])(?!.*[A-Za-z]{4})(?!(?:.*[0-9]){5}).{1,12}")
"""A code that cannot be a word: one to four digits, and at most three letters in a row."""
_NAMELIKE = re.compile(r"[A-Z][a-z]{2}")


class InferredColumn(NamedTuple):
    """The inferred contract of one column. evidence: the reason, as a sentence; domain: the token domain, if any.

    path: where its value stands in the file, if not under its name.
    """

    name: str
    type: str
    egress: str
    classification: str
    evidence: str
    domain: str = ""
    path: str = ""


def infer_column(name: str, values: pa.ChunkedArray, scanner: PiiScanner) -> InferredColumn:
    """Infer type, egress and classification of a column. values: text as delivered; an empty field is null."""
    non_null, lower_name, kind = values.drop_null(), _normalize_name(name), _infer_type(values.drop_null())
    protected = InferredColumn(name, kind, "never", "contact", "its name suggests personal data")
    if name.casefold() in SYSTEM_COLUMNS:
        return protected._replace(evidence="the lake has a system column of this name", classification="operational")
    if not len(non_null):
        return protected._replace(evidence="it is empty")
    if kind == "boolean":
        return InferredColumn(name, kind, "plain", "operational", "every value is true or false")
    pii_counts = scanner.scan_column(non_null, column_name=name).counts
    if "birth_date" in pii_counts or re.search(BIRTH_DATE_COLUMN, lower_name):
        egress = "year" if kind in ("date", "timestamp") else "never"
        return InferredColumn(name, kind, egress, "demographic", "it contains dates of birth")
    if kind in ("date", "timestamp"):
        return _infer_instant(name, lower_name, kind, non_null)
    token = InferredColumn(
        name, "string", "token", "identifier", "its name suggests an identifier", _token_domain(lower_name)
    )
    texts = [str(value) for value in non_null.unique().to_pylist()]
    if _IDENTIFIER.search(lower_name):
        return token
    if _PRIVATE.search(lower_name):
        return protected
    if _PERSON.search(lower_name):
        if all(re.fullmatch(r"\S*[0-9]\S*", text) for text in texts):
            return token
        return protected._replace(evidence="its name suggests a person, and its values may be names")
    if pii_counts:
        return protected._replace(evidence=f"values look like {', '.join(pii_counts)}")
    if _FREE_TEXT.search(lower_name) or max(map(len, texts)) > _MAX_TEXT_LENGTH:
        return InferredColumn(name, kind, "never", "free_text", "it is free text, in which names cannot be detected")
    return (
        _infer_text(token, lower_name, len(non_null), texts)
        if kind == "string"
        else _infer_number(token, lower_name, kind, non_null)
    )


def infer_primary_key(rows: pa.Table, columns: Sequence[InferredColumn]) -> tuple[str, ...]:
    """Find the first token column that is unique, alone or with a date or timestamp; empty without one."""
    tokens = [column.name for column in columns if column.egress == "token"]
    instants = [column.name for column in columns if column.type in ("timestamp", "date") and column.egress == "plain"]
    for candidate in [
        *((token,) for token in tokens),
        *((token, instant) for token in tokens for instant in reversed(instants)),
    ]:
        complete = all(not rows.column(name).null_count for name in candidate)
        if complete and rows.group_by(list(candidate)).aggregate([]).num_rows == rows.num_rows:
            return candidate
    return ()


def render_contract(
    name: str,
    *,
    source: str,
    glob: str,
    file_format: str,
    settings: Mapping[str, str],
    owner: str,
    columns: Sequence[InferredColumn],
    primary_key: tuple[str, ...],
) -> str:
    """Render the contract as ODCS YAML. Names are quoted, because YAML reads a bare `no` or `null` as another type."""
    lines = [
        f"# A draft by `wellspring new contract`, inferred from one file. Docs: docs/bad-input.md.\n"
        f"apiVersion: v3.1.0\nkind: DataContract\nid: {_quoted(name)}\nname: {_quoted(name)}\nversion: 1.0.0\n"
        f"status: active\nteam:\n  - {{ username: {_quoted(owner)}, role: owner }}\ncustomProperties:\n"
        f"  - {{ property: source, value: {_quoted(source)} }}\n  - {{ property: files, value: {_quoted(glob)} }}\n"
        f"  - {{ property: format, value: {file_format} }}"
    ]
    lines += [f"  - {{ property: {setting}, value: {_quoted(value)} }}" for setting, value in settings.items()]
    lines += [f"schema:\n  - name: {_quoted(name)}\n    properties:"]
    for column in columns:
        lines += [f"      - name: {_quoted(column.name)}", f"        logicalType: {column.type}"]
        if column.path:
            lines.append(f"        physicalName: {_quoted(column.path)}")
        if column.name in primary_key:
            lines += ["        required: true", "        primaryKey: true"]
            lines.append(f"        primaryKeyPosition: {primary_key.index(column.name) + 1}")
        lines.append(f"        classification: {column.classification}")
        domain = f", {{ property: domain, value: {_quoted(column.domain)} }}" if column.domain else ""
        lines.append(f"        customProperties: [{{ property: egress, value: {column.egress} }}{domain}]")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    # A JSON string is also a YAML string.
    return json.dumps(text, ensure_ascii=False)


def _normalize_name(name: str) -> str:
    """Convert a column name to snake case: `CustomerID` -> `customer_id`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _token_domain(lower_name: str) -> str:
    """Derive a token domain from a column name, so that columns with similar names can be joined."""
    base_name = re.sub(r"_?(id|uuid|guid|no|nr|num|number|key|ref)[0-9]*$", "", lower_name).strip("_0123456789")
    return (base_name or lower_name.strip("_0123456789") or "key")[:31]


def _infer_type(non_null: pa.ChunkedArray) -> str:
    """Find the first type to which every value can be cast."""
    import pyarrow.compute as pc

    def all_match(pattern: str) -> bool:
        return bool(pc.all(pc.match_substring_regex(non_null, pattern)).as_py())

    # 007 is a code. A column of 1 and 0 is an integer, because a later file may hold a 2.
    if not len(non_null) or all_match("^0[0-9]+$"):
        return "string"
    all_letters = all_match("^[A-Za-z]+$")
    candidates = {"date": "date32[day]", "timestamp": "timestamp[us, tz=UTC]"}
    candidates |= {"boolean": "bool"} if all_letters else {"integer": "int64", "number": "float64"}
    return next(
        (
            name
            for name, arrow_name in candidates.items()
            if not casting.cast_column(non_null, arrow_name).invalid.any()
        ),
        "string",
    )


def _infer_instant(name: str, lower_name: str, kind: str, non_null: pa.ChunkedArray) -> InferredColumn:
    import pyarrow.compute as pc

    year_only = InferredColumn(name, kind, "year", "demographic", "its name suggests a date of birth or death")
    if _LIFE.search(lower_name) or re.search(r"(^|_)ages?($|_)", lower_name):
        return year_only
    if pc.min(non_null).as_py() < _FIRST_SAFE_YEAR:
        return year_only._replace(evidence=f"it has dates before {_FIRST_SAFE_YEAR}, which may be dates of birth")
    if len(non_null) < MIN_VALUES and not _DAY.search(lower_name):
        return year_only._replace(evidence=f"{len(non_null)} dates are too few to rule out dates of birth")
    return InferredColumn(name, kind, "plain", "operational", f"every value is a {kind} since {_FIRST_SAFE_YEAR}")


def _infer_number(token: InferredColumn, lower_name: str, kind: str, non_null: pa.ChunkedArray) -> InferredColumn:
    plain = InferredColumn(token.name, kind, "plain", "operational", "its name suggests a count")
    protected = plain._replace(egress="never", classification="confidential")
    if _MONEY.search(lower_name):
        return plain._replace(classification="financial", evidence="its name suggests money")
    if _COUNT.search(lower_name):
        return plain
    values = casting.cast_column(non_null, "float64").values
    # An identifier column with gaps is often written as 1234567.0.
    all_integers = bool((values % 1 == 0).all())
    if all_integers and len(non_null) >= _MIN_DISTINCT and values.n_unique() * 2 > len(non_null):
        return token._replace(evidence="nearly every row has a different number")
    if len(non_null) < MIN_VALUES:
        return protected._replace(evidence=f"{len(non_null)} numbers are too few to tell what they are")
    if all_integers and not (values.abs() < _SMALL_NUMBER).all() and not values.is_between(2000, 2100).all():
        return token._replace(evidence="its numbers are as long as identifiers")
    if not all_integers and (values.abs() <= _MAX_COORDINATE).all() and _count_precise(non_null) * 2 > len(non_null):
        return protected._replace(classification="contact", evidence="its numbers may be coordinates")
    return plain._replace(evidence="small numbers that repeat" if all_integers else "numbers with decimals")


def _count_precise(non_null: pa.ChunkedArray) -> int:
    """Count the numbers with at least four decimals."""
    import pyarrow.compute as pc

    return int(pc.sum(pc.match_substring_regex(non_null, r"\.[0-9]{4}")).as_py())


def _infer_text(token: InferredColumn, lower_name: str, count: int, texts: Sequence[str]) -> InferredColumn:
    protected = InferredColumn(token.name, "string", "never", "contact", "its values may be names")
    if count >= _MIN_DISTINCT and len(texts) * 2 > count:
        if all(re.fullmatch(r"\S*[0-9]\S*", text) for text in texts):
            return token._replace(evidence="nearly every row has a different code")
        return protected._replace(classification="free_text", evidence="nearly every row has a different text")
    if count < MIN_VALUES:
        return protected._replace(evidence=f"{count} texts are too few to rule out names")
    repeated = len(texts) * _MIN_REPEATS <= count and len(texts) <= _MAX_CODES
    plain = all(
        len(text) <= _MAX_CODE_LENGTH and _CODE.fullmatch(text) and not _NAMELIKE.search(text) for text in texts
    )
    if repeated and plain and (_CATEGORY.search(lower_name) or all(map(_NUMBERED.fullmatch, texts))):
        return InferredColumn(token.name, "string", "plain", "operational", f"{len(texts)} codes that repeat")
    return protected
