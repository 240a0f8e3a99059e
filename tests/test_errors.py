"""One tree of errors: drawn in its docstring, each with an exit code and a word of its own."""

from wellspring import errors


def kinds() -> list[type[errors.WellspringError]]:
    """List the tree."""
    return [errors.WellspringError, *errors.WellspringError.__subclasses__()]


def test_the_tree_is_the_one_that_is_drawn():
    drawn = [line.split()[1] for line in (errors.__doc__ or "").splitlines() if line.startswith(("├", "└"))]
    assert drawn == [kind.__name__ for kind in kinds()[1:]]


def test_each_kind_has_a_code_and_a_word_of_its_own():
    assert len({kind.exit_code for kind in kinds()}) == len(kinds())
    assert errors.ERRORS_BY_SLUG == {kind.slug: kind for kind in kinds()}
    assert not any(kind.exit_code in {0, 2, 10} for kind in kinds())


def test_each_says_what_and_how_to_mend_it():
    for kind in kinds():
        error = kind("the lake is shut", fix="open it")
        assert (str(error), error.what, error.fix) == ("the lake is shut", "the lake is shut", "open it")
