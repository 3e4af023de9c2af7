"""Skip JupyterLab 4's call of node for yarn's configuration.

JupyterLab asks its yarn for the registry, and version 4 cannot read the answer of the yarn that it has
(``jupyterlab.commands._yarn_config`` expects the output of yarn 1), so the answer changes nothing.

Upstream: none filed.
Leans on: ``jupyterlab.commands`` calls ``subprocess.check_output([node, ".../yarn.js", "config", "--json"])``.
Seen with: JupyterLab 4.6.6.
Without it: a start takes 0.3 to 0.9 s longer where node is on the PATH.
Goes when: JupyterLab reads the answer, or does not ask.
"""

import subprocess
import sys

_check_output = subprocess.check_output


def _skip_yarn_config(*command, **options):
    lab = getattr(sys.modules.get("jupyterlab"), "__version__", "")
    argv = command[0] if command and isinstance(command[0], list) else []
    if lab.startswith("4.") and argv[2:] == ["config", "--json"] and str(argv[1]).endswith("yarn.js"):
        if subprocess.check_output is _skip_yarn_config:
            subprocess.check_output = _check_output
        return b""
    return _check_output(*command, **options)


subprocess.check_output = _skip_yarn_config
