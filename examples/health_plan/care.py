"""What was done, and how it was billed: claims as numbers, then as the rows that a provider submits.

A claim is known by its first line's procedure. Some kinds of care come in courses: therapy goes to one member in
twenty-five, again and again.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute

if TYPE_CHECKING:
    from examples.health_plan import draws
    from examples.health_plan.draws import Bools, Draw, Ints
else:
    # A room of a package: `examples` in a checkout, `wellspring.templates` in a wheel; or a file beside its project.
    draws = importlib.import_module(f"{__package__}.draws" if __package__ else "draws")

pc: Any = pyarrow.compute  # its functions are made at run time, so no checker knows them

SOURCE = "clearinghouse"
OFFICES, DOCTORS = 80, 1500
PLANS = ("PPO-500", "PPO-1500", "HMO-250", "HDHP-3000", "MA-ADVANTAGE", "PPO-250")
"""The last one is closed: who is not in it any more was moved at the turn of the year."""
FORMER = 5
DIAGNOSES = (
    "E11.9 I10 E78.5 J06.9 M54.50 F41.1 F32.9 K21.9 J45.909 N39.0 R05.9 R10.9 Z00.00 Z23 Z12.11 M25.561 M17.11 G47.33 "
    "E03.9 E66.9 I25.10 I48.91 J18.9 J44.9 L03.90 N18.3 O80 R07.9 S93.401A H52.4 B34.9 D64.9 C50.911 G43.909 K57.30"
).split()
PROCEDURES = (  # code, charge in cents for one unit, how often it is a claim's first line
    *(("99213", 16500, 0.17), ("99214", 24800, 0.12), ("99203", 21500, 0.05), ("99283", 68000, 0.06)),
    *(("93000", 9800, 0.04), ("80053", 6200, 0.07), ("85025", 4100, 0.06), ("36415", 1900, 0.05)),
    *(("71046", 14500, 0.04), ("73030", 13200, 0.04), ("97110", 7400, 0.07), ("90834", 15800, 0.05)),
    *(("20610", 31000, 0.03), ("45378", 182000, 0.04), ("J1885", 2300, 0.02), ("G0439", 18700, 0.03)),
    *(("70553", 268000, 0.04), ("27447", 2450000, 0.02)),
)
WARDS = (
    *(("0120", 240000), ("0250", 41000), ("0300", 18500), ("0320", 52000), ("0360", 615000), ("0450", 128000)),
    ("0420", 9800),
)
POINTS = ("11", "11", "11", "11", "11", "22", "22", "23", "02", "21", "12", "19", "20", "81")
BILLS = ("0111", "0131", "0131", "0131", "0851")
MODIFIERS = ("25", "59", "LT", "RT", "26", "TC")
CODES = tuple(code for code, _, _ in PROCEDURES)
THERAPY = np.array([CODES.index(code) for code in ("97110", "90834")])
MODIFIED = np.isin(np.array(CODES), ("71046", "73030", "97110", "20610", "70553"))
"""Procedures that ask for a modifier."""
_SHARES = tuple(share for _, _, share in PROCEDURES)
_PRICES = np.array([cents for _, cents, _ in PROCEDURES]), np.array([cents for _, cents in WARDS])
_WAITS = np.array([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 16, 18, 20, 22, 25, 28, 32, 38, 46, 58])
_OPEN, _CLOSED = 6 * 3600, 20 * 3600


class Visits(NamedTuple):
    """Claims as numbers: one place a claim, then one place a line. -1 stands for what is not there.

    id: year, month and seven digits. Dates are days since 1970; `second` is the second of the day of receipt.
    """

    id: Ints
    person: Ints
    plan: Ints
    institutional: Bools
    doctor: Ints
    network: Bools
    start: Ints
    end: Ints
    received: Ints
    second: Ints
    place: Ints
    bill: Ints
    dx1: Ints
    dx2: Ints
    dx3: Ints
    identified: Bools
    auth: Ints
    original: Ints
    of: Ints
    code: Ints
    ward: Ints
    units: Ints
    cents: Ints
    modifier: Ints
    note: Ints

    @property
    def office(self) -> Ints:
        """Who bills."""
        return self.doctor % OFFICES

    @property
    def recorded(self) -> Ints:
        """The second at which the payer's system knew the claim."""
        return self.received * draws.DAY + self.second

    @property
    def heads(self) -> Ints:
        """The place of each claim's first line."""
        return np.searchsorted(self.of, np.arange(len(self.id)))

    @property
    def charge(self) -> Ints:
        """What each claim charges, in cents."""
        total = np.zeros(len(self.id), np.int64)
        np.add.at(total, self.of, self.cents)
        return total


