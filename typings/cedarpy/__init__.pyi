"""The part of cedarpy that wellspring calls; its own types leave dictionaries open."""

from collections.abc import Mapping
from enum import Enum

class PolicySet:
    @staticmethod
    def from_str(s: str) -> PolicySet: ...
    def templates(self) -> list[object]: ...

class Schema:
    @staticmethod
    def from_str(s: str) -> Schema: ...

class Decision(Enum):
    Allow = "Allow"
    Deny = "Deny"
    NoDecision = "NoDecision"

class Diagnostics:
    @property
    def errors(self) -> list[str]: ...
    @property
    def reasons(self) -> list[str]: ...
    @property
    def id_annotations_by_reason(self) -> dict[str, str]: ...

class AuthzResult:
    @property
    def decision(self) -> Decision: ...
    @property
    def allowed(self) -> bool: ...
    @property
    def diagnostics(self) -> Diagnostics: ...

class ValidationError:
    @property
    def policy_id(self) -> str: ...
    @property
    def error(self) -> str: ...

class ValidationResult:
    @property
    def errors(self) -> list[ValidationError]: ...

def validate_policies(policies: str, schema: str) -> ValidationResult: ...
def is_authorized(
    request: Mapping[str, object], policies: PolicySet, entities: str, schema: Schema
) -> AuthzResult: ...
