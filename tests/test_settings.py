"""What a kind of source has without any code of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from wellspring.settings import SourceSettings


def test_a_kind_without_code_needs_no_server_and_no_file(tmp_path: Path):
    settings = SourceSettings(kind="queue")
    assert settings.embedded_server is None
    assert settings.drop_folder(tmp_path) is None
    assert settings.readable_paths(tmp_path) == ()
    assert settings.secret_path("inbox") == "enclave/sources/inbox"
    assert (settings.settle_seconds, settings.max_bytes) == (5.0, 4 << 30)


@pytest.mark.parametrize("values", [{"settle_seconds": -1}, {"max_bytes": 0}, {"folder": "x"}])
def test_a_wrong_or_unknown_key_is_refused(values: dict[str, object]):
    with pytest.raises(ValidationError):
        SourceSettings(kind="queue", **values)  # type: ignore[arg-type]
