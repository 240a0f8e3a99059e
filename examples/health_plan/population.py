"""Make the synthetic members, spans of coverage and claims of the reference project: the same seed, the same people.

Nobody here can be taken for a person, and every identifier still has its real shape, so that a search for personal
data sees what it will see in life:

- social security numbers lie in areas 900-999 with groups 10-49: never issued, neither as SSN nor as ITIN (50-99);
- phones are NXX-555-01NN, kept for fiction; mails end in example.com or example.org;
- Medicare numbers carry an S in place two, which Medicare leaves out; NPIs start with 9 (issued ones start with 1 or
  2) and have a valid check digit; tax numbers start with 07, a prefix that is not assigned;
- names of planted people are made of syllables that no dictionary holds: what a leak search looks for.

Each column draws from a generator of its own, so the first n rows of a larger population are the same n rows.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Ints = NDArray[np.int64]

pc: Any = pyarrow.compute  # its functions are made at run time, so no checker knows them

VERSION = 1
"""Part of every seed: a change that moves any value makes a new version, never a quiet one."""

SOURCE = "clearinghouse"
PAYERS = ("Northfield Health", "Lakeshore Benefits", "Prairie Mutual")
PLANS = ("PPO-500", "PPO-1500", "HMO-250", "HDHP-3000", "MA-ADVANTAGE")
FIRST = (
    "Ada Aldo Amara Bea Boris Carla Chidi Clara Dario Dina Edda Elio Emil Farah Felix Freya Gita Goran Hana Hugo "
    "Ida Igor Ines Ivo Jada Jonas Juno Kaia Karim Kofi Lars Leila Lena Luca Mabel Maja Malik Mina Nadia Nils Noor Olga "
    "Oskar Paolo Petra Quinn Rafi Rosa Ruth Sana Selma Sven Tara Theo Uma Viktor Wanda Xenia Yara Yusuf Zeno Zora"
).split()
LAST = (
    "Abbot Acker Baines Barlow Beck Brandt Calloway Castell Cortes Dahl Drummond Eckhart Ellery Farrow Fenwick Garside "
    "Gruber Hadley Halloran Iqbal Ivers Jansen Joyce Kaplan Keller Kimura Lindqvist Lowell Mbeki Mercer Moreau Nakata "
    "Norwood Okafor Oster Pastor Pell Quist Radley Rossi Sandoval Sorel Tanaka Thorne Ueda Ullman Varga Voss Walden "
    "Whitlock Yates Yilmaz Zeller Zielinski"
).split()
STREETS = "Alder Birch Cedar Chestnut Elm Hazel Juniper Larch Linden Maple Rowan Spruce Sycamore Willow".split()
PLACES = (  # city, state, the first three digits of its post codes; the last has too few people to be told by three
    *(("Columbus", "OH", "432"), ("Cleveland", "OH", "441"), ("Chicago", "IL", "606"), ("Peoria", "IL", "616")),
    *(("Madison", "WI", "537"), ("Denver", "CO", "802"), ("Austin", "TX", "787"), ("Tucson", "AZ", "857")),
    *(("Albany", "NY", "122"), ("Raleigh", "NC", "276"), ("Portland", "OR", "972"), ("Cody", "WY", "821")),
)
DIAGNOSES = (
    "E11.9 I10 E78.5 J06.9 M54.50 F41.1 F32.9 K21.9 J45.909 N39.0 R05.9 R10.9 Z00.00 Z23 Z12.11 M25.561 M17.11 G47.33 "
    "E03.9 E66.9 I25.10 I48.91 J18.9 J44.9 L03.90 N18.3 O80 R07.9 S93.401A H52.4 B34.9 D64.9 C50.911 G43.909 K57.30"
).split()
PROCEDURES = (  # code, charge in cents for one unit
    *(("99213", 16500), ("99214", 24800), ("99203", 21500), ("99283", 68000), ("93000", 9800), ("80053", 6200)),
    *(("85025", 4100), ("36415", 1900), ("71046", 14500), ("73030", 13200), ("97110", 7400), ("90834", 15800)),
    *(("20610", 31000), ("45378", 182000), ("J1885", 2300), ("G0439", 18700), ("70553", 268000), ("27447", 2450000)),
)
WARDS = (("0120", 240000), ("0250", 41000), ("0300", 18500), ("0320", 52000), ("0360", 615000), ("0450", 128000))
_CENTS = tuple(np.array([cents for _, cents in prices]) for prices in (PROCEDURES, WARDS))
POINTS = ("11", "11", "11", "11", "11", "22", "22", "23", "02", "21", "12", "19", "20", "81")
BILLS = ("0111", "0131", "0131", "0131", "0851")
LETTERS = "ACDEFGHJKMNPQRTUVWXY"


class Person(NamedTuple):
    """A planted person: every field is distinctive, so that finding one anywhere means that it leaked."""

    person_id: str
    member_id: str
    first_name: str
    last_name: str
    social_security_number: str
    medicare_beneficiary_identifier: str
    address: str
    phone: str
    email: str

    @property
    def marks(self) -> tuple[str, ...]:
        """What to search for, spelt as the vendor spells it."""
        return tuple(self)


def members(count: int, seed: int, *, planted: int = 0) -> pa.Table:
    """Make people, one row each: who they are, their household's subscriber, their payer and plan.

    The first `planted` rows are the planted people: each has every identifier, and names that no other row has.
    """
    draw = _Draw(seed, "members")
    size = draw.pick("household", count, weights=(0.42, 0.26, 0.14, 0.12, 0.06)) + 1
    house = np.repeat(np.arange(count), size)[:count]
    seat = np.arange(count) - (np.cumsum(size) - size)[house]
    age = np.where(seat < 2, draw.whole("age", count, 23 * 365, 84 * 365), draw.whole("child", count, 40, 25 * 365))
    born = np.datetime64("2026-06-30") - age.astype("timedelta64[D]")
    first, last = (
        draw.of("first", count, FIRST),
        pa.array(LAST).take(_at(draw.whole("last", count, 0, len(LAST)), house)),
    )
    number = draw.whole("number", count, 1, 9900)[house]
    street = pa.array(STREETS).take(_at(draw.whole("street", count, 0, len(STREETS)), house))
    place = draw.whole("place", count, 0, len(PLACES))[house]
    marked = np.arange(count) < planted
    if planted:
        first = pc.if_else(pa.array(marked), _syllables(count, seed, "first"), first)
        last = pc.if_else(pa.array(marked), _syllables(count, seed, "last"), last)
        street = pc.if_else(pa.array(marked), _syllables(count, seed, "street"), street)
    member = _join("WSP", _digits(draw.spread("member", count, 10**9), 9))
    mail = _join(pc.utf8_lower(first), ".", pc.utf8_lower(last), _text(np.arange(count) + 100), "@example.")
    old = (age > 65 * 365) | marked
    plan = np.where(age > 65 * 365, 4, draw.whole("plan", count, 0, 4)[house])
    columns: dict[str, Any] = {
        "person_id": _join("P", _digits(draw.spread("person", count, 10**8), 8)),
        "member_id": member,
        "subscriber_id": member.take(pa.array(np.arange(count) - seat)),
        "first_name": first,
        "middle_name": _hide(draw.of("middle", count, LETTERS), draw.share("middle?", count) > 0.6),
        "last_name": last,
        "social_security_number": _hide(_ssn(draw, count), (draw.share("ssn?", count) > 0.92) & ~marked),
        "medicare_beneficiary_identifier": _hide(_mbi(draw, count), ~old),
        "birth_date": pa.array(born),
        "gender": pa.array(("female", "male", "unknown")).take(
            pa.array(draw.pick("gender", count, (0.51, 0.48, 0.01)))
        ),
        "address": _join(_text(number), " ", street, " Street"),
        "city": pa.array([place[0] for place in PLACES]).take(pa.array(place)),
        "state": pa.array([place[1] for place in PLACES]).take(pa.array(place)),
        "zip_code": _join(
            pa.array([place[2] for place in PLACES]).take(pa.array(place)),
            _digits(draw.whole("zip", count, 0, 100)[house], 2),
        ),
        "phone": _phone(draw, np.where(marked, -1 - np.arange(count), house)),
        "email": _join(mail, draw.of("mail", count, ("com", "org"))),
        "group_id": _join("G", _digits(draw.whole("group", count, 10_000, 10_060)[house], 5)),
        "payer": pa.array(PAYERS).take(pa.array(draw.whole("payer", count, 0, len(PAYERS))[house])),
        "plan": pa.array(PLANS).take(pa.array(plan)),
        "subscriber_relation": pa.array(("self", "spouse", "child")).take(pa.array(np.minimum(seat, 2))),
    }
    return pa.table(columns)


def spans(people: pa.Table, seed: int) -> pa.Table:
    """Make the eligibility table: one row for each span of coverage, about 1.2 a member, in the contract's order.

    Most spans are open; one in eight members changed plans at the turn of 2026, one in twenty has left.
    """
    count = people.num_rows
    draw = _Draw(seed, "spans")
    born = people["birth_date"].to_numpy().astype("datetime64[D]")
    start = np.datetime64("2024-01-01") + draw.whole("start", count, 0, 24).astype("timedelta64[M]").astype(
        "timedelta64[D]"
    )
    start = np.maximum(start, born)
    turn = np.datetime64("2026-01-01")
    moved = (draw.share("moved", count) < 0.125) & (start < turn)
    gone = np.datetime64("2026-07-31") + draw.whole("gone", count, 0, 90).astype("timedelta64[D]")
    gone[draw.share("left", count) >= 0.05] = np.datetime64("NaT")
    before = people.filter(pa.array(moved))
    before = before.set_column(
        before.schema.get_field_index("plan"), "plan", draw.of("old", before.num_rows, ("PPO-250",))
    )
    first = _covered(before, start[moved], np.full(int(moved.sum()), turn - 1))
    now = _covered(people, np.where(moved, turn, start).astype("datetime64[D]"), gone)
    return pa.concat_tables([now, first]).combine_chunks()


def claims(count: int, seed: int, *, people: pa.Table, month: str = "2026-09", first: int = 0) -> pa.Table:
    """Make `count` claim lines that the payer received in `month`, in the contract's order; every row keeps it.

    Claims have one to six lines, are professional or institutional, belong more often to some members than to others,
    and were received days, or for a few of them many months, after the service. first: the first claim's number.
    """
    draw = _Draw(seed, f"claims {month}")
    size = draw.pick("lines", count, (0.38, 0.27, 0.17, 0.1, 0.05, 0.03)) + 1
    claim = np.repeat(np.arange(count), size)[:count]
    line = np.arange(count) - (np.cumsum(size) - size)[claim] + 1
    used = int(claim[-1]) + 1 if count else 0
    institutional = (draw.share("type", used) < 0.22)[claim]
    who = (draw.share("who", used) ** 2.2 * people.num_rows).astype(np.int64)[claim]
    opened = np.datetime64(month, "D")
    days = int((np.datetime64(month, "M") + 1).astype("datetime64[D]").astype(int) - opened.astype(int))
    received = opened + draw.whole("received", used, 0, days).astype("timedelta64[D]")
    wait = np.minimum(draw.generator("wait").gamma(1.6, 9.0, used), 120)
    wait = wait + np.where(draw.share("late", used) < 0.02, 150, 0)
    ended = received - wait.astype(np.int64).astype("timedelta64[D]")
    stay = np.where(draw.share("stay", used) < 0.06, draw.whole("days", used, 1, 9), 0).astype("timedelta64[D]")
    code = draw.whole("code", count, 0, len(PROCEDURES)) % draw.whole("rarer", count, 3, len(PROCEDURES) + 1)
    ward = draw.whole("ward", count, 0, len(WARDS))
    units = np.where(draw.share("units?", count) < 0.85, 1, draw.whole("units", count, 2, 9))
    price = np.where(institutional, _CENTS[1][ward], _CENTS[0][code])
    money = _money(draw, price * units, claim, line)
    npi, doctor = providers(1500, seed), draw.whole("doctor", used, 0, 1500)[claim]
    tin = _join("07-", _digits(_Draw(seed, "providers").spread("tin", 60, 10**7), 7))
    of = {
        name: people[name].combine_chunks().take(pa.array(who)) for name in ("person_id", "member_id", "payer", "plan")
    }
    office, bare = doctor % 60, ~institutional
    codes = pa.array([code[0] for code in PROCEDURES]).take(pa.array(code))
    diagnosis = [draw.of(f"dx{n}", used, DIAGNOSES).take(pa.array(claim)) for n in (1, 2, 3)]
    columns: dict[str, Any] = {
        "claim_id": _join(f"CLM{month.replace('-', '')}", _digits(claim + first, 7)),
        "claim_line_number": pa.array(line),
        "claim_type": pa.array(("professional", "institutional")).take(pa.array(institutional.astype(np.int64))),
        "person_id": _hide(of["person_id"], (draw.share("known", used) < 0.05)[claim]),
        "member_id": of["member_id"],
        "payer": of["payer"],
        "plan": of["plan"],
        "claim_start_date": pa.array((ended - stay)[claim]),
        "claim_end_date": pa.array(ended[claim]),
        "place_of_service_code": _hide(draw.of("place", used, POINTS).take(pa.array(claim)), institutional),
        "bill_type_code": _hide(draw.of("bill", used, BILLS).take(pa.array(claim)), bare),
        "revenue_center_code": _hide(pa.array([ward[0] for ward in WARDS]).take(pa.array(ward)), bare),
        "hcpcs_code": _hide(codes, institutional & (draw.share("coded", count) < 0.4)),
        "hcpcs_modifier_1": _hide(
            draw.of("mod", count, ("25", "59", "LT", "RT", "26", "TC")), draw.share("m?", count) > 0.25
        ),
        "service_unit_quantity": pa.array(units),
        "rendering_npi": npi.take(pa.array(doctor)),
        "billing_npi": npi.take(pa.array(office)),
        "facility_npi": _hide(npi.take(pa.array(office + 60)), bare),
        "billing_tin": tin.take(pa.array(office)),
        "diagnosis_code_type": pa.repeat("icd-10-cm", count),
        "diagnosis_code_1": diagnosis[0],
        "diagnosis_code_2": _hide(diagnosis[1], (draw.share("dx2?", used) > 0.55)[claim]),
        "diagnosis_code_3": _hide(diagnosis[2], (draw.share("dx2?", used) > 0.25)[claim]),
        **money,
        "in_network_flag": pa.array((draw.share("network", used) < 0.88)[claim]),
        "prior_auth_number": _hide(
            _join("PA", _digits(draw.spread("auth", used, 10**8), 8)).take(pa.array(claim)), price < 150_000
        ),
        "received_date": pa.array(received[claim]),
        "note": _notes(draw, people, who),
        "data_source": pa.repeat(SOURCE, count),
    }
    return pa.table(columns)


def providers(count: int, seed: int) -> pa.Array:
    """Make NPIs: 9, eight digits, and the check digit of the Luhn sum over 80840 and the nine."""
    nine = 9 * 10**8 + _Draw(seed, "providers").spread("npi", count, 10**8)
    total = np.full(count, 24)  # what the prefix 80840 adds
    for place in range(9):
        digit = nine // 10**place % 10 * (2 if place % 2 == 0 else 1)
        total = total + digit // 10 + digit % 10
    return _text(nine * 10 + -total % 10)


def planted(count: int, seed: int) -> list[Person]:
    """Return the planted people of `members(any count, seed, planted=count)`, for a leak search."""
    rows = members(count, seed, planted=count).select(Person._fields).to_pylist()
    return [Person(**row) for row in rows]


def write_csv(table: pa.Table, path: Path) -> Path:
    """Write a table beside its name, then rename it: whoever lists the folder never sees half a file."""
    import pyarrow.csv

    part = path.with_name(f"{path.name}.part")
    pyarrow.csv.write_csv(table, part)
    return part.rename(path)


class _Draw:
    """One random generator for each named column."""

    def __init__(self, seed: int, table: str) -> None:
        self._root = (VERSION, seed, zlib.crc32(table.encode()))

    def generator(self, column: str) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence([*self._root, zlib.crc32(column.encode())])))

    def whole(self, column: str, count: int, low: int, high: int) -> Ints:
        return self.generator(column).integers(low, high, count)

    def share(self, column: str, count: int) -> NDArray[np.float64]:
        return self.generator(column).random(count)

    def pick(self, column: str, count: int, weights: Sequence[float]) -> Ints:
        return np.searchsorted(np.cumsum(weights)[:-1], self.share(column, count), side="right").astype(np.int64)

    def of(self, column: str, count: int, words: Sequence[str]) -> pa.Array:
        return pa.array(list(words)).take(pa.array(self.whole(column, count, 0, len(words))))

    def spread(self, column: str, count: int, space: int) -> Ints:
        """Return `count` distinct numbers below `space` in no visible order: a walk by a prime step."""
        return (np.arange(count) * 15_485_863 + int(self.whole(column, 1, 0, space)[0])) % space


def _at(values: Ints, index: Ints) -> pa.Array:
    return pa.array(values[index])


def _text(numbers: Ints) -> pa.Array:
    return pa.array(numbers).cast(pa.string())


def _digits(numbers: Ints, width: int) -> pa.Array:
    return pc.utf8_lpad(_text(numbers), width, "0")


def _join(*parts: Any) -> pa.Array:
    return pc.binary_join_element_wise(*parts, "")


def _hide(values: pa.Array, hidden: NDArray[np.bool_]) -> pa.Array:
    return pc.if_else(pa.array(hidden), pa.scalar(None, values.type), values)


def _syllables(count: int, seed: int, what: str) -> pa.Array:
    """Make names that no dictionary holds: a pair of letters that English lacks, and an end that tells them apart."""
    draw = _Draw(seed, f"planted {what}")
    starts, middles = ("Zqu", "Xvo", "Qya", "Vzi", "Jxe"), ("rantho", "lembri", "dostru", "fennax", "kwilmo", "thessu")
    ends = pa.array([a + b for a in "bdgklmnprtvz" for b in ("ax", "ev", "iq", "oz", "uj", "yk")])
    place = pa.array(draw.spread("end", count, len(ends)))
    return _join(draw.of("start", count, starts), draw.of("middle", count, middles), ends.take(place))


def _ssn(draw: _Draw, count: int) -> pa.Array:
    number = draw.spread("ssn", count, 100 * 40 * 9999)
    area, group, serial = 900 + number // (40 * 9999), 10 + number // 9999 % 40, 1 + number % 9999
    return _join(_text(area), "-", _text(group), "-", _digits(serial, 4))


def _mbi(draw: _Draw, count: int) -> pa.Array:
    number = draw.spread("mbi", count, 9 * 30 * 10 * 20 * 30 * 10 * 20 * 20 * 10 * 10)
    digits, any_ = "0123456789", LETTERS + "0123456789"
    parts: list[Any] = []
    for choice in (digits[1:], "S", any_, digits, LETTERS, any_, digits, LETTERS, LETTERS, digits, digits):
        parts.append(pa.array(list(choice)).take(pa.array(number % len(choice))))
        number = number // len(choice)
    return _join(*parts)


def _phone(draw: _Draw, owner: Ints) -> pa.Array:
    number = (owner * 15_485_863 + draw.whole("phone", 1, 0, 80_000)) % 80_000
    return _join(_text(200 + number // 100), "-555-01", _digits(number % 100, 2))


def _covered(people: pa.Table, start: Any, end: Any) -> pa.Table:
    day = pa.date32()
    people = people.append_column("enrollment_start_date", pa.array(start.astype("datetime64[D]")).cast(day))
    people = people.append_column("enrollment_end_date", pa.array(end.astype("datetime64[D]")).cast(day))
    return people.append_column("data_source", pa.repeat(SOURCE, people.num_rows))


def _money(draw: _Draw, price: Ints, claim: Ints, line: Ints) -> dict[str, pa.Array]:
    """Split each charge: the contract's rate, what the member owes, what the plan pays; it adds up to the cent."""
    count = len(price)
    used = int(claim[-1]) + 1 if count else 0
    charge = (price * draw.generator("charge").lognormal(0.0, 0.18, count)).astype(np.int64) + 100
    allowed = (charge * (0.35 + 0.5 * draw.share("rate", used))[claim]).astype(np.int64)
    deductible = np.where((draw.share("deductible", used) < 0.2)[claim], np.minimum(allowed, 15_000), 0)
    copay = np.where((line == 1) & (draw.share("copay", used) < 0.5)[claim], np.minimum(allowed - deductible, 2_500), 0)
    coinsurance = (allowed - deductible - copay) * (draw.pick("coinsurance", used, (0.5, 0.3, 0.2)) * 10)[claim] // 100
    named = {
        "charge_amount": charge,
        "allowed_amount": allowed,
        "paid_amount": allowed - deductible - copay - coinsurance,
        "coinsurance_amount": coinsurance,
        "copayment_amount": copay,
        "deductible_amount": deductible,
    }
    return {name: _decimal(cents) for name, cents in named.items()}


