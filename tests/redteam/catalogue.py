"""The catalogue of attempts: each has a kind, a position, the refusal that it must meet, and a twin that is allowed."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple, get_args

from tests.redteam.target import Needs, Target

Kind = Literal[
    "service-users", "false-servers", "laid-links", "project-code", "journal-lines",
    "stored-state", "contracts", "open-files", "floods", "small",
]  # fmt: skip
"""service-users: uids and capabilities of services. false-servers: a process that serves or uses the socket of another.
laid-links: links where root writes. project-code: dbt, features.py, model files. journal-lines: lines in the name of
another service. stored-state: files and rows that readers believe. contracts: loosened under another name. open-files:
what all users could read. floods: bombs and great numbers. small: single weaknesses.
"""
Position = Literal["other-user", "worker", "api", "author", "owner", "vendor"]
"""other-user: another user of the machine. worker, api: the uid of this service. author: writes the project's files.
owner: may log in, approve, and run commands. vendor: puts files into a source.
"""
KINDS: tuple[Kind, ...] = get_args(Kind)
POSITIONS: tuple[Position, ...] = get_args(Position)
MIN_ATTEMPTS, MIN_OF_EACH = 60, 5
"""The least number of attempts, and of attempts of each kind and from each position."""
Perform = Callable[[Target, bool], str]
"""Make an attempt, or its twin if the second argument is True. Returns what happened in a few words."""


class Attempt(NamedTuple):
    """One attempt. refused, allowed: what the attempt and its twin must return, to the letter.

    recorded: the entries of which the ledger must hold at least one, each as its action and a word in it, or `openbao`
    and a word in OpenBao's audit log; empty if there is none, and then `unrecorded.py` says why. awaited: the defence
    that does not exist yet; such an attempt may succeed. needs: what must run.
    """

    name: str
    kind: Kind
    position: Position
    perform: Perform
    refused: str
    allowed: str
    recorded: tuple[str, ...] = ()
    awaited: str = ""
    needs: Needs = "nothing"

    @property
    def description(self) -> str:
        return (self.perform.__doc__ or "").strip().partition("\n")[0]


_MODULES = (
    "service_users", "capability", "roles", "false_servers", "laid_links", "project_code", "journal_lines",
    "stored_state", "contracts", "open_files", "floods", "small", "other_projects", "special_files", "logins",
    "requests", "claimed_copies",
)  # fmt: skip
_attempts: list[Attempt] = []


def attempt(
    kind: Kind,
    position: Position,
    *,
    refused: str,
    allowed: str,
    recorded: tuple[str, ...] = (),
    awaited: str = "",
    needs: Needs = "nothing",
) -> Callable[[Perform], Perform]:
    """Add a function to the catalogue; its name is the name of the attempt."""

    def add_attempt(perform: Perform) -> Perform:
        name = perform.__name__.replace("_", "-")
        _attempts.append(Attempt(name, kind, position, perform, refused, allowed, recorded, awaited, needs))
        return perform

    return add_attempt


def list_attempts() -> tuple[Attempt, ...]:
    """List all attempts: first those that need the least, and those that stop the servers last."""
    for module in _MODULES:
        importlib.import_module(f"tests.redteam.{module}")
    levels = get_args(Needs)
    return tuple(sorted(_attempts, key=lambda item: (levels.index(item.needs), KINDS.index(item.kind))))


def find_missing_minima(attempts: Iterable[Attempt]) -> list[str]:
    """List which minimum a catalogue misses."""
    attempts = tuple(attempts)
    counts = Counter[str](item.kind for item in attempts) + Counter[str](item.position for item in attempts)
    missing = [
        f"{counts[name]} attempts of {name}, at least {MIN_OF_EACH} are needed"
        for name in (*KINDS, *POSITIONS)
        if counts[name] < MIN_OF_EACH
    ]
    if len(attempts) < MIN_ATTEMPTS:
        missing.append(f"{len(attempts)} attempts, at least {MIN_ATTEMPTS} are needed")
    return missing
