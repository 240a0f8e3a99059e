"""Play a person at a terminal: a pair of pseudo terminals, prompts read and answered. For the demo and the tests."""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Sequence
from typing import NamedTuple

from wellspring.errors import Broken

_PIECE = 65536


class Said(NamedTuple):
    """How a command ended that was typed at the terminal. screen: prompts and complaints; out: standard output."""

    code: int
    screen: str
    out: str


def at_terminal(argv: Sequence[str], answers: Sequence[tuple[str, str]], *, seconds: float = 120.0) -> Said:
    """Run a command whose standard input and error are a terminal, and type each answer once its prompt stands there.

    answers: (the end of a prompt, what is typed). Raises Broken when a prompt does not come within `seconds`.
    """
    ours, theirs = os.openpty()
    try:
        with subprocess.Popen(
            argv, stdin=theirs, stderr=theirs, stdout=subprocess.PIPE, start_new_session=True, text=True
        ) as child:
            os.close(theirs)
            theirs = -1
            try:
                screen = _converse(ours, answers, time.monotonic() + seconds)
                out = child.stdout.read() if child.stdout is not None else ""
            except BaseException:
                child.kill()
                raise
            code = child.wait()
            screen += _rest(ours)
    finally:
        for end in (ours, theirs):
            if end >= 0:
                os.close(end)
    return Said(code, screen, out)


def _converse(terminal: int, answers: Sequence[tuple[str, str]], deadline: float) -> str:
    screen, seen = "", 0
    for prompt, answer in answers:
        while prompt not in screen[seen:]:
            if not select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise Broken(f"no prompt {prompt!r} stood on the terminal in time", fix="run the command yourself")
            more = _read(terminal)
            if not more:
                # The command has ended: its exit code and its screen say why.
                return screen
            screen += more
        seen = screen.index(prompt, seen) + len(prompt)
        os.write(terminal, answer.encode() + b"\n")
    return screen


def _read(terminal: int) -> str:
    try:
        return os.read(terminal, _PIECE).decode(errors="replace")
    except OSError:
        # Linux says EIO when the other end is closed.
        return ""


def _rest(terminal: int) -> str:
    screen = ""
    while select.select([terminal], [], [], 0)[0] and (more := _read(terminal)):
        screen += more
    return screen
