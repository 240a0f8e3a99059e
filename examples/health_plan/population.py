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

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute

if TYPE_CHECKING:
    from examples.health_plan import care, draws
    from examples.health_plan.draws import Draw, Ints
else:
    # A room of a package: `examples` in a checkout, `wellspring.templates` in a wheel; or a file beside its project.
    care, draws = (
        importlib.import_module(f"{__package__}.{name}" if __package__ else name) for name in ("care", "draws")
    )

pc: Any = pyarrow.compute  # its functions are made at run time, so no checker knows them

VERSION = draws.VERSION
SOURCE = care.SOURCE
providers = care.providers
PAYERS = ("Northfield Health", "Lakeshore Benefits", "Prairie Mutual")
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
    draw = draws.Draw(seed, "members")
    size = draw.pick("household", count, weights=(0.42, 0.26, 0.14, 0.12, 0.06)) + 1
    household = np.repeat(np.arange(count), size)[:count]
    seat = np.arange(count) - (np.cumsum(size) - size)[household]
    age = np.where(seat < 2, draw.whole("age", count, 23 * 365, 84 * 365), draw.whole("child", count, 40, 25 * 365))
    born = np.datetime64("2026-06-30") - age.astype("timedelta64[D]")
    first, last = (
        draw.of("first", count, FIRST),
        pa.array(LAST).take(draws.take_at(draw.whole("last", count, 0, len(LAST)), household)),
    )
    number = draw.whole("number", count, 1, 9900)[household]
    street = pa.array(STREETS).take(draws.take_at(draw.whole("street", count, 0, len(STREETS)), household))
    place = draw.whole("place", count, 0, len(PLACES))[household]
    marked = np.arange(count) < planted
    if planted:
        first = pc.if_else(pa.array(marked), _syllables(count, seed, "first"), first)
        last = pc.if_else(pa.array(marked), _syllables(count, seed, "last"), last)
        street = pc.if_else(pa.array(marked), _syllables(count, seed, "street"), street)
    member = draws.join("WSP", draws.digits(draw.spread("member", count, 10**9), 9))
    mail = draws.join(pc.utf8_lower(first), ".", pc.utf8_lower(last), draws.text(np.arange(count) + 100), "@example.")
    old = (age > 65 * 365) | marked
    plan = np.where(age > 65 * 365, 4, draw.whole("plan", count, 0, 4)[household])
    columns: dict[str, Any] = {
        "person_id": draws.join("P", draws.digits(draw.spread("person", count, 10**8), 8)),
        "member_id": member,
        "subscriber_id": member.take(pa.array(np.arange(count) - seat)),
        "first_name": first,
        "middle_name": draws.hide(draw.of("middle", count, LETTERS), draw.share("middle?", count) > 0.6),
        "last_name": last,
        "social_security_number": draws.hide(_ssn(draw, count), (draw.share("ssn?", count) > 0.92) & ~marked),
        "medicare_beneficiary_identifier": draws.hide(_mbi(draw, count), ~old),
        "birth_date": pa.array(born),
        "gender": pa.array(("female", "male", "unknown")).take(
            pa.array(draw.pick("gender", count, (0.51, 0.48, 0.01)))
        ),
        "address": draws.join(draws.text(number), " ", street, " Street"),
        "city": pa.array([place[0] for place in PLACES]).take(pa.array(place)),
        "state": pa.array([place[1] for place in PLACES]).take(pa.array(place)),
        "zip_code": draws.join(
            pa.array([place[2] for place in PLACES]).take(pa.array(place)),
            draws.digits(draw.whole("zip", count, 0, 100)[household], 2),
        ),
        "phone": _phone(draw, np.where(marked, -1 - np.arange(count), household)),
        "email": draws.join(mail, draw.of("mail", count, ("com", "org"))),
        "group_id": draws.join("G", draws.digits(draw.whole("group", count, 10_000, 10_060)[household], 5)),
        "payer": pa.array(PAYERS).take(pa.array(draw.whole("payer", count, 0, len(PAYERS))[household])),
        "plan": pa.array(care.PLANS).take(pa.array(plan)),
        "subscriber_relation": pa.array(("self", "spouse", "child")).take(pa.array(np.minimum(seat, 2))),
    }
    return pa.table(columns)


