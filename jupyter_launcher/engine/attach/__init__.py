"""Commands in containers whose input and output stay open."""
