"""The error classes: listed in the module docstring, each with a unique exit code and slug."""

from wellspring import errors


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
