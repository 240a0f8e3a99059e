from xml.etree import ElementTree

import numpy as np

from wellspring.models.metrics import plots

OUTPUT = np.linspace(0.01, 0.6, 200)
LABELS = np.random.default_rng(1).random(200) < OUTPUT


def test_each_picture_is_svg_and_the_same_for_the_same_scores():
    for draw in (
        lambda: plots.plot_calibration(OUTPUT, LABELS, bins=10),
        lambda: plots.plot_roc(OUTPUT, LABELS),
        lambda: plots.plot_importance(["a<b", "c"], [1.0, 0.0]),
    ):
        assert ElementTree.fromstring(draw()).tag.endswith("svg")
        assert draw() == draw()


def test_a_picture_shows_what_it_should():
    assert plots.plot_calibration(OUTPUT, LABELS, bins=10).count("<circle") == 10
    assert "a&lt;b" in plots.plot_importance(["a<b"], [2.0])
    assert plots.plot_importance([f"f{n}" for n in range(40)], [1.0] * 40).count("<rect") == 16
    assert plots.plot_roc(OUTPUT, LABELS).count("<polyline") == 1
