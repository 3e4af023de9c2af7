"""Commands in a session, and files that they carry in and out."""
