"""Sessions before they are asked for."""
