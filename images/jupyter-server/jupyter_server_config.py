"""`pip install` in a session goes to this folder of HOME; a kernel that starts while it is there imports from it.

Kernels and terminals find the programs of these packages too, after the image's own.
"""

import contextlib
import os
import site
from pathlib import Path

with contextlib.suppress(OSError):
    Path(site.getusersitepackages()).mkdir(parents=True, exist_ok=True)
os.environ["PATH"] = f"{os.environ.get('PATH', os.defpath)}:{site.getuserbase()}/bin"
