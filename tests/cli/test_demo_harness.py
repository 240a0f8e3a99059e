"""A scene speaks indented, and goes on only while what it claims holds."""

from __future__ import annotations

import pytest

from wellspring.cli import demo_harness
from wellspring.cli.context import CliContext
from wellspring.errors import CorruptedError


def test_a_scene_is_indented_and_answers_nothing(capsys: pytest.CaptureFixture[str]):
    within = demo_harness.indented_context(CliContext(folder=None, as_json=False))
    within.echo("one\ntwo")
    within.print_result({"no": "document"}, next_command="none")
    assert capsys.readouterr().out == "  one\n  two\n"


def test_what_does_not_hold_ends_the_demo():
    demo_harness.check_claim(1, "it holds")
    with pytest.raises(CorruptedError, match="claims that it holds, and it does not hold in this run"):
        demo_harness.check_claim(0, "it holds")
