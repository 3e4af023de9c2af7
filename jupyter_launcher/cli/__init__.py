"""The command ``jupyter-launcher``."""
