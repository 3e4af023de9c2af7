"""Where this process stands toward the engine: addresses and paths."""