class Cover(NamedTuple):
    """Each member's coverage as numbers: a first span, and perhaps a second one.

    start, end, again: days since 1970. known_at, end_known_at, restart_known_at: when the payer's system knew the first
    span, its end, and the second span, in seconds; an end that became known late is a retroactive termination.
    """

    start: Ints
    end: Ints
    again: Ints
    former: Ints
    known_at: Ints
    end_known_at: Ints
    restart_known_at: Ints

    def coverage_known(self, person: Ints, day: Ints, second: Ints) -> tuple[draws.Bools, draws.Bools]:
        """Return whether each day is covered, as known at a second, and whether it lies before any coverage."""
        ended = (day > self.end[person]) & (self.end_known_at[person] < second)
        first = (self.known_at[person] < second) & (self.start[person] <= day) & ~ended
        later = (self.restart_known_at[person] < second) & (self.again[person] <= day)
        return first | later, day < self.start[person]

    def plan(self, own: Ints, person: Ints, day: Ints) -> Ints:
        """Return the plan of each day: who was moved was in the former one before."""
        return np.where((self.former[person] == 1) & (day < self.again[person]), care.FORMER, own[person])


def coverage(people: pa.Table, seed: int, *, since: str = "2025-05", until: str = "2026-10") -> Cover:
    """Make each member's coverage, with what happens to it between five months before `since` and the end of `until`.

    One member in eight changes plans at the turn of the year, a third of them with a gap; one in eight has a lapse; one
    in fourteen leaves. Of these ends one in three becomes known weeks after it took effect.
    """
    count = people.num_rows
    draw = draws.Draw(seed, "spans")
    first_day, closed = draws.days(since), care.month_days(until)[1]
    low, high = first_day - 150, closed
    turn = draws.days(f"{until[:4]}-01-01")
    born = people["birth_date"].combine_chunks().cast(pa.int32()).to_numpy(zero_copy_only=False).astype(np.int64)
    months = np.datetime64(since, "M") - 17 + draw.whole("start", count, 0, 12)
    day = months.astype("datetime64[D]").astype(np.int64)
    # Some join while we look on.
    joins = draw.share("joins", count) < 0.02
    day = np.where(joins, draw.whole("joined", count, first_day, high), day)
    start = np.maximum(day, born)
    kind = draw.pick("kind", count, (0.125, 0.1, 0.045, 0.73))
    event = draw.whole("event", count, low, high)
    end = np.select([kind == 0, kind < 3], [np.full(count, turn - 1), event], draws.NEVER)
    # A child born since has the coverage it was born into.
    end = np.where(end <= start + 30, draws.NEVER, end)
    gap = np.select(
        [kind == 0, kind == 1],
        [
            np.where(draw.share("late", count) < 0.33, draw.whole("weeks", count, 20, 75), 0),
            draw.whole("lapse", count, 15, 120),
        ],
        draws.NEVER,
    )
    again = np.where((end < draws.NEVER) & (gap < draws.NEVER), end + 1 + gap, draws.NEVER)
    retro = (draw.share("retro", count) < 0.35) & ((kind > 0) | (gap > 0))
    second = draw.whole("second", count, 3 * 3600, 5 * 3600)
    end_known_at = end + np.where(retro, draw.whole("retro days", count, 20, 75), -draw.whole("ahead", count, 2, 8))
    back = np.where(
        draw.share("back", count) < 0.3, draw.whole("back days", count, 10, 40), -draw.whole("before", count, 2, 6)
    )
    restart_known_at = np.maximum(again + back, end_known_at + 1)
    return Cover(
        start=start,
        end=end,
        again=again,
        former=((kind == 0) & (end < draws.NEVER)).astype(np.int64),
        known_at=np.where(start == born, start + 12, start - 10) * draws.DAY + second,
        end_known_at=np.where(end < draws.NEVER, end_known_at * draws.DAY + second, draws.NEVER),
        restart_known_at=np.where(again < draws.NEVER, restart_known_at * draws.DAY + second, draws.NEVER),
    )


def spans(people: pa.Table, seed: int, *, since: str = "2025-05", until: str = "2026-10") -> pa.Table:
    """Make the eligibility table, in the contract's order: a row each time that the payer's system learned of a span.

    A span that ended has two rows of one key: the open one, and later the closed one. What became known after `until`
    is not there.
    """
    cover = coverage(people, seed, since=since, until=until)
    horizon = care.month_days(until)[1] * draws.DAY
    never = np.full(people.num_rows, draws.NEVER)
    parts = []
    for start, end, known_at, first in (
        (cover.start, never, cover.known_at, True),
        (cover.start, cover.end, cover.end_known_at, True),
        (cover.again, never, cover.restart_known_at, False),
    ):
        known_rows = np.flatnonzero(known_at < horizon)
        part = people.take(pa.array(known_rows))
        if first:
            former = pa.array(cover.former[known_rows] == 1)
            plan = pc.if_else(former, pa.scalar(care.PLANS[care.FORMER]), part["plan"].combine_chunks())
            part = part.set_column(part.schema.get_field_index("plan"), "plan", plan)
        part = part.append_column("enrollment_start_date", draws.dates(start[known_rows]))
        part = part.append_column("enrollment_end_date", draws.dates(end[known_rows]).cast(pa.date32()))
        part = part.append_column("recorded_at", draws.instants(known_at[known_rows]))
        parts.append(part.append_column("data_source", pa.repeat(SOURCE, part.num_rows)))
    return pa.concat_tables(parts).combine_chunks()


