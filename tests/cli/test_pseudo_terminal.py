"""A command in a pseudo-terminal: its prompts are answered, and hidden input is not echoed."""

from __future__ import annotations

import sys

import pytest

from wellspring.cli.pseudo_terminal import run_in_pty
from wellspring.errors import CorruptedError

PROMPTS = (
    "import sys, getpass\n"
    "assert sys.stdin.isatty()\n"
    "name = input()\n"
    "secret = getpass.getpass('password: ')\n"
    "print(name, len(secret))\n"
)


def test_each_prompt_is_answered_and_hidden_input_is_not_echoed():
    code = "import sys\nsys.stderr.write('name: ')\nsys.stderr.flush()\n" + PROMPTS
    output = run_in_pty([sys.executable, "-c", code], [("name: ", "ines"), ("password: ", "long enough")])
    assert (output.exit_code, output.out) == (0, "ines 11\n")
    assert "long enough" not in output.screen


def test_a_command_that_ends_before_its_prompt_returns_its_exit_code():
    output = run_in_pty([sys.executable, "-c", "raise SystemExit(77)"], [("name: ", "ines")])
    assert output.exit_code == 77


def test_a_missing_prompt_raises_an_error():
    with pytest.raises(CorruptedError, match="no prompt"):
        run_in_pty([sys.executable, "-c", "input()"], [("name: ", "ines")], timeout=0.3)
