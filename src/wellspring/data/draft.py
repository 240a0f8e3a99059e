"""What a stranger's columns seem to be, and a contract that says so: in doubt a column is protected.

A column leaves as it is only where nothing speaks for a person and its values are plainly none: money, counts, small
numbers that come again, dates of no birth, booleans, codes. A name or a number that this module does not know is no
reason to let it out, and neither are values too few to tell.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from wellspring.data import typed
from wellspring.data.staged import OURS
from wellspring.trust import dlp

if TYPE_CHECKING:
    import pyarrow as pa

FEW = 50
"""Of fewer values than this nobody can say that they come again."""
_UNIQUE = 20
_AGAIN = 10
"""How often each text comes, at the least, in a list of codes."""
_CODES, _LONG_CODE, _LONG, _SMALL, _MAP = 200, 20, 40, 1000, 180
_EARLY = "2000"
"""Dates from before this year may be of births, whatever the column is called."""

# A word that ends in `id` and is none: columns of money and of flags.
_NO_ID = r"(un|pre|over|re)?paid|(in)?valid|void|grid|bid|aid|covid|solid|liquid|fluid|hybrid"
_KEY = re.compile(rf"(^|_)(?!({_NO_ID})$)[a-z0-9]*(id|uuid|guid)[0-9]*$|(^|_)(key|ref|mrn|npi|mbi|hicn)[0-9]*$")
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
_FREE = re.compile(r"(^|_)(notes?|comments?|remarks?|message|text|description)[0-9]*$")
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
"""A code that is no word: with a digit, at most four of them, and no more than three letters on end."""
_NAMELIKE = re.compile(r"[A-Z][a-z]{2}")


class Guess(NamedTuple):
    """What a draft says of one column, and why. leaves: as in a contract; domain: of a token."""

    name: str
    type: str
    leaves: str
    classification: str
    why: str
    domain: str = ""


def guess(name: str, values: pa.ChunkedArray) -> Guess:
    """Say what a column seems to be. values: text as found, an empty field is null."""
    said, low, kind = values.drop_null(), _spoken(name), _type(values.drop_null())
    private = Guess(name, kind, "never", "contact", "its name is that of personal data")
    if name.casefold() in OURS:
        return private._replace(
            why="the lake has a column of this name, so it cannot leave", classification="operational"
        )
    if not len(said):
        return private._replace(why="it is empty, so nothing is known of it")
    if kind == "boolean":
        return Guess(name, kind, "as_is", "operational", "every value is yes or no")
    found = dlp.scan(said, context=name).counts
    if "birth_date" in found or re.search(dlp.BIRTH, low):
        leaves = "year" if kind in ("date", "timestamp") else "never"
        return Guess(name, kind, leaves, "demographic", "it holds dates of birth")
    if kind in ("date", "timestamp"):
        return _instant(name, low, kind, said)
    token = Guess(name, "string", "token", "identifier", "its name is that of an identity", _domain(low))
    texts = [str(each) for each in said.unique().to_pylist()]
    if _KEY.search(low):
        return token
    if _PRIVATE.search(low):
        return private
    if _PERSON.search(low):
        if all(re.fullmatch(r"\S*[0-9]\S*", each) for each in texts):
            return token
        return private._replace(why="its name is that of somebody, and its values may be names")
    if found:
        return private._replace(why=f"values look like {', '.join(found)}")
    if _FREE.search(low) or max(map(len, texts)) > _LONG:
        return Guess(name, kind, "never", "free_text", "it is free text, where no name is found")
    return _text(token, low, len(said), texts) if kind == "string" else _number(token, low, kind, said)


def key(rows: pa.Table, guesses: Sequence[Guess]) -> tuple[str, ...]:
    """Find the first token that tells rows apart, alone or with an instant."""
    tokens = [each.name for each in guesses if each.leaves == "token"]
    instants = [each.name for each in guesses if each.type in ("timestamp", "date") and each.leaves == "as_is"]
    for chosen in [*((each,) for each in tokens), *((each, when) for each in tokens for when in reversed(instants))]:
        whole = all(not rows.column(each).null_count for each in chosen)
        if whole and rows.group_by(list(chosen)).aggregate([]).num_rows == rows.num_rows:
            return chosen
    return ()


def page(name: str, *, source: str, glob: str, owner: str, guesses: Sequence[Guess], key: tuple[str, ...]) -> str:
    """Write the contract. What was said by others is quoted: YAML takes a bare `no` or `null` for no name."""
    lines = [
        f"# A draft by `wellspring new contract`: all of it was guessed from one file. Docs: docs/bad-input.md.\n"
        f"apiVersion: v3.1.0\nkind: DataContract\nid: {_quoted(name)}\nname: {_quoted(name)}\nversion: 1.0.0\n"
        f"status: active\nteam:\n  - {{ username: {_quoted(owner)}, role: owner }}\ncustomProperties:\n"
        f"  - {{ property: source, value: {_quoted(source)} }}\n  - {{ property: files, value: {_quoted(glob)} }}\n"
        f"  - {{ property: format, value: csv }}\nschema:\n  - name: {_quoted(name)}\n    properties:"
    ]
    for each in guesses:
        lines += [f"      - name: {_quoted(each.name)}", f"        logicalType: {each.type}"]
        if each.name in key:
            lines += ["        required: true", "        primaryKey: true"]
            lines.append(f"        primaryKeyPosition: {key.index(each.name) + 1}")
        lines.append(f"        classification: {each.classification}")
        domain = f", {{ property: domain, value: {_quoted(each.domain)} }}" if each.domain else ""
        lines.append(f"        customProperties: [{{ property: leaves, value: {each.leaves} }}{domain}]")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    # A string of JSON is one of YAML.
    return json.dumps(text, ensure_ascii=False)


def _spoken(name: str) -> str:
    """Write a name in lower-case words: `PatientID` and `patient_id` are one."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _domain(low: str) -> str:
    """Name a token's domain after its column, so that columns that are called alike join."""
    bare = re.sub(r"_?(id|uuid|guid|no|nr|num|number|key|ref)[0-9]*$", "", low).strip("_0123456789")
    return (bare or low.strip("_0123456789") or "key")[:31]


