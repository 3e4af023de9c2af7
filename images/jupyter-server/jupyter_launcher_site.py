"""Imported when Python starts: the server and Jupyter's commands see no packages of a user, so that none breaks them.

Kernels and all else do. It runs before Python adds the user's folder.
"""

import re
import site
import sys

programs = [
    found
    for argument in sys.orig_argv[1:3]
    if (found := re.fullmatch(r"(?:.*/)?(jupyter[a-z-]*)|/run/jupyter-launcher/launch\.py", argument))
]
if programs:
    site.ENABLE_USER_SITE = False
if any(program[1] in (None, "jupyter-lab") for program in programs):
    import jupyter_launcher_start

    jupyter_launcher_start.use()