def _decimal(cents: Ints) -> pa.Array:
    """Lay non-negative cents out as decimal128(12, 2): sixteen little-endian bytes each."""
    words = np.zeros((len(cents), 2), dtype="<i8")
    words[:, 0] = cents
    return pa.Array.from_buffers(pa.decimal128(12, 2), len(cents), [None, pa.py_buffer(words.tobytes())])


def _notes(draw: _Draw, people: pa.Table, who: Ints) -> pa.Array:
    """Write what clerks write: one line in twenty-five, a fifth of them with something that tells who it is about."""
    count = len(who)
    phone, mail, ssn = (
        people[name].combine_chunks().take(pa.array(who)).fill_null("000")
        for name in ("phone", "email", "social_security_number")
    )
    plain = [
        pa.repeat(text, count)
        for text in ("Corrected claim, replaces an earlier one.", 'Records "requested", waiting.')
    ]
    telling = [
        _join("Member called from ", phone, " about this line."),
        _join("Send the letter to ", mail, ", not by post."),
        _join("Caller gave SSN ", ssn, "; matched."),
    ]
    kind = pa.array(draw.pick("note", count, (0.4, 0.4, 0.1, 0.06, 0.04)))
    return _hide(pc.choose(kind, *plain, *telling), draw.share("noted", count) > 0.04)
