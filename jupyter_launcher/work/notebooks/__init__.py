"""Notebooks that are executed in a session: what one is, and how it is run."""
