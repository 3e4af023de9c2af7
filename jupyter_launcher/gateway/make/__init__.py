"""The making of a gateway: what was asked for, one attempt, and when it answers."""
