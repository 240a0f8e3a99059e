"""Each crash point has a way that comes by it: that of `receive`, or that from a landed edition to an answer."""

from __future__ import annotations

from tests.crash import crash_points, model_lifecycle

ANSWERING = ("models/", "data/built.py", "data/materialize.py", "journey/building.py", "journey/releasing.py")
RECEIVING = ("enclave/", "trust/ledger/", "data/lake.py", "journey/receiving.py")


def test_each_crash_point_is_walked_by_the_scenario_of_its_room() -> None:
    for point in crash_points.every():
        file = point.file.removeprefix("wellspring/")
        # A new room has no walk yet: it would be reported as never hit, minutes later.
        assert file.startswith((*ANSWERING, *RECEIVING)), f"{point.name} in {file} lies on no way"
        assert model_lifecycle.comes_by(point.name) == file.startswith(ANSWERING), point
