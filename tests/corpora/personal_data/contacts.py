"""Spellings of telephone numbers, mail addresses, addresses of pages and addresses of the internet protocol."""

import ipaddress
from random import Random

from tests.corpora.personal_data import disguises
from tests.corpora.personal_data.identifiers import phone_parts, random_digits, ssn_parts
from tests.corpora.personal_data.items import decompose, mark
from tests.corpora.personal_data.numbers import Spelling, behind, below, changed, keyed, listed, widen
from tests.corpora.personal_data.people import FIRST_NAMES, LAST_NAMES

PHONE_LABELS = (
    "Tel ", "Tel. ", "tel: ", "ph ", "Ph# ", "phone ", "Phone: ", "cell ", "Cell: ", "mobile ", "fax ", "Fax: ",
    "fax no. ", "call me at ", "call back at ", "CB# ", "reach her at ", "contact no. ", "home phone ", "work ph ",
    "text me on ", "telephone ", "phone number is ", "phone=",
)  # fmt: skip
PHONE_CONTEXTS = ("he left ", "callback: ", "try ", "dial ", "daughter can be reached on ")
EMAIL_LABELS = ("email ", "e-mail: ", "Email: ", "mail to ", "write to ", "contact ", "from: ", "cc ")
DOMAINS = ("example.com", "example.org", "example.net", "mail.example.com", "clinic.test", "north-side.example.org")
URL_LABELS = ("see ", "portal ", "link: ", "uploaded to ", "URL ", "profile at ", "opened ")
IP_LABELS = ("IP ", "ip=", "from ", "client ", "src=", "logged in from ", "remote_addr: ", "host ")
IP_KEYS = ("ip", "client_ip", "remoteAddr", "src_ip")


def joined_phone(form: str) -> Spelling:
    """Spell a North American number; the form names area, exchange and line."""

    def spell(rng: Random) -> str:
        area, exchange, line = phone_parts(rng)
        return form.format(area, exchange, line)

    return spell


def foreign_digits(rng: Random) -> tuple[str, ...]:
    """Return the groups of a number that a regulator reserves for fiction."""
    return rng.choice(
        [
            ("44", "20", "7946", f"0{random_digits(rng, 3)}"),
            ("61", "2", "5550", random_digits(rng, 4)),
            ("33", "1", "99", "00", random_digits(rng, 2), random_digits(rng, 2)),
            ("49", "30", "23125", random_digits(rng, 3)),
            ("353", "20", "91" + random_digits(rng, 1), random_digits(rng, 4)),
        ]
    )


def extended_phone(rng: Random) -> str:
    """Return a number with an extension, which is not part of the span."""
    extension = rng.choice(["x{}", " x{}", " ext. {}", " ext {}", " extension {}"]).format(rng.randint(10, 9999))
    return rng.choice(PHONE_LABELS) + mark("phone", joined_phone("{}-{}-{}")(rng)) + extension


def local_part(rng: Random) -> str:
    """Return the part of a mail address before the sign, in ASCII."""
    first = rng.choice([name for name in FIRST_NAMES if name.isascii()]).lower()
    last = rng.choice([name for name in LAST_NAMES if name.isascii()]).lower()
    return rng.choice([f"{first}.{last}", f"{first[0]}{last}", f"{first}_{last}", f"{first}{rng.randint(1, 99)}", last])


def email_text(rng: Random) -> str:
    """Return a mail address."""
    return f"{local_part(rng)}@{rng.choice(DOMAINS)}"


def marked(value: Spelling, kind: str, before: str = "", after: str = "") -> Spelling:
    """Put fixed text around a value."""
    return lambda rng: before + mark(kind, value(rng)) + after


def url_text(rng: Random) -> str:
    """Return an address of a page that may carry a path, a query with personal data, or a fragment."""
    host = rng.choice(["example.com", "portal.example.org", "www.example.net", "files.clinic.test", "example.com:8443"])
    tail = rng.choice(
        [
            "",
            "/",
            f"/members/{rng.randint(1000, 99999)}",
            f"/u/{local_part(rng)}",
            f"/find?email={local_part(rng)}%40example.com",
            f"/find?ssn={'-'.join(ssn_parts(rng))}&page=2",
            f"/cb?phone={''.join(phone_parts(rng))}&mail={email_text(rng)}",
            f"/doc_{rng.randint(10, 99)}.pdf#page={rng.randint(1, 9)}",
            f"/a/b-c/~{local_part(rng)}/index.html",
        ]
    )
    return rng.choice(["https", "https", "http"]) + f"://{host}{tail}"


