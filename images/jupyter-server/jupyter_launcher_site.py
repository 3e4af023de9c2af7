"""Imported when Python starts: the server and Jupyter's commands see no packages of a user, so that none breaks them.

Kernels and all else do. It runs before Python adds the user's folder.
"""

import re
import site
import sys

if any(
    re.fullmatch(r"(.*/)?jupyter[a-z-]*|/run/jupyter-launcher/launch\.py", argument) for argument in sys.orig_argv[1:3]
):
    site.ENABLE_USER_SITE = False
