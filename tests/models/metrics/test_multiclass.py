import numpy as np
import pytest

from wellspring.models.metrics import multiclass


def test_macro_f1_is_the_mean_over_the_classes_that_occur():
    decided, labels = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])
    expected = (2 * 1 / (1 + 2) + 2 * 2 / (3 + 2)) / 2
    assert multiclass.compute_macro_f1(decided, labels, np.ones(4), classes=3) == pytest.approx(expected)


def test_the_temperature_that_made_the_labels_is_found():
    rng = np.random.default_rng(1)
    raw = rng.normal(0, 3, (8000, 3))
    shares = multiclass.softmax_rows(raw, 2.0)
    labels = np.array([rng.choice(3, p=share) for share in shares])
    assert multiclass.fit_temperature(raw, labels) == pytest.approx(2.0, abs=0.1)
    for row, many in zip(raw[:20].tolist(), shares.tolist(), strict=False):
        assert multiclass.softmax_row(row, 2.0) == pytest.approx(many, abs=1e-15)