LINES = ("of", "code", "ward", "units", "cents", "modifier", "note")


def take(visits: Visits, places: Ints) -> Visits:
    """Pick claims, each with its lines, in the order of `places`."""
    first = visits.heads
    size = np.bincount(visits.of, minlength=len(visits.id))[places]
    step = np.arange(int(size.sum())) - np.repeat(np.cumsum(size) - size, size)
    lines = np.repeat(first[places], size) + step
    picked = {
        name: values[lines if name in LINES else places] for name, values in zip(Visits._fields, visits, strict=True)
    }
    return Visits(**{**picked, "of": np.repeat(np.arange(len(places)), size)})


def together(parts: list[Visits]) -> Visits:
    """Put claims one after the other."""
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in Visits._fields}
    shift = np.cumsum([0, *(len(part.id) for part in parts[:-1])])
    joined["of"] = np.concatenate([part.of + more for part, more in zip(parts, shift, strict=True)])
    return Visits(**joined)


def month_days(month: str) -> tuple[int, int]:
    """Return a month's first day, and the first one after it."""
    return draws.days(month), draws.days(str(np.datetime64(month, "M") + 1))


def habits(seed: int) -> Ints:
    """How many times in a thousand each office forgets a modifier: most seldom, some as a rule."""
    share = draws.Draw(seed, "providers").share("habit", OFFICES)
    return (30 + 570 * share * share * share).astype(np.int64)


def offices(draw: Draw, count: int, seed: int) -> Ints:
    """Choose a doctor for each claim; offices are of different size."""
    size = draws.Draw(seed, "providers").whole("size", OFFICES, 10, 100)
    size = size * size
    office = np.searchsorted(np.cumsum(size), draw.whole("office", count, 0, int(size.sum())), side="right")
    doctors_per_office = DOCTORS // OFFICES
    return office + OFFICES * draw.whole("doctor", count, 0, doctors_per_office)


