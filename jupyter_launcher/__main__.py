"""``python -m jupyter_launcher``, and the command ``jupyter-launcher``."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command; without the extra that it needs, say what to install."""
    try:
        import click  # noqa: F401 - only asked whether it is there
    except ModuleNotFoundError:
        sys.exit("jupyter-launcher: the command needs click; pip install 'jupyter-launcher[cli]'")
    from jupyter_launcher.cli import cli

    cli.main(prog_name="jupyter-launcher")


if __name__ == "__main__":
    main()