def ipv4_text(rng: Random) -> str:
    """Return an address of a documentation range, of a private one, or a random one."""
    last = rng.randint(1, 254)
    return rng.choice(
        [
            f"192.0.2.{last}",
            f"198.51.100.{last}",
            f"203.0.113.{last}",
            f"10.{rng.randint(0, 255)}.{rng.randint(0, 255)}.{last}",
            f"192.168.{rng.randint(0, 255)}.{last}",
            f"172.{rng.randint(16, 31)}.{rng.randint(0, 255)}.{last}",
            f"{rng.randint(11, 99)}.{rng.randint(100, 255)}.{rng.randint(0, 255)}.{last}",
        ]
    )


def ipv6_address(rng: Random) -> ipaddress.IPv6Address:
    """Return an address of the documentation range, some of them with groups of zeros."""
    groups = [rng.choice([0, rng.randint(1, 0xFFFF)]) for _ in range(5)]
    tail = "".join(f":{group:x}" for group in groups)
    return ipaddress.IPv6Address(f"2001:db8{tail}:{rng.randint(1, 0xFFFF):x}")


PHONE: dict[str, Spelling] = {
    "dash": behind(PHONE_LABELS, "phone", joined_phone("{}-{}-{}")),
    "dash_bare": behind(PHONE_CONTEXTS, "phone", joined_phone("{}-{}-{}")),
    "dot": behind(PHONE_LABELS, "phone", joined_phone("{}.{}.{}")),
    "dot_bare": behind(PHONE_CONTEXTS, "phone", joined_phone("{}.{}.{}")),
    "space": behind(PHONE_LABELS, "phone", joined_phone("{} {} {}")),
    "slash": behind(PHONE_LABELS, "phone", joined_phone("{}/{}-{}")),
    "brackets": behind(PHONE_LABELS, "phone", joined_phone("({}) {}-{}")),
    "brackets_bare": behind(PHONE_CONTEXTS, "phone", joined_phone("({}) {}-{}")),
    "brackets_tight": behind(PHONE_LABELS, "phone", joined_phone("({}){}-{}")),
    "brackets_space": behind(PHONE_LABELS, "phone", joined_phone("({}) {} {}")),
    "underscore": behind(PHONE_LABELS, "phone", joined_phone("{}_{}_{}")),
    "plain": behind(PHONE_LABELS, "phone", joined_phone("{}{}{}")),
    "country_dash": behind(PHONE_LABELS, "phone", joined_phone("1-{}-{}-{}")),
    "country_brackets": behind(PHONE_LABELS, "phone", joined_phone("+1 ({}) {}-{}")),
    "country_space": behind(PHONE_LABELS, "phone", joined_phone("+1 {} {} {}")),
    "e164": behind(PHONE_LABELS, "phone", joined_phone("+1{}{}{}")),
    "e164_bare": behind(PHONE_CONTEXTS, "phone", joined_phone("+1{}{}{}")),
    "foreign": behind(PHONE_LABELS, "phone", lambda rng: "+" + " ".join(foreign_digits(rng))),
    "foreign_e164_bare": behind(PHONE_CONTEXTS, "phone", lambda rng: "+" + "".join(foreign_digits(rng))),
    "glued": behind(("Tel", "PH", "ph#", "Fax"), "phone", joined_phone("{}-{}-{}")),
    "far": behind(("phone has changed, new number ", "fax of the clinic is "), "phone", joined_phone("{}{}{}")),
    "extension": extended_phone,
    "full_width": behind(PHONE_LABELS, "phone", changed(joined_phone("{}-{}-{}"), widen)),
    "invisible": behind(PHONE_LABELS, "phone", changed(joined_phone("{}-{}-{}"), disguises.insert_invisible)),
    "wide_space": behind(PHONE_LABELS, "phone", changed(joined_phone("{} {} {}"), disguises.replace_spaces)),
    "other_hyphen": behind(PHONE_LABELS, "phone", changed(joined_phone("{}-{}-{}"), disguises.replace_hyphens)),
    "broken_line": behind(PHONE_LABELS, "phone", changed(joined_phone("{}-{}-{}"), disguises.break_line)),
    "label_above": below(PHONE_LABELS, "phone", joined_phone("{}-{}-{}")),
    "list": listed("phones: ", "phone", joined_phone("{}-{}-{}")),
    "key": keyed(("phone", "phoneNumber", "home_phone", "fax", "mobile"), "phone", joined_phone("{}{}{}")),
}
EMAIL: dict[str, Spelling] = {
    "plain": behind(EMAIL_LABELS, "email", email_text),
    "bare": marked(email_text, "email"),
    "upper": behind(EMAIL_LABELS, "email", lambda rng: email_text(rng).upper()),
    "plus": behind(EMAIL_LABELS, "email", lambda rng: f"{local_part(rng)}+claims{rng.randint(1, 99)}@example.com"),
    "apostrophe": behind(EMAIL_LABELS, "email", lambda rng: f"m.o'{local_part(rng)}@example.org"),
    "angle_brackets": lambda rng: f"{mark('name', rng.choice(FIRST_NAMES))} <{mark('email', email_text(rng))}>",
    "mailto": marked(email_text, "email", before="mailto:"),
    "quoted": marked(email_text, "email", before='"', after='"'),
    "accent": behind(EMAIL_LABELS, "email", lambda rng: f"{rng.choice(['josé', 'zoë', 'björn'])}@example.org"),
    "accent_nfd": behind(EMAIL_LABELS, "email", lambda rng: decompose(f"{rng.choice(['josé', 'zoë'])}@example.org")),
    "invisible": behind(EMAIL_LABELS, "email", changed(email_text, disguises.insert_invisible)),
    "list": listed("to: ", "email", email_text),
    "key": keyed(("email", "emailAddress", "contact_email"), "email", email_text),
}
URL: dict[str, Spelling] = {
    "scheme": behind(URL_LABELS, "url", url_text),
    "bare": marked(url_text, "url"),
    "www": behind(URL_LABELS, "url", lambda rng: f"www.example.org/{local_part(rng)}"),
    "ftp": behind(URL_LABELS, "url", lambda rng: f"ftp://files.example.net/in/{rng.randint(1, 999)}.csv"),
    "ip_host": behind(URL_LABELS, "url", lambda rng: f"http://{ipv4_text(rng)}:8080/health"),
    "upper": behind(URL_LABELS, "url", lambda rng: f"HTTPS://EXAMPLE.COM/MEMBERS/{rng.randint(100, 9999)}"),
    "brackets": marked(url_text, "url", before="(", after=")"),
    "angle_brackets": marked(url_text, "url", before="<", after=">"),
    "markdown": marked(url_text, "url", before="[form](", after=")"),
    "key": keyed(("url", "callback", "photo_url"), "url", url_text),
}
IP_ADDRESS: dict[str, Spelling] = {
    "v4": behind(IP_LABELS, "ip_address", ipv4_text),
    "v4_bare": marked(ipv4_text, "ip_address", before="last seen at "),
    "v4_port": lambda rng: f"client {mark('ip_address', ipv4_text(rng))}:{rng.randint(1024, 65535)}",
    "v4_brackets": marked(ipv4_text, "ip_address", before="[", after="]"),
    "v4_key": keyed(IP_KEYS, "ip_address", ipv4_text),
    "v4_list": listed("X-Forwarded-For: ", "ip_address", ipv4_text),
    "v6": behind(IP_LABELS, "ip_address", lambda rng: ipv6_address(rng).compressed),
    "v6_exploded": behind(IP_LABELS, "ip_address", lambda rng: ipv6_address(rng).exploded),
    "v6_upper": behind(IP_LABELS, "ip_address", lambda rng: ipv6_address(rng).compressed.upper()),
    "v6_port": lambda rng: f"peer [{mark('ip_address', ipv6_address(rng).compressed)}]:443",
    "v6_link": lambda rng: f"neighbor {mark('ip_address', f'fe80::{rng.randint(1, 0xFFFF):x}:1')}%eth0",
    "v6_mapped": behind(IP_LABELS, "ip_address", lambda rng: f"::ffff:{ipv4_text(rng)}"),
    "v6_key": keyed(IP_KEYS, "ip_address", lambda rng: ipv6_address(rng).compressed),
}
