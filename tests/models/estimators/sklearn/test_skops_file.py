"""`model.skops`: no type outside the list is built, and equal content gives equal bytes."""

import io
import json
import os
import subprocess
import sys
import zipfile
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.linear_model import Ridge

from wellspring.errors import CorruptedError, Refused
from wellspring.models.estimators.sklearn import skops_file


class OwnType:
    """A type that is not on the list."""

    created = False

    def __init__(self) -> None:
        self.value = 1

    def __setstate__(self, state: dict[str, Any]) -> None:
        OwnType.created = True


def test_a_file_with_an_untrusted_type_is_not_loaded():
    content = skops.io.dumps({"pipeline": OwnType()})
    OwnType.created = False
    with pytest.raises(CorruptedError, match=r"OwnType, which is never loaded"):
        skops_file.load_fitted(content)
    assert not OwnType.created


def test_an_untrusted_type_is_not_written():
    with pytest.raises(Refused, match="OwnType"):
        skops_file.dump_fitted({"pipeline": OwnType()})


def test_a_function_call_in_the_schema_is_not_executed(tmp_path: Any):
    content = skops.io.dumps({"pipeline": np.log1p})
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        schema = archive.read("schema.json").decode()
    changed = json.loads(schema.replace('"numpy"', '"os"').replace('"log1p"', '"system"'))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("schema.json", json.dumps(changed))
    with pytest.raises(CorruptedError):
        skops_file.load_fitted(buffer.getvalue())


def test_a_compressed_file_is_refused_because_it_can_expand():
    with pytest.raises(CorruptedError, match="compressed"):
        skops_file.load_fitted(skops.io.dumps({"pipeline": 1}, compression=zipfile.ZIP_DEFLATED))


def test_a_large_file_is_refused_before_it_is_opened(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(skops_file, "MAX_BYTES", 100)
    with pytest.raises(CorruptedError, match="at most 100 are read"):
        skops_file.load_fitted(b"x" * 101)
    with pytest.raises(Refused, match="at most 100"):
        skops_file.dump_fitted({"pipeline": Ridge()})


def test_a_file_of_something_else_is_refused():
    with pytest.raises(CorruptedError, match="does not hold"):
        skops_file.load_fitted(skops.io.dumps([1, 2]))


def test_what_was_written_is_read():
    array = np.arange(6.0).reshape(2, 3)
    read = skops_file.load_fitted(skops_file.dump_fitted({"pipeline": Ridge(alpha=2), "a": array, "b": array.dtype}))
    assert read["pipeline"].alpha == 2
    assert read["a"].tolist() == array.tolist()
    assert read["b"] == np.float64


DIGEST_CODE = """
import hashlib
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from wellspring.models.estimators.sklearn.skops_file import dump_fitted
rows = np.random.default_rng(1).normal(size=(50, 2))
pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, rows[:, 0] > 0)
digest = hashlib.sha256(dump_fitted({"pipeline": pipeline})).hexdigest()
"""


def test_another_process_writes_the_same_bytes():
    namespace: dict[str, Any] = {}
    exec(DIGEST_CODE, namespace)
    done = subprocess.run(
        [sys.executable, "-c", f"{DIGEST_CODE}print(digest)"],
        # The machine's environment may choose the processor type that OpenBLAS computes for.
        env={**os.environ, "PYTHONHASHSEED": "1"}, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.strip() == namespace["digest"]
