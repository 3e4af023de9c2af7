"""What is different where sessions run in a swarm: how they are reached, their gateways, and what cannot be asked for."""
