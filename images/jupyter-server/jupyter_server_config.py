"""`pip install` in a session goes to this folder of HOME; a kernel that starts while it is there imports from it."""

import contextlib
import site
from pathlib import Path

with contextlib.suppress(OSError):
    Path(site.getusersitepackages()).mkdir(parents=True, exist_ok=True)
