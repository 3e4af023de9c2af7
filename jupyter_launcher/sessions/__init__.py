"""Acts on sessions: only this folder changes a session's container."""
