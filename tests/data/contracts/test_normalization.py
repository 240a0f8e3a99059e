import polars as pl
import pytest

from wellspring.data.contracts.normalization import DEFAULT_STEPS, normalize_text, normalize_texts, parse_steps

NFC, NFD = "Jos\u00e9", "Jose\u0301"


@pytest.mark.parametrize(
    ("steps", "before", "after"),
    [
        (DEFAULT_STEPS, "20000000  ", "20000000"),
        (DEFAULT_STEPS, "\u00a020000000\u2009", "20000000"),
        (DEFAULT_STEPS, NFD, NFC),
        (DEFAULT_STEPS, "   ", None),
        (DEFAULT_STEPS, "\u00a0\t", None),
        (DEFAULT_STEPS, "\u200b\ufeff", None),
        (DEFAULT_STEPS, "\ufeff20000000\u200e", "20000000"),
        (DEFAULT_STEPS, "a\u200db", "a\u200db"),
        (DEFAULT_STEPS, "", None),
        (DEFAULT_STEPS, "A b", "A b"),
        (("trim", "nfc", "lower"), " Ann@Example.COM", "ann@example.com"),
        (("upper",), "ab ", "AB "),
        (("upper",), "  ", None),
        ((), "  ", "  "),
        ((), "", ""),
    ],
)
def test_one_value_has_one_spelling(steps, before, after):
    assert normalize_text(before, steps) == after
    assert normalize_texts(pl.Series(["x", before, None]), steps)[1] == after


@pytest.mark.parametrize(
    ("written", "steps"),
    [
        ("trim nfc lower", ("trim", "nfc", "lower")),
        (["nfc", "trim"], ("trim", "nfc")),
        ("none", ()),
        ("none trim", None),
        ("lower upper", None),
        ("trim trim", None),
        ("fold", None),
        ("", None),
        (3, None),
    ],
)
def test_the_property_names_known_steps_once(written, steps):
    assert parse_steps(written) == steps
