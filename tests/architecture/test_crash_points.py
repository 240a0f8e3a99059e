"""Crash points have names, generated from the code, and each names one place."""

from collections import Counter

from tests.crash import crash_points


def test_each_crash_point_is_written_out_and_names_one_place():
    assert crash_points.find_computed_names() == []
    twice = [
        name for name, times in Counter(point.name for point in crash_points.list_crash_points()).items() if times > 1
    ]
    assert twice == []


def test_crash_point_names_have_a_module_and_a_moment():
    assert [point for point in crash_points.list_crash_points() if not crash_points.SHAPE.match(point.name)] == []


def test_the_steps_that_touch_two_stores_have_crash_points():
    files = {point.file.removeprefix("wellspring/") for point in crash_points.list_crash_points()}
    assert {"workflows/ingest.py", "lake/lake.py", "trust/ledger/sequencer.py"} <= files


def test_the_finder_finds_each_way_of_writing_one_and_no_other():
    source = """
def handed_on(self, point):
    self._crash_point(point)

def real(step, crash_point, name):
    step.crash_point("lake.publish:act")
    crash_point("ledger.integrate:tiles")
    self._crash_point("ledger.integrate:signed")
    step.crash_point("a" + "b")
"""
    listed, computed = crash_points.find_in_source(source, "x.py")
    assert [point.name for point in listed] == [
        "lake.publish:act",
        "ledger.integrate:tiles",
        "ledger.integrate:signed",
    ]
    assert computed == [9]
