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

from wellspring.data.contracts import contract as contracts
from wellspring.enclave.decryption import TOKEN_KEY_NAME
from wellspring.errors import NotFound, ProjectError, Refused
from wellspring.project import Project, suggest_name
from wellspring.records.clock import Clock
from wellspring.records.observe import Recorder
from wellspring.records.verdict import Reason, Verdict
from wellspring.runtime.privileges import SERVICE_UIDS
from wellspring.trust import policy
from wellspring.trust.authorization import DenialThrottle, require_authorization
from wellspring.trust.identity.port import Principal
from wellspring.trust.keys.port import DataKeys
from wellspring.trust.policy import PolicyResource, PolicySet
from wellspring.trust.tokenization import Tokenizer
from wellspring.trust.vault.postgres import VaultStore
from wellspring.trust.vault.protocol import FrameMessage

MAX_VALUES = 50
"""Values of one call at most."""
_MAX_VALUE_LENGTH = 200
_UNKNOWN = "unknown"
_PURPOSE = re.compile(r"[a-z][a-z_]{2,30}")
_CONVERSATION_ID = re.compile(r"[0-9a-f]{32}")


class TokenizeRequest(NamedTuple):
    """One request, read. grant: the conversation that it belongs to (32 hex digits), if one is open: a caller's claim,
    which nobody checks."""

    domain: str
    values: list[str]
    purpose: str
    conversation_id: str | None


class TokenizationService:
    """Implements the tokenizing half of Grants, from the inside."""

    def __init__(self, project: Project, store: VaultStore, keys: DataKeys, *, step: Recorder, clock: Clock) -> None:
        self._project = project
        self._store = store
        self._keys = keys
        self._step = step
        self._clock = clock
        self._refusals = DenialThrottle(clock)
        self._lock = threading.Lock()
        self._pattern_cache: tuple[str, dict[str, set[str]]] = ("", {})

    def tokenize_values(self, request: FrameMessage, uid: int) -> JsonValue:
        """Answer one request with its tokens, in its order. Raises Refused, NotFound, ProjectError."""
        parsed_request, principal = parse_request(request), principal_for_uid(self._project, uid)
        policies = self._load_policies()
        # An entry stays for ever: a word that is neither the policies' nor the contracts' own may be a person's name.
        purpose = parsed_request.purpose if parsed_request.purpose in policies.quoted_strings else _UNKNOWN
        try:
            patterns = self._patterns_by_domain()
        except ProjectError:
            # Told below to whom the policies let in; to anybody else contracts are none of their business.
            patterns = {}
        domain = parsed_request.domain if parsed_request.domain in patterns else _UNKNOWN
        facts: dict[str, JsonValue] = {"count": len(parsed_request.values), "purpose": purpose}
        context: dict[str, JsonValue] = {"purpose": parsed_request.purpose}
        if parsed_request.conversation_id is not None:
            facts["conversation_id"] = context["conversation_id"] = parsed_request.conversation_id
        resource = PolicyResource(f"domain:{domain}")
        require_authorization(policies, principal, "tokenize", resource, context,
               step=self._step, record_denials_only=True, throttle=self._refusals, facts=facts)  # fmt: skip
        with self._lock, self._step("tokenize", resource.name, facts=facts) as act:
            act.add_facts(principal=principal.name, policy_digest=policies.digest)
            self._check_values(parsed_request)
            return cast(
                JsonValue,
                self._tokenizer_for(parsed_request.domain)
                .tokenize_column(parsed_request.domain, [*parsed_request.values])
                .to_pylist(),
            )

    def _load_policies(self) -> PolicySet:
        """Read them now: what stands in the project decides, not what stood there at start."""
        return policy.load_policies(self._project.source_paths.get("policies"))

    def _tokenizer_for(self, domain: str) -> Tokenizer:
        token_keys = self._store.list_token_keys()
        if domain not in token_keys:
            raise NotFound(
                "no value of this domain was ever received, so it has no tokens",
                fix=suggest_name(domain, list(token_keys)),
            )
        version, wrapped = token_keys[domain]
        return Tokenizer({domain: (version, self._keys.unwrap_key(TOKEN_KEY_NAME, wrapped))})

    def _check_values(self, parsed_request: TokenizeRequest) -> None:
        """Raises Refused, without any value, unless each has a form that a contract promises for this domain."""
        import polars as pl

        patterns = self._patterns_by_domain()
        if parsed_request.domain not in patterns:
            raise NotFound(
                "no contract has a column of this domain", fix=suggest_name(parsed_request.domain, list(patterns))
            )
        values = pl.Series(parsed_request.values)
        matches = pl.Series([False] * len(parsed_request.values))
        for pattern in patterns[parsed_request.domain]:
            matches = matches | values.str.contains(pattern)
        if mismatch_count := int((~matches).sum()):
            message = f"{mismatch_count} of {len(parsed_request.values)} values do not have the form that the contracts promise"
            raise Refused(
                message,
                fix="check what was typed: nothing of it is kept",
                verdict=Verdict(
                    subject=f"domain:{parsed_request.domain}",
                    outcome="fail",
                    reasons=(Reason(code="pattern", message=message, count=mismatch_count),),
                ),
            )

    def _patterns_by_domain(self) -> dict[str, set[str]]:
        """Return the patterns of each domain's columns; read again only when a contract's file has changed."""
        paths = sorted(self._project.contracts_dir.glob("*.odcs.yaml"))
        contracts_digest = hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()
        if self._pattern_cache[0] != contracts_digest:
            patterns: dict[str, set[str]] = {}
            for contract in contracts.load_all(
                self._project.contracts_dir,
                tenant=self._project.tenant,
                known_since=self._clock.now(),
                sources=self._project.sources,
            ):
                for column in contract.columns:
                    if column.egress == "token" and column.domain:
                        patterns.setdefault(column.domain, set()).add(column.pattern or r"\S")
            self._pattern_cache = (contracts_digest, patterns)
        return self._pattern_cache[1]


