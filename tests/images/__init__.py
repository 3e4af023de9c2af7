"""Images that only the tests use."""
