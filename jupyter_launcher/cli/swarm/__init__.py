"""The command over a swarm."""
