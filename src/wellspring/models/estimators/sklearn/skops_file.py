"""Read and write `model.skops`: one dict with a fitted pipeline. The same dict gives the same bytes.

skops writes a zip of JSON and arrays without any code, and builds an object only if its type is on a list. The list is
that of skops itself and `DATA_TYPES`; a project cannot add a type to it.
"""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from typing import Any

from wellspring.errors import CorruptedError, Refused, package_missing
from wellspring.plugins import guard_plugin_code

DATA_TYPES = ("numpy.dtype",)
"""Types that skops leaves to the reader and that hold data only: skops reads a dtype from an empty array."""
MAX_BYTES = 64 * 1024 * 1024
_SCHEMA = "schema.json"
_EPOCH = (1980, 1, 1, 0, 0, 0)
_RETRAIN_FIX = "stop; train the model again"
_OTHER_STEPS_FIX = (
    "use steps of scikit-learn that skops can read without trusting a type; for trees use LightGBM or "
    "Onnx(pipeline=...)"
)


def dump_fitted(content: dict[str, Any]) -> bytes:
    """Write a dict with a fitted pipeline. Raises Refused with the names of the types that would not be read again."""
    skops_io = _import_skops()
    # skops raises errors of many types for objects that it cannot write, such as a lambda.
    with guard_plugin_code("the pipeline cannot be written without pickle", fix=_OTHER_STEPS_FIX, error_type=Refused):
        written = skops_io.dumps(content)
        untrusted = list_untrusted_types(written)
    if untrusted:
        raise Refused(
            f"the pipeline contains {', '.join(untrusted)[:200]}, which is not read from a model file",
            fix=_OTHER_STEPS_FIX,
        )
    rewritten = _rewrite_archive(written)
    if len(rewritten) > MAX_BYTES:
        raise Refused(
            f"the fitted pipeline has {len(rewritten):,} bytes; at most {MAX_BYTES:,} are allowed",
            fix="make the pipeline smaller",
        )
    return rewritten


def load_fitted(content: bytes) -> dict[str, Any]:
    """Read a dict with a fitted pipeline. Raises CorruptedError for any type that is not on the list."""
    skops_io = _import_skops()
    if len(content) > MAX_BYTES:
        raise CorruptedError(
            f"model.skops has {len(content):,} bytes; at most {MAX_BYTES:,} are read", fix=_RETRAIN_FIX
        )
    with guard_plugin_code("model.skops is not a file that skops reads", fix=_RETRAIN_FIX):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            # An uncompressed file cannot expand to more than its size.
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise CorruptedError("model.skops is compressed", fix=_RETRAIN_FIX)
        if untrusted := list_untrusted_types(content):
            raise CorruptedError(
                f"model.skops contains {', '.join(untrusted)[:200]}, which is never loaded", fix=_RETRAIN_FIX
            )
        fitted = skops_io.loads(content, trusted=list(DATA_TYPES))
    if not isinstance(fitted, dict):
        raise CorruptedError("model.skops does not hold a fitted pipeline", fix=_RETRAIN_FIX)
    return fitted


def list_untrusted_types(content: bytes) -> list[str]:
    """List the types of a skops file that are not on the list; nothing is built."""
    return sorted(set(_import_skops().get_untrusted_types(data=content)) - set(DATA_TYPES))


def _import_skops() -> Any:
    try:
        with warnings.catch_warnings():
            # In a confined process joblib cannot start others, and none are needed.
            warnings.filterwarnings("ignore", message=".*joblib will operate in serial mode")
            import skops.io
    except ImportError:
        raise package_missing("skops", extra="sklearn") from None
    return skops.io


def _rewrite_archive(written: bytes) -> bytes:
    """Replace memory addresses and times, which differ per process, by numbers in order of occurrence."""
    with zipfile.ZipFile(io.BytesIO(written)) as archive:
        arrays = {name: archive.read(name) for name in archive.namelist() if name != _SCHEMA}
        numbering = _Numbering(arrays)
        schema = json.dumps(numbering.renumber(json.loads(archive.read(_SCHEMA))), separators=(",", ":")).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression=zipfile.ZIP_STORED) as archive:
        for name, number in numbering.files.items():
            _write_entry(archive, f"{number}.npy" if name.endswith(".npy") else f"{number}.npz", arrays[name])
        _write_entry(archive, _SCHEMA, schema)
    return buffer.getvalue()


def _write_entry(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, date_time=_EPOCH)
    entry.create_system, entry.external_attr = 3, 0o600 << 16
    archive.writestr(entry, content)


class _Numbering:
    """Numbers for the addresses of a schema. files: the number of each array file."""

    def __init__(self, arrays: dict[str, bytes]) -> None:
        self.files: dict[str, int] = {}
        self._arrays = arrays
        self._numbers: dict[int, int] = {}
        self._count = 0

    def renumber(self, node: Any) -> Any:
        """Return a copy of a part of the schema with numbers for addresses."""
        if isinstance(node, list):
            return [self.renumber(item) for item in node]
        if not isinstance(node, dict):
            return node
        copied: dict[str, Any] = {}
        for name, value in node.items():
            if name == "__id__" and isinstance(value, int):
                copied[name] = self._number(value, shared=node.get("__loader__") != "JsonNode")
            elif name == "file" and isinstance(value, str) and value in self._arrays:
                number = self.files.setdefault(value, len(self.files))
                copied[name] = f"{number}{value[-4:]}"
            else:
                copied[name] = self.renumber(value)
        return copied

    def _number(self, address: int, *, shared: bool) -> int:
        """Number an address. shared: whether two occurrences are one object; equal constants may be one by chance."""
        if shared and address in self._numbers:
            return self._numbers[address]
        self._count += 1
        if shared:
            self._numbers[address] = self._count
        return self._count
