"""The kind `policy`: what is on disk is parsed and kept whole; only fewer permissions need no second person."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.builders.recording_step import FixedClock
from wellspring.errors import ProjectError
from wellspring.trust import policy
from wellspring.trust.changes.store import ChangeStore
from wellspring.workflows.changes.policy import PolicyChange
from wellspring.workflows.changes.port import ContentChange

PERMIT = "permit (principal, action, resource);"
KIND = PolicyChange()


@pytest.fixture
def platform(tmp_path: Path) -> Any:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies/a.cedar").write_text(PERMIT)
    project = SimpleNamespace(
        root=tmp_path, name="benefits", users={}, source_paths={"policies": tmp_path / "policies"}
    )
    index = SimpleNamespace(list_entries=lambda after: [], count_entries=lambda: 0)
    return SimpleNamespace(
        project=project,
        changes=ChangeStore(tmp_path / "changes"),
        ledger=SimpleNamespace(index=index),
        clock=FixedClock(),
    )


def test_the_files_are_kept_by_the_digest_that_decisions_name(platform: Any):
    content = KIND.store_content(platform, "benefits")
    assert content == policy.load_policies(platform.project.source_paths["policies"]).digest
    assert policy.decode_policies(platform.changes.objects.get(content)).files == {"a.cedar": PERMIT}
    assert KIND.list_names(platform.project) == ("project",)


def test_a_file_that_does_not_parse_is_named_with_its_line_and_nothing_is_kept(platform: Any):
    (platform.project.source_paths["policies"] / "b.cedar").write_text("\npermit (principal, action, nonsense);")
    with pytest.raises(ProjectError, match=r"b.cedar:2"):
        KIND.store_content(platform, "benefits")
    platform.project.source_paths.clear()
    with pytest.raises(ProjectError, match="names no folder with policies"):
        KIND.store_content(platform, "benefits")


@pytest.mark.parametrize(("after", "second"), [(f"{PERMIT}\n{PERMIT.replace('permit', 'forbid')}", False), ("", False)])
def test_fewer_permissions_need_no_second_person_and_more_do(platform: Any, after: str, second: bool):
    live = KIND.store_content(platform, "benefits")
    (platform.project.source_paths["policies"] / "a.cedar").write_text(after)
    content = KIND.store_content(platform, "benefits")
    draft = KIND.describe_change(platform, ContentChange("benefits", live, content))
    assert (draft.content, draft.needs_second_person) == (content, second)
    assert KIND.describe_change(platform, ContentChange("benefits", content, live)).needs_second_person
    assert KIND.describe_change(platform, ContentChange("benefits", None, live)).summary == ("added: permit a.cedar:1",)
