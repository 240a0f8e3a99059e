"""Identifiers -> tokens for one conversation, under the project's policies: what `tokenize` does at the vault's door.

Whoever asks is known by the kernel's word for their uid, not by what they say. Every call leaves an entry: who, which
domain, how many, for what purpose; never a value, and of what the caller may word only what the policies and the
contracts say too. A call waits for no intake: it works with keys and a lock of its own.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
from typing import NamedTuple, cast

from pydantic import JsonValue

from wellspring.data import contract as contracts
from wellspring.enclave.opening import TOKENS
from wellspring.errors import NotFound, ProjectError, Refused
from wellspring.project import Project, nearest
from wellspring.records.clock import Clock
from wellspring.records.observe import Step
from wellspring.records.verdict import Reason, Verdict
from wellspring.servers.privileges import UIDS
from wellspring.trust import policy
from wellspring.trust.decide import Refusals, demand
from wellspring.trust.identity.port import Principal
from wellspring.trust.keys.port import Keys
from wellspring.trust.policy import Policies, Resource
from wellspring.trust.tokenization import Tokenizer
from wellspring.trust.vault.frames import Message
from wellspring.trust.vault.postgres import VaultStore

MOST = 50
"""Values of one call at most."""
_LONGEST = 200
_UNKNOWN = "unknown"
_PURPOSE = re.compile(r"[a-z][a-z_]{2,30}")
_GRANT = re.compile(r"[0-9a-f]{32}")


class Asked(NamedTuple):
    """One request, read. grant: the conversation that it belongs to (32 hex digits), if one is open: a caller's claim,
    which nobody checks."""

    domain: str
    values: list[str]
    purpose: str
    grant: str | None


class Conversations:
    """Implements the tokenizing half of Grants, from the inside."""

    def __init__(self, project: Project, store: VaultStore, keys: Keys, *, step: Step, clock: Clock) -> None:
        self._project = project
        self._store = store
        self._keys = keys
        self._step = step
        self._clock = clock
        self._refusals = Refusals(clock)
        self._turn = threading.Lock()
        self._forms: tuple[str, dict[str, set[str]]] = ("", {})

    def tokenize(self, request: Message, uid: int) -> JsonValue:
        """Answer one request with its tokens, in its order. Raises Refused, NotFound, ProjectError."""
        asked, principal = read(request), who(self._project, uid)
        policies = self._policies()
        # An entry stays for ever: a word that is neither the policies' nor the contracts' own may be a person's name.
        purpose = asked.purpose if asked.purpose in policies.words else _UNKNOWN
        try:
            known = self._known_forms()
        except ProjectError:
            # Told below to whom the policies let in; to anybody else contracts are none of their business.
            known = {}
        domain = asked.domain if asked.domain in known else _UNKNOWN
        facts: dict[str, JsonValue] = {"count": len(asked.values), "purpose": purpose}
        context: dict[str, JsonValue] = {"purpose": asked.purpose}
        if asked.grant is not None:
            facts["conversation"] = context["conversation"] = asked.grant
        on = Resource(f"domain:{domain}")
        demand(policies, principal, "tokenize", on, context,
               step=self._step, hot=True, refusals=self._refusals, facts=facts)  # fmt: skip
        with self._turn, self._step("tokenize", on.name, facts=facts) as act:
            act.note(by=principal.name, policy=policies.digest)
            self._well_formed(asked)
            return cast(JsonValue, self._tokenizer(asked.domain).column(asked.domain, [*asked.values]).to_pylist())

    def _policies(self) -> Policies:
        """Read them now: what stands in the project decides, not what stood there at start."""
        return policy.load(self._project.own.get("policies"))

    def _tokenizer(self, domain: str) -> Tokenizer:
        kept = self._store.token_keys()
        if domain not in kept:
            raise NotFound(
                "no value of this domain was ever received, so it has no tokens", fix=nearest(domain, list(kept))
            )
        version, wrapped = kept[domain]
        return Tokenizer({domain: (version, self._keys.unwrap(TOKENS, wrapped))})

    def _well_formed(self, asked: Asked) -> None:
        """Raises Refused, without any value, unless each has a form that a contract promises for this domain."""
        import polars as pl

        forms = self._known_forms()
        if asked.domain not in forms:
            raise NotFound("no contract has a column of this domain", fix=nearest(asked.domain, list(forms)))
        values = pl.Series(asked.values)
        fits = pl.Series([False] * len(asked.values))
        for form in forms[asked.domain]:
            fits = fits | values.str.contains(form)
        if wrong := int((~fits).sum()):
            said = f"{wrong} of {len(asked.values)} values do not have the form that the contracts promise"
            raise Refused(
                said,
                fix="check what was typed: nothing of it is kept",
                verdict=Verdict(
                    subject=f"domain:{asked.domain}",
                    outcome="fail",
                    reasons=(Reason(code="pattern", what=said, count=wrong),),
                ),
            )

    def _known_forms(self) -> dict[str, set[str]]:
        """Return the patterns of each domain's columns; read again only when a contract's file has changed."""
        paths = sorted(self._project.contracts.glob("*.odcs.yaml"))
        now = hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()
        if self._forms[0] != now:
            found: dict[str, set[str]] = {}
            for each in contracts.load_all(
                self._project.contracts,
                tenant=self._project.tenant,
                known_since=self._clock.now(),
                sources=self._project.sources,
            ):
                for column in each.columns:
                    if column.leaves == "token" and column.domain:
                        found.setdefault(column.domain, set()).add(column.pattern or r"\S")
            self._forms = (now, found)
        return self._forms[1]


def read(request: Message) -> Asked:
    """Read a request. Raises Refused, without a word of what stood in it."""
    domain, values = request.get("domain"), request.get("values")
    purpose, grant = request.get("purpose"), request.get("grant")
    if not isinstance(domain, str) or not re.fullmatch(r"[a-z][a-z0-9_]{0,30}", domain):
        raise _odd("`domain` is the name of a token domain")
    if not isinstance(values, list) or not 0 < len(values) <= MOST:
        raise _odd(f"`values` is a list of 1 to {MOST} texts")
    texts = [value for value in values if isinstance(value, str) and 0 < len(value) <= _LONGEST]
    if len(texts) != len(values):
        raise _odd(f"`values` is a list of texts of 1 to {_LONGEST} characters")
    if not isinstance(purpose, str) or not _PURPOSE.fullmatch(purpose):
        raise _odd("`purpose` is one word of lower-case letters and _")
    if grant is not None and not (isinstance(grant, str) and _GRANT.fullmatch(grant)):
        raise _odd("`grant` is the conversation's id: 32 hex digits")
    return Asked(domain, texts, purpose, grant)


def who(project: Project, uid: int) -> Principal:
    """Name who asks at the vault's door, by uid: the API, a caller that wellspring.toml names, or root.

    Where all services share one user, whoever asks counts as the API: the kernel cannot tell them apart.
    """
    me = os.geteuid()
    if uid == (UIDS["api"] if me == UIDS["enclave"] else me):
        return Principal("service:api")
    callers = sorted(name for name, caller in project.callers.items() if caller.uid == uid)
    return Principal(f"service:{callers[0]}" if callers else "service:root" if uid == 0 else "service:nobody")


def _odd(what: str) -> Refused:
    return Refused(f"the request to tokenize is not understood: {what}", fix="see `wellspring.trust.vault.port.Grants`")
