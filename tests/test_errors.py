"""The error classes: listed in the module docstring, each with a unique exit code and slug."""

import pytest

from wellspring import errors
from wellspring.errors import Refused, suggest_name


def kinds() -> list[type[errors.WellspringError]]:
    """List the tree."""
    return [errors.WellspringError, *errors.WellspringError.__subclasses__()]


def test_the_module_docstring_draws_the_error_tree():
    drawn = [line.split()[1] for line in (errors.__doc__ or "").splitlines() if line.startswith(("├", "└"))]
    assert drawn == [kind.__name__ for kind in kinds()[1:]]


def test_exit_codes_and_slugs_are_unique():
    assert len({kind.exit_code for kind in kinds()}) == len(kinds())
    assert errors.ERRORS_BY_SLUG == {kind.slug: kind for kind in kinds()}
    assert not any(kind.exit_code in {0, 2, 10} for kind in kinds())


def test_every_error_holds_what_and_fix():
    for kind in kinds():
        error = kind("the lake is locked", fix="unlock it")
        assert (str(error), error.what, error.fix) == ("the lake is locked", "the lake is locked", "unlock it")


def test_a_refusal_for_one_reason_holds_its_verdict():
    error = Refused.because("release:1", "not_approved", "no second person approved it", fix="ask one", count=0)
    assert (error.what, error.fix) == ("no second person approved it", "ask one")
    assert error.verdict is not None
    assert (error.verdict.subject, error.verdict.outcome) == ("release:1", "fail")
    (reason,) = error.verdict.reasons
    assert (reason.code, reason.message, reason.count) == ("not_approved", "no second person approved it", 0)


def test_a_refusal_may_have_a_text_and_an_outcome_of_its_own():
    error = Refused.because(
        "source:a", "too_large", "5 GiB", what="a.csv is too large", fix="split it", outcome="invalid"
    )
    assert error.what == "a.csv is too large"
    assert error.verdict is not None
    assert (error.verdict.outcome, error.verdict.reasons[0].message) == ("invalid", "5 GiB")


@pytest.mark.parametrize(
    ("name", "candidates", "hint"),
    [
        ("denails", ["denials", "costs"], "did you mean 'denials'?"),
        ("x", ["b", "a"], "there is: a, b"),
        ("x", [], "there is: none"),
    ],
)
def test_a_misspelled_name_suggests_the_nearest(name: str, candidates: list[str], hint: str):
    assert suggest_name(name, candidates) == hint
