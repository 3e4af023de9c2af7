"""Which engine is meant, and the ways to it."""
