"""Kernels in containers, and the gateway that is one unit with a session: made, counted, ended, and reaped."""
