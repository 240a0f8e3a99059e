"""The DuckDB engine: no downloads, no state between queries."""

import pyarrow as pa
import pytest

from wellspring.errors import Refused
from wellspring.query.duckdb import DuckDbEngine


def test_no_extension_is_downloaded_or_loaded_automatically():
    disabled_settings = ("autoinstall_known_extensions", "autoload_known_extensions", "enable_external_access")
    table = DuckDbEngine(threads=1).run_query(
        f"select name, value from duckdb_settings() where name in {disabled_settings} or name = 'threads'", {}
    )
    settings = dict(zip(table["name"].to_pylist(), table["value"].to_pylist(), strict=True))
    assert settings == {**dict.fromkeys(disabled_settings, "false"), "threads": "1"}


def test_queries_share_no_state():
    tables = DuckDbEngine()
    tables.run_query("select * from a", {"a": pa.table({"x": [1]})})
    with pytest.raises(Refused):
        tables.run_query("select * from a", {})
