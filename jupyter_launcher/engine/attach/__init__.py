"""What lasts as long as a block: commands whose input and output stay open, and short-lived containers."""
