"""Tokenization service on the vault socket: identifiers -> tokens, under the policies of the project.

The kernel reports the uid of the caller. Every call writes a ledger entry with principal, domain, count and purpose,
never a value; domain and purpose appear only if a contract or a policy contains them. Calls do not wait for an intake,
because the service has its own key client and lock.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Callable
from typing import NamedTuple, cast

from pydantic import JsonValue

from wellspring.data.contracts.normalization import normalize_texts
from wellspring.enclave.contract_registry import read_in_force
from wellspring.enclave.decryption import TOKENIZER_KEY_NAME
from wellspring.errors import NotFound, ProjectError, Refused, suggest_name
from wellspring.project import Project
from wellspring.records.clock import Clock
from wellspring.records.observe import Recorder
from wellspring.runtime.service_users import read_service_users
from wellspring.trust.authorization import DenialThrottle, require_authorization
from wellspring.trust.identity.port import Principal
from wellspring.trust.keys.port import DataKeys
from wellspring.trust.policy import PolicyResource, PolicySet
from wellspring.trust.tokenization import Tokenizer
from wellspring.trust.vault.postgres import VaultStore
from wellspring.trust.vault.protocol import FrameMessage

MAX_VALUES = 50
"""Maximum number of values per call."""
_MAX_VALUE_LENGTH = 200
_UNKNOWN = "unknown"
_PURPOSE = re.compile(r"[a-z][a-z_]{2,30}")
_CONVERSATION_ID = re.compile(r"[0-9a-f]{32}")


class TokenizeRequest(NamedTuple):
    """A parsed request. conversation_id: 32 hex digits, if the caller has an open conversation; it is not verified."""

    domain: str
    values: list[str]
    purpose: str
    conversation_id: str | None


class DomainRules(NamedTuple):
    """What the contracts say about the values of one domain. steps: of the normalization, equal in all of them."""

    patterns: set[str]
    steps: tuple[str, ...]


class TokenizationService:
    """Implements `tokenize_values` of TokenVault inside the enclave."""

    def __init__(
        self,
        project: Project,
        store: VaultStore,
        keys: DataKeys,
        *,
        load_policies: Callable[[], PolicySet],
        step: Recorder,
        clock: Clock,
    ) -> None:
        """load_policies: called for each request, so that another release of the policies acts without a restart."""
        self._project = project
        self._store = store
        self._keys = keys
        self._load_policies = load_policies
        self._step = step
        self._clock = clock
        self._refusals = DenialThrottle(clock)
        self._lock = threading.Lock()
        self._rule_cache: tuple[str, dict[str, DomainRules]] = ("", {})

    def tokenize_values(self, request: FrameMessage, uid: int) -> JsonValue:
        """Return the tokens of one request, in order. Raises Refused, NotFound, ProjectError."""
        parsed_request, principal = parse_request(request), principal_for_uid(self._project, uid)
        policies = self._load_policies()
        # Ledger entries are permanent, and a word that no policy or contract contains may be a personal name.
        purpose = parsed_request.purpose if parsed_request.purpose in policies.quoted_strings else _UNKNOWN
        try:
            rules = self._rules_by_domain()
        except ProjectError:
            # Only authorized callers get this error, from `_normalize_values`.
            rules = {}
        domain = parsed_request.domain if parsed_request.domain in rules else _UNKNOWN
        facts: dict[str, JsonValue] = {"count": len(parsed_request.values), "purpose": purpose}
        context: dict[str, JsonValue] = {"purpose": parsed_request.purpose}
        if parsed_request.conversation_id is not None:
            facts["conversation_id"] = context["conversation_id"] = parsed_request.conversation_id
        resource = PolicyResource(f"domain:{domain}")
        require_authorization(policies, principal, "tokenize", resource, context,
               step=self._step, record_denials_only=True, throttle=self._refusals, facts=facts)  # fmt: skip
        with self._lock, self._step("tokenize", resource.name, facts=facts) as act:
            act.add_facts(principal=principal.name, policy_digest=policies.digest)
            values = self._normalize_values(parsed_request)
            tokenizer = self._tokenizer_for(parsed_request.domain)
            return cast(JsonValue, tokenizer.tokenize_column(parsed_request.domain, [*values]).to_pylist())

    def _tokenizer_for(self, domain: str) -> Tokenizer:
        token_keys = self._store.list_token_keys()
        if domain not in token_keys:
            raise NotFound(
                "the domain has no tokens, because no value of it was received yet",
                fix=suggest_name(domain, list(token_keys)),
            )
        version, wrapped = token_keys[domain]
        return Tokenizer({domain: (version, self._keys.unwrap_key(TOKENIZER_KEY_NAME, wrapped))})

    def _normalize_values(self, parsed_request: TokenizeRequest) -> list[str]:
        """Normalize the values as the contracts do, so that they have the tokens of the lake.

        Raises Refused unless each matches a contract pattern of the domain. The error contains no value.
        """
        import polars as pl

        rules = self._rules_by_domain()
        if parsed_request.domain not in rules:
            raise NotFound(
                "no contract has a column of this domain", fix=suggest_name(parsed_request.domain, list(rules))
            )
        patterns, steps = rules[parsed_request.domain]
        values = normalize_texts(pl.Series(parsed_request.values), steps)
        matches = pl.Series([False] * len(values))
        for pattern in patterns:
            matches = matches | values.str.contains(pattern).fill_null(False)
        if mismatch_count := int((~matches).sum()):
            message = f"{mismatch_count} of {len(values)} values do not match the pattern in the contracts"
            raise Refused.because(
                f"domain:{parsed_request.domain}",
                "pattern",
                message,
                fix="check the input; none of it was stored",
                count=mismatch_count,
            )
        return values.to_list()

    def _rules_by_domain(self) -> dict[str, DomainRules]:
        """Return patterns and normalization of each domain, by the contracts in force.

        Loads them again only if a file changed, or another version is in force.
        """
        paths = sorted(self._project.contracts_dir.glob("*.odcs.yaml"))
        in_force = "".join(self._store.list_contract_digests())
        files = b"".join(path.read_bytes() for path in paths)
        contracts_digest = hashlib.sha256(in_force.encode() + files).hexdigest()
        if self._rule_cache[0] != contracts_digest:
            rules: dict[str, DomainRules] = {}
            for contract in read_in_force(self._project, self._store, self._clock):
                for column in contract.columns:
                    if column.egress == "token" and column.domain:
                        domain_rules = rules.setdefault(column.domain, DomainRules(set(), column.normalization))
                        domain_rules.patterns.add(column.pattern or r"\S")
            self._rule_cache = (contracts_digest, rules)
        return self._rule_cache[1]


def parse_request(request: FrameMessage) -> TokenizeRequest:
    """Parse a request. Raises Refused; the error contains nothing of the request."""
    domain, values = request.get("domain"), request.get("values")
    purpose, conversation_id = request.get("purpose"), request.get("conversation_id")
    if not isinstance(domain, str) or not re.fullmatch(r"[a-z][a-z0-9_]{0,30}", domain):
        raise _malformed_request("`domain` must be the name of a token domain")
    if not isinstance(values, list) or not 0 < len(values) <= MAX_VALUES:
        raise _malformed_request(f"`values` must be a list of 1 to {MAX_VALUES} texts")
    texts = [value for value in values if isinstance(value, str) and 0 < len(value) <= _MAX_VALUE_LENGTH]
    if len(texts) != len(values):
        raise _malformed_request(f"`values` must be a list of texts of 1 to {_MAX_VALUE_LENGTH} characters")
    if not isinstance(purpose, str) or not _PURPOSE.fullmatch(purpose):
        raise _malformed_request("`purpose` must be one word of lower-case letters and _")
    if conversation_id is not None and not (
        isinstance(conversation_id, str) and _CONVERSATION_ID.fullmatch(conversation_id)
    ):
        raise _malformed_request("`conversation_id` must have 32 hex digits")
    return TokenizeRequest(domain, texts, purpose, conversation_id)


def principal_for_uid(project: Project, uid: int) -> Principal:
    """Return the principal of a uid on the vault socket: the API, a caller from wellspring.toml, root or nobody.

    If all services run as one user, that user counts as the API, because the kernel cannot distinguish them.
    """
    own_uid, users = os.geteuid(), read_service_users(project)
    if uid == (users.uid_of("api") if own_uid == users.uid_of("enclave") else own_uid):
        return Principal("service:api")
    callers = sorted(name for name, caller in project.callers.items() if caller.uid == uid)
    return Principal(f"service:{callers[0]}" if callers else "service:root" if uid == 0 else "service:nobody")


def _malformed_request(message: str) -> Refused:
    return Refused(f"the tokenize request is malformed: {message}", fix="see `wellspring.trust.vault.port.TokenVault`")
