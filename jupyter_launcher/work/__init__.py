"""What is done in a session: code, notebooks, commands, files, packages. ``Session`` forwards to this room."""
