"""A scene prints indented lines, and stops at an outcome that did not occur."""

from __future__ import annotations

import pytest

from wellspring.cli import demo_harness
from wellspring.cli.context import CliContext
from wellspring.errors import CorruptedError


def test_a_scene_is_indented_and_prints_no_result(capsys: pytest.CaptureFixture[str]):
    within = demo_harness.indented_context(CliContext(folder=None, as_json=False))
    within.echo("one")
    within.echo_table(("a",), [("two",)])
    within.echo()
    within.print_result({"no": "document"}, next_command="none")
    assert capsys.readouterr().out == "  one\n  a\n  ---\n  two\n\n"


def test_a_missing_outcome_ends_the_demo():
    demo_harness.require_outcome(1, "every row is there")
    with pytest.raises(CorruptedError, match="expects that every row is there, but this run shows otherwise"):
        demo_harness.require_outcome(0, "every row is there")
