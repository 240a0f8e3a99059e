"""A writer of CSV, for the suite of formats."""

import csv
import io
from typing import Any


def write_csv(rows: list[dict[str, Any]]) -> bytes:
    """Write a header and the rows."""
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


BUILDER = write_csv