def parse_request(request: FrameMessage) -> TokenizeRequest:
    """Read a request. Raises Refused, without a word of what stood in it."""
    domain, values = request.get("domain"), request.get("values")
    purpose, conversation_id = request.get("purpose"), request.get("conversation_id")
    if not isinstance(domain, str) or not re.fullmatch(r"[a-z][a-z0-9_]{0,30}", domain):
        raise _malformed_request("`domain` is the name of a token domain")
    if not isinstance(values, list) or not 0 < len(values) <= MAX_VALUES:
        raise _malformed_request(f"`values` is a list of 1 to {MAX_VALUES} texts")
    texts = [value for value in values if isinstance(value, str) and 0 < len(value) <= _MAX_VALUE_LENGTH]
    if len(texts) != len(values):
        raise _malformed_request(f"`values` is a list of texts of 1 to {_MAX_VALUE_LENGTH} characters")
    if not isinstance(purpose, str) or not _PURPOSE.fullmatch(purpose):
        raise _malformed_request("`purpose` is one word of lower-case letters and _")
    if conversation_id is not None and not (
        isinstance(conversation_id, str) and _CONVERSATION_ID.fullmatch(conversation_id)
    ):
        raise _malformed_request("`grant` is the conversation's id: 32 hex digits")
    return TokenizeRequest(domain, texts, purpose, conversation_id)


def principal_for_uid(project: Project, uid: int) -> Principal:
    """Name who asks at the vault's door, by uid: the API, a caller that wellspring.toml names, or root.

    Where all services share one user, whoever asks counts as the API: the kernel cannot tell them apart.
    """
    own_uid = os.geteuid()
    if uid == (SERVICE_UIDS["api"] if own_uid == SERVICE_UIDS["enclave"] else own_uid):
        return Principal("service:api")
    callers = sorted(name for name, caller in project.callers.items() if caller.uid == uid)
    return Principal(f"service:{callers[0]}" if callers else "service:root" if uid == 0 else "service:nobody")


def _malformed_request(message: str) -> Refused:
    return Refused(
        f"the request to tokenize is not understood: {message}", fix="see `wellspring.trust.vault.port.Grants`"
    )
