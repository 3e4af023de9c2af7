"""What sessions cost, beside other ways to a JupyterLab in a container: ``python -m benchmarks``, or ``make bench``."""
