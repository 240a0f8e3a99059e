"""What every test of the house shares: how hypothesis searches."""

import os

import hypothesis

# In CI a failure must be found again by the next run; at a desk new examples are welcome.
hypothesis.settings.register_profile("desk", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "desk")