def _type(said: pa.ChunkedArray) -> str:
    """Find the first type under which the house's own reader takes every value."""
    import pyarrow.compute as pc

    def every(pattern: str) -> bool:
        return bool(pc.all(pc.match_substring_regex(said, pattern)).as_py())

    # 007 is a name; a 1 may be followed by a 2 one day.
    if not len(said) or every("^0[0-9]+$"):
        return "string"
    words = every("^[A-Za-z]+$")
    declared = {"date": "date32[day]", "timestamp": "timestamp[us, tz=UTC]"}
    declared |= {"boolean": "bool"} if words else {"integer": "int64", "number": "float64"}
    return next((name for name, each in declared.items() if not typed.read(said, each)[1].any()), "string")


def _instant(name: str, low: str, kind: str, said: pa.ChunkedArray) -> Guess:
    import pyarrow.compute as pc

    year = Guess(name, kind, "year", "demographic", "its name is that of somebody's life")
    if _LIFE.search(low) or re.search(r"(^|_)ages?($|_)", low):
        return year
    if pc.min(said).as_py() < _EARLY:
        return year._replace(why=f"it begins before {_EARLY}, so it may hold dates of birth")
    if len(said) < FEW and not _DAY.search(low):
        return year._replace(why=f"of {len(said)} dates nobody can say that they are no births")
    return Guess(name, kind, "as_is", "operational", f"every value is a {kind} since {_EARLY}")


def _number(token: Guess, low: str, kind: str, said: pa.ChunkedArray) -> Guess:
    as_is = Guess(token.name, kind, "as_is", "operational", "its name is that of a count")
    never = as_is._replace(leaves="never", classification="confidential")
    if _MONEY.search(low):
        return as_is._replace(classification="financial", why="its name is that of money")
    if _COUNT.search(low):
        return as_is
    values = typed.read(said, "float64")[0]
    # An identity with gaps is often written 1234567.0.
    whole = bool((values % 1 == 0).all())
    if whole and len(said) >= _UNIQUE and values.n_unique() * 2 > len(said):
        return token._replace(why="nearly every row has its own number")
    if len(said) < FEW:
        return never._replace(why=f"of {len(said)} numbers nobody can say what they are")
    if whole and not (values.abs() < _SMALL).all() and not values.is_between(2000, 2100).all():
        return token._replace(why="its numbers are as long as those of an identity")
    if not whole and (values.abs() <= _MAP).all() and _fine(said) * 2 > len(said):
        return never._replace(classification="contact", why="its numbers may be places on a map")
    return as_is._replace(why="small numbers that come again" if whole else "numbers with decimals")


def _fine(said: pa.ChunkedArray) -> int:
    """Count the numbers with four decimals and more."""
    import pyarrow.compute as pc

    return int(pc.sum(pc.match_substring_regex(said, r"\.[0-9]{4}")).as_py())


def _text(token: Guess, low: str, count: int, texts: Sequence[str]) -> Guess:
    never = Guess(token.name, "string", "never", "contact", "its texts may be names")
    if count >= _UNIQUE and len(texts) * 2 > count:
        if all(re.fullmatch(r"\S*[0-9]\S*", each) for each in texts):
            return token._replace(why="nearly every row has its own")
        return never._replace(classification="free_text", why="nearly every row has its own text")
    if count < FEW:
        return never._replace(why=f"of {count} texts nobody can say that they are no names")
    again = len(texts) * _AGAIN <= count and len(texts) <= _CODES
    plain = all(len(each) <= _LONG_CODE and _CODE.fullmatch(each) and not _NAMELIKE.search(each) for each in texts)
    if again and plain and (_CATEGORY.search(low) or all(map(_NUMBERED.fullmatch, texts))):
        return Guess(token.name, "string", "as_is", "operational", f"{len(texts)} codes that come again")
    return never
