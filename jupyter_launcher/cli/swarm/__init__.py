"""The command over a swarm: its global options, and what the doctor looks at."""
