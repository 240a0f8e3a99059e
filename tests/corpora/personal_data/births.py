"""Spellings of dates of birth behind, before or below their labels."""

from random import Random

from tests.corpora.personal_data import disguises
from tests.corpora.personal_data.items import mark
from tests.corpora.personal_data.numbers import Spelling, before, behind, below, changed, keyed, widen

LABELS = (
    "DOB ", "DOB: ", "DOB:", "DOB=", "DOB - ", "dob ", "DoB ", "D.O.B. ", "D.O.B.: ", "d.o.b. ", "date of birth ",
    "Date of Birth: ", "date of birth is ", "DOB on file is ", "birthdate ", "Birthdate: ", "birth date ", "Birth Dt: ",
    "bday ", "b-day ", "birthday ", "born ", "born on ", "b. ", "her birthday is ", "dob given as ",
)  # fmt: skip
KEYS = ("dob", "DOB", "birthDate", "birth_date", "date_of_birth", "patientDob")
MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip


def ordinal(day: int) -> str:
    """Return a day with its ending: 1st, 2nd, 3rd, 4th."""
    return f"{day}{'th' if day in (11, 12, 13) else {1: 'st', 2: 'nd', 3: 'rd'}.get(day % 10, 'th')}"


def birth(form: str) -> Spelling:
    """Spell a date; the form uses year, short, month, day, name, abbreviation and ordinal."""

    def spell(rng: Random) -> str:
        year, month, day = rng.randint(1925, 2015), rng.randint(1, 12), rng.randint(1, 28)
        name = MONTHS[month - 1]
        return form.format(
            year=year,
            short=f"{year % 100:02d}",
            month=month,
            day=day,
            name=name,
            abbreviation=name[:3],
            upper=name[:3].upper(),
            ordinal=ordinal(day),
        )

    return spell


ISO = birth("{year}-{month:02d}-{day:02d}")
SLASH = birth("{month:02d}/{day:02d}/{year}")
FORMS: dict[str, Spelling] = {
    "iso": ISO,
    "iso_slash": birth("{year}/{month:02d}/{day:02d}"),
    "slash": SLASH,
    "slash_short": birth("{month}/{day}/{short}"),
    "dash": birth("{month:02d}-{day:02d}-{year}"),
    "dash_short": birth("{month}-{day}-{short}"),
    "dot": birth("{day:02d}.{month:02d}.{year}"),
    "underscore": birth("{year}_{month:02d}_{day:02d}"),
    "space": birth("{month:02d} {day:02d} {year}"),
    "military": birth("{day:02d}{upper}{short}"),
    "military_long": birth("{day:02d}{upper}{year}"),
    "military_dash": birth("{day:02d}-{upper}-{year}"),
    "day_first": birth("{day} {name} {year}"),
    "day_first_short": birth("{day} {abbreviation} {year}"),
    "month_first": birth("{name} {day}, {year}"),
    "month_first_short": birth("{abbreviation} {day}, {year}"),
    "month_abbreviation_dot": birth("{abbreviation}. {day}, {year}"),
    "month_first_bare": birth("{name} {day} {year}"),
    "ordinal": birth("{name} {ordinal}, {year}"),
    "ordinal_of": birth("{ordinal} of {name} {year}"),
    "compact": birth("{year}{month:02d}{day:02d}"),
    "compact_us": birth("{month:02d}{day:02d}{year}"),
}
BIRTH_DATE: dict[str, Spelling] = {
    **{name: behind(LABELS, "birth_date", form) for name, form in FORMS.items()},
    "timestamp": lambda rng: f"{rng.choice(LABELS)}{mark('birth_date', ISO(rng))}T00:00:00Z",
    "glued": behind(("DOB", "dob", "D.O.B."), "birth_date", SLASH),
    "far": behind(("date of birth as confirmed by the caller: ", "DOB on the new card is "), "birth_date", SLASH),
    "label_after": before(("DOB", "date of birth", "d.o.b."), "birth_date", SLASH),
    "label_above": below(LABELS, "birth_date", SLASH),
    "label_above_words": below(("Date of birth", "DOB:", "Birthdate"), "birth_date", birth("{day} {name} {year}")),
    "full_width": behind(LABELS, "birth_date", changed(SLASH, widen)),
    "invisible": behind(LABELS, "birth_date", changed(ISO, disguises.insert_invisible)),
    "wide_space": behind(LABELS, "birth_date", changed(birth("{day} {name} {year}"), disguises.replace_spaces)),
    "other_hyphen": behind(LABELS, "birth_date", changed(ISO, disguises.replace_hyphens)),
    "broken_line": behind(LABELS, "birth_date", changed(birth("{name} {day}, {year}"), disguises.break_line)),
    "key": keyed(KEYS, "birth_date", ISO),
    "key_compact": keyed(KEYS, "birth_date", birth("{year}{month:02d}{day:02d}")),
    "key_slash": keyed(KEYS, "birth_date", SLASH),
    "beside_service_date": lambda rng: (
        f"DOB {mark('birth_date', SLASH(rng))} DOS {mark('other_date', f'{rng.randint(1, 12):02d}/14/2025')}"
    ),
}