def claims(count: int, seed: int, *, people: pa.Table, month: str = "2026-09", first: int = 0) -> pa.Table:
    """Make `count` claim lines that the payer received in `month`, in the contract's order; every row keeps it.

    Claims have one to six lines, are professional or institutional, belong more often to some members than to others,
    and were received days, or for a few of them many months, after the service. first: the first claim's number.
    Nothing is decided about them: that is `process.history`.
    """
    draw = draws.Draw(seed, f"claims {month}")
    visits = grown(care.visits(draw, count, seed, people=people.num_rows, month=month, first=first), people)
    numbered = draw.spread("auth", len(visits.id), 10**8)
    auth = np.where(visits.cents[visits.heads] >= 150_000, numbered, -1)
    return care.rows(visits._replace(plan=own_plans(people)[visits.person], auth=auth), people=people, seed=seed)


def grown(visits: care.Visits, people: pa.Table) -> care.Visits:
    """Give the claims of members who were not born yet to the members before them."""
    born = people["birth_date"].combine_chunks().cast(pa.int32()).to_numpy(zero_copy_only=False).astype(np.int64)
    # A household's children follow their parents, of whom the first is there always.
    seat = np.arange(people.num_rows) - _subscribers(people)
    early = born[visits.person] > visits.start
    return visits._replace(person=np.where(early, visits.person - seat[visits.person], visits.person))


def own_plans(people: pa.Table) -> Ints:
    """Return each member's plan, as its place in PLANS."""
    return _places(people["plan"], care.PLANS)


def payers(people: pa.Table) -> Ints:
    """Return each member's payer, as its place in PAYERS."""
    return _places(people["payer"], PAYERS)


def households(people: pa.Table) -> Ints:
    """Return the place of each member's subscriber."""
    return _subscribers(people)


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


def _places(column: pa.ChunkedArray, words: tuple[str, ...]) -> Ints:
    return pc.index_in(column.combine_chunks(), pa.array(words)).to_numpy(zero_copy_only=False).astype(np.int64)


def _subscribers(people: pa.Table) -> Ints:
    # A household starts at its subscriber, and its rows follow each other.
    own = pc.equal(people["subscriber_id"], people["member_id"]).combine_chunks().to_numpy(zero_copy_only=False)
    return np.maximum.accumulate(np.where(own, np.arange(people.num_rows), 0))


def _syllables(count: int, seed: int, what: str) -> pa.Array:
    """Make names that no dictionary holds: a pair of letters that English lacks, and an end that tells them apart."""
    draw = draws.Draw(seed, f"planted {what}")
    starts, middles = ("Zqu", "Xvo", "Qya", "Vzi", "Jxe"), ("rantho", "lembri", "dostru", "fennax", "kwilmo", "thessu")
    ends = pa.array([a + b for a in "bdgklmnprtvz" for b in ("ax", "ev", "iq", "oz", "uj", "yk")])
    place = pa.array(draw.spread("end", count, len(ends)))
    return draws.join(draw.of("start", count, starts), draw.of("middle", count, middles), ends.take(place))


def _ssn(draw: Draw, count: int) -> pa.Array:
    number = draw.spread("ssn", count, 100 * 40 * 9999)
    area, group, serial = 900 + number // (40 * 9999), 10 + number // 9999 % 40, 1 + number % 9999
    return draws.join(draws.text(area), "-", draws.text(group), "-", draws.digits(serial, 4))


def _mbi(draw: Draw, count: int) -> pa.Array:
    number = draw.spread("mbi", count, 9 * 30 * 10 * 20 * 30 * 10 * 20 * 20 * 10 * 10)
    digits, any_ = "0123456789", LETTERS + "0123456789"
    parts: list[Any] = []
    for choice in (digits[1:], "S", any_, digits, LETTERS, any_, digits, LETTERS, LETTERS, digits, digits):
        parts.append(pa.array(list(choice)).take(pa.array(number % len(choice))))
        number = number // len(choice)
    return draws.join(*parts)


def _phone(draw: Draw, owner: Ints) -> pa.Array:
    number = (owner * 15_485_863 + draw.whole("phone", 1, 0, 80_000)) % 80_000
    return draws.join(draws.text(200 + number // 100), "-555-01", draws.digits(number % 100, 2))
