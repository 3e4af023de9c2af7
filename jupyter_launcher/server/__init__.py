"""The Jupyter server inside its container."""
