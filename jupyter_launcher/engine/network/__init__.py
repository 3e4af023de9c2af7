"""The networks of an engine."""
