"""A Docker swarm as one engine: a service for each container, asked through a manager and the nodes' own engines."""
