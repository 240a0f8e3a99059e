"""Views and their features are found by name."""

from tests.builders.feature_views import view, views


def test_a_view_is_found_by_name():
    assert views(view()).find_view("member_history") == view()
    assert views(view()).find_view("absent") is None


def test_a_feature_is_found_by_name():
    feature = view().find_feature("rate")
    assert feature is not None
    assert feature.type == "float64"
    assert view().find_feature("absent") is None
