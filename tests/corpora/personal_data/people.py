"""Invented persons, places and things that identify a person: kinds that the platform does not claim."""

import string
from random import Random

from tests.corpora.personal_data.identifiers import random_digits
from tests.corpora.personal_data.items import mark

FIRST_NAMES = (
    "Jane Maria José Zoë Walter Priya Kwame Renée Olga Tomás "
    "Aisha Björn Carmen Dmitri Fiona Hiro Inés Latoya Milan Nadia"
).split()
LAST_NAMES = (
    "Quillfeather Okonkwo-Reyes Müllerin Vantongeren Ashgrove Peñalver Drozdek Halloranby Itoyama Kestrelman "
    "Lindqvistad Marrowby Nwachukwulu Orlandez Pemberwick Ruizmontes Sørbyholm Tarrantino Underhaye Winterbourneau"
).split()
STREETS = ("Larkspur", "Old Quarry", "Pinehurst", "Mill Pond", "Juniper", "Copper Hill")
SUFFIXES = ("St", "Street", "Ave", "Avenue", "Road", "Rd.", "Lane", "Blvd")
CITIES = ("Springfield", "Fairview", "Riverton", "Georgetown", "Clinton", "Salem")
STATES = ("MA", "TX", "OH", "CA", "NY", "WA")
VIN_CHARACTERS = "ABCDEFGHJKLMNPRSTUVWXYZ0123456789"


def random_letters(rng: Random, count: int) -> str:
    """Return random capital letters."""
    return "".join(rng.choice(string.ascii_uppercase) for _ in range(count))


def full_name(rng: Random) -> str:
    """Return a labelled name."""
    first, last = rng.choice(FIRST_NAMES), rng.choice(LAST_NAMES)
    return mark("name", rng.choice([f"{first} {last}", f"{last}, {first}", f"{first} {last[0]}. {last}"]))


def first_name(rng: Random) -> str:
    """Return a labelled first name."""
    return mark("name", rng.choice(FIRST_NAMES))


def recent_date(rng: Random) -> str:
    """Return a date of the last years in one of its usual forms, without a label."""
    year, month, day = rng.randint(2018, 2026), rng.randint(1, 12), rng.randint(1, 28)
    name = ("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec").split()[month - 1]
    return rng.choice(
        [
            f"{year}-{month:02d}-{day:02d}",
            f"{month:02d}/{day:02d}/{year}",
            f"{month}/{day}/{year % 100:02d}",
            f"{day:02d}{name.upper()}{year % 100:02d}",
            f"{day} {name} {year}",
            f"{name} {day}, {year}",
            f"{year}{month:02d}{day:02d}",
        ]
    )


def street_address(rng: Random) -> str:
    """Return a labelled street, with a city and a postal code."""
    street = f"{rng.randint(2, 9899)} {rng.choice(STREETS)} {rng.choice(SUFFIXES)}"
    postal_code = random_digits(rng, 5) + rng.choice(["", "-" + random_digits(rng, 4)])
    place = f"{mark('geographic', rng.choice(CITIES))}, {rng.choice(STATES)} {mark('geographic', postal_code)}"
    return f"{mark('street_address', street)}, {place}"


def vin_text(rng: Random) -> str:
    """Return seventeen characters of the form of a vehicle identification number."""
    return "".join(rng.choice(VIN_CHARACTERS) for _ in range(11)) + random_digits(rng, 6)


def device_phrase(rng: Random) -> str:
    """Return a device identifier behind its word."""
    octets = ":".join(f"{rng.randint(0, 255):02x}" for _ in range(6))
    return rng.choice(
        [
            f"MAC {mark('device_id', octets)}",
            f"IMEI {mark('device_id', '35' + random_digits(rng, 13))}",
            f"pacemaker serial {mark('device_id', random_letters(rng, 3) + random_digits(rng, 7))}",
        ]
    )


UNCLAIMED_PHRASES = {
    "name": lambda rng: f"{rng.choice(['spoke with', 'pt is', 'caller:', 'cc'])} {full_name(rng)}",
    "street_address": lambda rng: f"{rng.choice(['lives at', 'addr:', 'mail to'])} {street_address(rng)}",
    "record_number": lambda rng: (
        f"{rng.choice(['MRN', 'MRN:', 'chart #', 'medical record no.'])} "
        f"{mark('record_number', random_digits(rng, rng.randint(6, 9)))}"
    ),
    "account_number": lambda rng: (
        f"{rng.choice(['acct', 'account no.', 'Acct #', 'bank account'])} "
        f"{mark('account_number', random_digits(rng, rng.randint(8, 12)))}"
    ),
    "license_number": lambda rng: (
        f"{rng.choice(['DL', 'driver license', 'license no.'])} "
        f"{mark('license_number', random_letters(rng, 1) + random_digits(rng, 8))}"
    ),
    "plate": lambda rng: (
        f"{rng.choice(['plate', 'license plate', 'tag'])} "
        f"{mark('plate', random_letters(rng, 3) + '-' + random_digits(rng, 4))}"
    ),
    "device_id": device_phrase,
    "vin": lambda rng: f"VIN {mark('vin', vin_text(rng))}",
    "other_date": lambda rng: (
        f"{rng.choice(['DOS', 'admitted', 'discharged on', 'service date', 'seen on', 'died', 'date of visit'])} "
        f"{mark('other_date', recent_date(rng))}"
    ),
    "age_over_89": lambda rng: (
        f"{rng.choice(['aged', 'age', 'pt is now'])} {mark('age_over_89', str(rng.randint(90, 104)))}"
    ),
    "geographic": lambda rng: (
        f"{rng.choice(['moved to', 'from', 'clinic in'])} "
        f"{mark('geographic', rng.choice(CITIES))}, {rng.choice(STATES)}"
    ),
}
"""A phrase with a label, for each unclaimed kind."""
