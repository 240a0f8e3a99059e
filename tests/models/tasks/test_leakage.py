import numpy as np

from wellspring.models.tasks.leakage import assign_value_groups, split_halves


def test_missing_values_are_a_group_of_their_own():
    groups = assign_value_groups(np.array([np.nan, 2.0, 2.0, 0.0]), categorical=True)
    assert groups.tolist() == [0, 3, 3, 1]
    assert set(assign_value_groups(np.full(5, np.nan), categorical=False).tolist()) == {0}
    assert split_halves(5).tolist() == [True, False, True, False, True]
