"""Feast in a test's own process, without what its import does to a process."""

from __future__ import annotations

import os

from wellspring.data.features.views import limit_type_checks


def imported() -> None:
    """Import Feast as the last of all.

    By its import it tells prometheus_client, through the environment, to keep every metric of this process and its
    children in files: so the client is imported first, and the environment put back.
    """
    from prometheus_client import values

    assert values.ValueClass is not None
    before = dict(os.environ)
    with limit_type_checks():
        import feast

    assert feast.__version__
    os.environ.clear()
    os.environ.update(before)
