"""The picture of a plan: a box for each job, an arrow for each dependency."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

from tests.builders.command_line import Run

JOBS = """
[jobs.claims]
kind = "ingest"
subject = "clearinghouse"
sla = "2h"

[jobs.a_transform_with_a_long_name_in_the_plan]
kind = "transform"
after = ["claims"]
"""


def test_the_picture_has_a_box_for_each_job_and_an_arrow_for_each_dependency(run: Run, root: Path, tmp_path: Path):
    path = root / "wellspring.toml"
    path.write_text(path.read_text() + JOBS)
    picture = tmp_path / "plan.svg"
    assert run("plan", "--picture", picture, "--project", root).code == 0
    svg = ET.fromstring(picture.read_text())
    names = [element.tag.rpartition("}")[2] for element in svg.iter()]
    assert (names.count("rect"), names.count("path")) == (3, 2)  # with the background, and the head of the arrow
    texts = [str(element.text) for element in svg.iter() if element.tag.endswith("text")]
    assert "ends within 2:00:00" in texts
    assert max(map(len, texts)) == 36
