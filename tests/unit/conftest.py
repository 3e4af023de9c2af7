"""Property tests make the same examples in each run, and leave nothing on the disk."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("unit", max_examples=100, deadline=None, derandomize=True, database=None)
settings.load_profile("unit")
