"""Two sets of policies are compared by their text without comments; what may permit more needs a second person."""

from __future__ import annotations

import pytest

from wellspring.trust.policy import PolicySet
from wellspring.trust.policy_diff import compare_policies

PERMIT = '@id("all") permit (principal, action, resource);'
FORBID = '@id("none") forbid (principal, action, resource) when { principal.tenant == "// not a comment" };'


def compare(before: str, after: str):
    return compare_policies(PolicySet({"a.cedar": before}), PolicySet({"b.cedar": after}))


@pytest.mark.parametrize(
    ("before", "after", "narrows"),
    [
        (PERMIT, "", True),
        ("", FORBID, True),
        (PERMIT, f"// a reason\n  {PERMIT}\n{FORBID}", True),
        (f"{PERMIT} {FORBID}", f"{FORBID}\n{PERMIT}", True),
        ("", PERMIT, False),
        (FORBID, "", False),
        (PERMIT, PERMIT.replace("resource)", 'resource) when { principal.tenant == "" }'), False),
        (FORBID, FORBID.replace("not a comment", "a comment"), False),
    ],
)
def test_only_fewer_permits_and_more_forbids_narrow(before: str, after: str, narrows: bool):
    assert compare(before, after).only_narrows is narrows


def test_a_policy_of_the_same_id_is_changed_and_others_are_added_or_removed():
    third = "permit (principal, action, resource) when { principal.tenant == resource.tenant };"
    diff = compare(f"{PERMIT}\n{FORBID}", f"{PERMIT.replace('resource)', 'resource) unless { false }')}\n{third}")
    assert diff.describe() == ("added: permit b.cedar:2", "removed: forbid 'none'", "changed: permit 'all'")
    assert compare(PERMIT, f"// only words\n{PERMIT}").describe() == ("no policy differs",)
