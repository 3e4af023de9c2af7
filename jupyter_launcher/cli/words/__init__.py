"""How words of the command line are read, by what they have in common."""
