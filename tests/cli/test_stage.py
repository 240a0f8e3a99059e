"""A scene speaks indented, and goes on only while what it claims holds."""

from __future__ import annotations

import pytest

from wellspring.cli import stage
from wellspring.cli.door import Door
from wellspring.errors import Broken


def test_a_scene_is_indented_and_answers_nothing(capsys: pytest.CaptureFixture[str]):
    within = stage.quiet(Door(folder=None, as_json=False))
    within.say("one\ntwo")
    within.answer({"no": "document"}, next_command="none")
    assert capsys.readouterr().out == "  one\n  two\n"


def test_what_does_not_hold_ends_the_demo():
    stage.hold(1, "it holds")
    with pytest.raises(Broken, match="claims that it holds, and it does not hold in this run"):
        stage.hold(0, "it holds")
