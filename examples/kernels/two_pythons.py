"""A pipeline whose steps need different versions of Python: each step runs on a kernel of its own image.

    docker build --build-arg BASE_IMAGE=python:3.11-slim --tag my/kernel:3.11 examples/kernels
    docker build --build-arg BASE_IMAGE=python:3.13-slim --tag my/kernel:3.13 examples/kernels
    two_pythons.py PIPELINE_DIR my/kernel:3.11 my/kernel:3.13 [--isolation environment|kernel] [--open]

Both kernels see the pipeline at /pipeline-dir, so a step reads what the one before has written. JupyterLab's
launcher shows both; with --open, the session stays until Enter.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from jupyter_launcher import Launcher, Session

MEASURE = """
import json, pathlib, sys
pathlib.Path("measured.json").write_text(json.dumps({"by": list(sys.version_info[:2]), "values": [3, 4]}))
"""
REPORT = """
import json, sys
measured = json.load(open("measured.json"))
old, new = (".".join(map(str, version)) for version in (measured["by"], sys.version_info[:2]))
print(f"measured by Python {old}, summed by Python {new}: {sum(measured['values'])}")
"""


def run_steps(session: Session) -> str:
    """Run each step on the kernel that it needs; give what the last one printed."""
    printed = ""
    for name, code in (("old", MEASURE), ("new", REPORT)):
        with session.kernel(name=name) as kernel:
            printed = kernel.execute(code, timeout=60).text
    return printed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pipeline_dir", type=Path)
    parser.add_argument("old", metavar="OLD_IMAGE")
    parser.add_argument("new", metavar="NEW_IMAGE")
    parser.add_argument("--isolation", choices=("environment", "kernel"), default="environment")
    parser.add_argument("--open", action="store_true", help="print where JupyterLab is, and wait for Enter")
    given = parser.parse_args()
    kernels = {"old": given.old, "new": given.new}
    with (
        Launcher() as launcher,
        launcher.start(given.pipeline_dir, kernels=kernels, isolation=given.isolation) as session,
    ):
        print(run_steps(session), end="")
        if given.open:
            print(session.lab_url)
            input("Press Enter to stop the session.")


if __name__ == "__main__":
    main()
