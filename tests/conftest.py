"""Hypothesis profiles that all tests share."""

import os

import hypothesis

# In CI a failure must be found again by the next run; on a developer's machine new examples are welcome.
hypothesis.settings.register_profile("local", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")
