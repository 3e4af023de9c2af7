"""What is different where sessions run in a swarm: how they are reached, and what cannot be asked for."""