def visits(
    draw: Draw, count: int, seed: int, *, people: int, month: str, first: int = 0, sloppy: Ints | None = None
) -> Visits:
    """Make `count` claim lines received in a month. sloppy: in a thousand, an office's forgotten modifiers."""
    size = draw.pick("lines", count, (0.38, 0.27, 0.17, 0.1, 0.05, 0.03)) + 1
    of = np.repeat(np.arange(count), size)[:count]
    line = np.arange(count) - (np.cumsum(size) - size)[of] + 1
    used = int(of[-1]) + 1 if count else 0
    head = draw.pick("first", used, _SHARES)
    share = draw.share("who", used)
    person = (share * share * people).astype(np.int64)
    therapy = np.isin(head, THERAPY)
    person = np.where(therapy, np.minimum(person // 25 * 25 + 7, people - 1), person)
    institutional = draw.share("type", used) < 0.22
    first_day, after = month_days(month)
    received = draw.whole("received", used, first_day, after)
    wait = _WAITS[draw.whole("wait", used, 0, len(_WAITS))] + draw.whole("more", used, -1, 4)
    late = draw.share("late", used) < 0.02
    end = received - np.where(late, 95 + draw.whole("months", used, 0, 120), wait)
    start = end - np.where(draw.share("stay", used) < 0.06, draw.whole("days", used, 1, 9), 0)
    doctor = offices(draw, used, seed)
    code = np.where(line == 1, head[of], draw.pick("code", count, _SHARES))
    code = np.where(therapy[of], head[of], code)
    ward = np.where(therapy[of], len(WARDS) - 1, draw.whole("ward", count, 0, len(WARDS) - 1))
    units = np.where(draw.share("units?", count) < 0.85, 1, draw.whole("units", count, 2, 9))
    price = np.where(institutional[of], _PRICES[1][ward], _PRICES[0][code])
    tenths = [draw.whole(f"charge {place}", count, 0, 2_400) for place in range(3)]
    cents = price * units * (6_400 + tenths[0] + tenths[1] + tenths[2]) // 10_000 + 100
    habit = (habits(seed) if sloppy is None else sloppy)[doctor % OFFICES]
    forgot = draw.whole("forgot", count, 0, 1000) < habit[of]
    modifier = draw.whole("mod", count, 0, len(MODIFIERS))
    modifier = np.where(np.where(MODIFIED[code], forgot, draw.share("m?", count) > 0.2), -1, modifier)
    return Visits(
        id=int(month.replace("-", "")) * 10**7 + np.arange(used) + first,
        person=person,
        plan=np.full(used, -1),
        institutional=institutional,
        doctor=doctor,
        network=draw.share("network", used) < 0.88,
        start=start,
        end=end,
        received=received,
        second=draw.whole("second", used, _OPEN, _CLOSED),
        place=np.where(institutional, -1, draw.whole("place", used, 0, len(POINTS))),
        bill=np.where(institutional, draw.whole("bill", used, 0, len(BILLS)), -1),
        dx1=draw.whole("dx1", used, 0, len(DIAGNOSES)),
        dx2=np.where(draw.share("dx2?", used) > 0.55, -1, draw.whole("dx2", used, 0, len(DIAGNOSES))),
        dx3=np.where(draw.share("dx2?", used) > 0.25, -1, draw.whole("dx3", used, 0, len(DIAGNOSES))),
        identified=draw.share("known", used) >= 0.05,
        auth=np.full(used, -1),
        original=np.full(used, -1),
        of=of,
        # An institutional line after the first is often told by its revenue centre alone.
        code=np.where(institutional[of] & (line > 1) & ~therapy[of] & (draw.share("coded", count) < 0.4), -1, code),
        ward=np.where(institutional[of], ward, -1),
        units=units,
        cents=cents,
        modifier=modifier,
        note=np.where(draw.share("noted", count) > 0.04, -1, draw.pick("note", count, (0.4, 0.4, 0.1, 0.06, 0.04))),
    )


def providers(count: int, seed: int) -> pa.Array:
    """Make NPIs: 9, eight digits, and the check digit of the Luhn sum over 80840 and the nine."""
    nine = 9 * 10**8 + draws.Draw(seed, "providers").spread("npi", count, 10**8)
    total = np.full(count, 24)  # what the prefix 80840 adds
    for place in range(9):
        digit = nine // 10**place % 10 * (2 if place % 2 == 0 else 1)
        total = total + digit // 10 + digit % 10
    return draws.text(nine * 10 + -total % 10)


def claim_ids(number: Ints) -> pa.Array:
    """Write claim numbers as the payer does; -1 is null."""
    named = draws.join("CLM", draws.digits(np.maximum(number, 0), 13))
    return draws.hide(named, number < 0) if len(number) and int(number.min()) < 0 else named


def auth_ids(number: Ints) -> pa.Array:
    """Write the numbers of prior authorizations; -1 is null."""
    return draws.hide(draws.join("PA", draws.digits(np.maximum(number, 0), 8)), number < 0)


def rows(visits: Visits, *, people: pa.Table, seed: int) -> pa.Table:
    """Lay claims out as rows of the medical_claim contract: one a line, in the contract's order."""
    of = visits.of
    line = np.arange(len(of)) - visits.heads[of] + 1
    npi = providers(DOCTORS, seed)
    tin = draws.join("07-", draws.digits(draws.Draw(seed, "providers").spread("tin", OFFICES, 10**7), 7))
    office, member = visits.office, visits.person
    bare = ~visits.institutional

    def spread(values: pa.Array) -> pa.Array:
        return values.take(pa.array(of))

    def about(name: str) -> pa.Array:
        return people[name].combine_chunks().take(pa.array(member))

    columns: dict[str, Any] = {
        "claim_id": spread(claim_ids(visits.id)),
        "claim_line_number": pa.array(line),
        "claim_record_type": spread(draws.words(("original", "replacement"), (visits.original >= 0).astype(np.int64))),
        "original_claim_id": spread(claim_ids(visits.original)),
        "claim_type": spread(draws.words(("professional", "institutional"), visits.institutional.astype(np.int64))),
        "person_id": spread(draws.hide(about("person_id"), ~visits.identified)),
        "member_id": spread(about("member_id")),
        "payer": spread(about("payer")),
        "plan": spread(draws.words(PLANS, visits.plan)),
        "claim_start_date": spread(draws.dates(visits.start)),
        "claim_end_date": spread(draws.dates(visits.end)),
        "place_of_service_code": spread(draws.words(POINTS, visits.place)),
        "bill_type_code": spread(draws.words(BILLS, visits.bill)),
        "revenue_center_code": draws.words([ward for ward, _ in WARDS], visits.ward),
        "hcpcs_code": draws.words(CODES, visits.code),
        "hcpcs_modifier_1": draws.words(MODIFIERS, visits.modifier),
        "service_unit_quantity": pa.array(visits.units),
        "rendering_npi": spread(npi.take(pa.array(visits.doctor))),
        "billing_npi": spread(npi.take(pa.array(office))),
        "facility_npi": spread(draws.hide(npi.take(pa.array(office + OFFICES)), bare)),
        "billing_tin": spread(tin.take(pa.array(office))),
        "diagnosis_code_type": pa.repeat("icd-10-cm", len(of)),
        "diagnosis_code_1": spread(draws.words(DIAGNOSES, visits.dx1)),
        "diagnosis_code_2": spread(draws.words(DIAGNOSES, visits.dx2)),
        "diagnosis_code_3": spread(draws.words(DIAGNOSES, visits.dx3)),
        "charge_amount": draws.decimal(visits.cents),
        "in_network_flag": spread(pa.array(visits.network)),
        "prior_auth_number": spread(auth_ids(visits.auth)),
        "received_date": spread(draws.dates(visits.received)),
        "note": _notes(visits, people),
        "recorded_at": spread(draws.instants(visits.recorded)),
        "data_source": pa.repeat(SOURCE, len(of)),
    }
    return pa.table(columns)


def _notes(visits: Visits, people: pa.Table) -> pa.Array:
    """Write what clerks write: one line in twenty-five, a fifth of them with something that tells who it is about."""
    noted = np.flatnonzero(visits.note >= 0)
    person = pa.array(visits.person[visits.of[noted]])
    phone, mail, ssn = (
        people[name].combine_chunks().take(person).fill_null("000")
        for name in ("phone", "email", "social_security_number")
    )
    plain = [
        pa.repeat(text, len(noted))
        for text in ("Corrected claim, replaces an earlier one.", 'Records "requested", waiting.')
    ]
    telling = [
        draws.join("Member called from ", phone, " about this line."),
        draws.join("Send the letter to ", mail, ", not by post."),
        draws.join("Caller gave SSN ", ssn, "; matched."),
    ]
    note_texts = pc.choose(pa.array(visits.note[noted]), *plain, *telling)
    place = np.full(len(visits.of), -1)
    place[noted] = np.arange(len(noted))
    return note_texts.take(pa.array(place, mask=place < 0))
