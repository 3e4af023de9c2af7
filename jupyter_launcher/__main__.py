"""``python -m jupyter_launcher``, and the command ``jupyter-launcher``."""

from __future__ import annotations

import sys
from importlib.util import find_spec


def main() -> None:
    """Run the command; without the extra that it needs, say what to install."""
    if missing := [name for name in ("click", "rich") if find_spec(name) is None]:
        sys.exit(f"jupyter-launcher: the command needs {' and '.join(missing)}; pip install 'jupyter-launcher[cli]'")
    try:
        from jupyter_launcher.cli.commands import cli

        cli.main(prog_name="jupyter-launcher")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
