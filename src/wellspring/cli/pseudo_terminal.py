"""Run a command in a pseudo-terminal and answer its prompts. Used by the demo and the tests."""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from wellspring.errors import CorruptedError

Answer = tuple[str, str | Callable[[], str]]
_CHUNK_BYTES = 65536


class TerminalResult(NamedTuple):
    """The result of a command in a pseudo-terminal. screen: prompts and standard error; out: standard output."""

    exit_code: int
    screen: str
    out: str


def run_in_pty(argv: Sequence[str], answers: Sequence[Answer], *, timeout: float = 120.0) -> TerminalResult:
    """Run a command whose standard input and error are a terminal, and type each answer after its prompt.

    answers: (end of a prompt, text to type, or what returns it when the prompt appears). timeout: seconds. Raises
    CorruptedError when a prompt does not appear.
    """
    controller_fd, terminal_fd = os.openpty()
    try:
        with subprocess.Popen(
            argv, stdin=terminal_fd, stderr=terminal_fd, stdout=subprocess.PIPE, start_new_session=True, text=True
        ) as child:
            os.close(terminal_fd)
            terminal_fd = -1
            try:
                screen = _answer_prompts(controller_fd, answers, time.monotonic() + timeout)
                out = child.stdout.read() if child.stdout is not None else ""
            except BaseException:
                child.kill()
                raise
            exit_code = child.wait()
            screen += _drain_terminal(controller_fd)
    finally:
        for end in (controller_fd, terminal_fd):
            if end >= 0:
                os.close(end)
    return TerminalResult(exit_code, screen, out)


def _answer_prompts(terminal: int, answers: Sequence[Answer], deadline: float) -> str:
    screen, position = "", 0
    for prompt, answer in answers:
        while prompt not in screen[position:]:
            if not select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise CorruptedError(
                    f"no prompt {prompt!r} appeared on the terminal in time", fix="run the command yourself"
                )
            chunk = _read_terminal(terminal)
            if not chunk:
                # The command has ended; its exit code and screen give the reason.
                return screen
            screen += chunk
        position = screen.index(prompt, position) + len(prompt)
        text = answer if isinstance(answer, str) else answer()
        os.write(terminal, text.encode() + b"\n")
    return screen


def _read_terminal(terminal: int) -> str:
    try:
        return os.read(terminal, _CHUNK_BYTES).decode(errors="replace")
    except OSError:
        # Linux raises EIO when the other end is closed.
        return ""


def _drain_terminal(terminal: int) -> str:
    screen = ""
    while select.select([terminal], [], [], 0)[0] and (chunk := _read_terminal(terminal)):
        screen += chunk
    return screen
