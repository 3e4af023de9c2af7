"""Pin anew what an image installs: each version, and the hashes of its files.

    pin.py IMAGE_FOLDER BASE_IMAGE [FOLDER_BELOW]

For an image that is a layer upon another one of ours, FOLDER_BELOW is that one's: its pins hold, and are left out.

Resolves ``requirements.in`` in a container of the base image, and writes ``requirements.txt``. The hashes are those of
the wheels that pip takes for the base image's Python on linux/amd64 and on linux/arm64, as the index that pip is
configured with names them (``PIP_INDEX_URL`` is handed on).
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ARCHITECTURES = ("x86_64", "aarch64")
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
REPORT = "pip install --quiet --dry-run --ignore-installed --only-binary=:all: --report -"

# A wheel names the oldest C library that it works with. pip prefers what it is told first, and on a machine the newest
# that the machine has: hence both orders, for base images with a new and with an old one.
GLIBC_VERSIONS = range(17, 42)
ORDERS = (GLIBC_VERSIONS, GLIBC_VERSIONS[::-1])


def run_in(base: str, script: str, standard_input: str = "") -> str:
    """The output of a script in a container of the base image, with pip in its PATH."""
    command = ["docker", "run", "--rm", "--interactive", "--volume", f"{CERTIFICATES}:/certificates.crt:ro"]
    for variable in ("PIP_CERT=/certificates.crt", "PIP_INDEX_URL", "PATH=/v/bin:/usr/local/bin:/usr/bin:/bin"):
        command += ["--env", variable]
    command += [base, "sh", "-c", f"python3 -m venv /v && cat >/in && {script}"]
    return subprocess.run(command, input=standard_input, stdout=subprocess.PIPE, text=True, check=True).stdout


def read_report(text: str) -> dict[str, tuple[str, str]]:
    """Name and version, and hash, of each distribution in a report of pip's."""
    found: dict[str, tuple[str, str]] = {}
    for item in json.loads(text)["install"]:
        metadata: dict[str, Any] = item["metadata"]
        pin = f"{metadata['name']}=={metadata['version']}"
        found[pin.lower()] = (pin, item["download_info"]["archive_info"]["hashes"]["sha256"])
    return found


def tags_of(architecture: str, order: range) -> str:
    return " ".join(f"--platform manylinux_2_{minor}_{architecture}" for minor in order)


def read_pins(folder: Path) -> list[str]:
    """The pins of an image, without hashes."""
    lines = (folder / "requirements.txt").read_text().splitlines()
    return [line.split()[0] for line in lines if "==" in line and not line.startswith("#")]


def main(folder: Path, base: str, below: Path | None = None) -> None:
    held = [] if below is None else read_pins(below)
    wanted = "\n".join([(folder / "requirements.in").read_text(), *held])
    found = read_report(run_in(base, f"{REPORT} --requirement /in", wanted))
    chosen = {key: value for key, value in found.items() if key not in {pin.lower() for pin in held}}
    pins = "\n".join(pin for pin, _ in chosen.values())
    hashes: dict[str, set[str]] = {key: {digest} for key, (_, digest) in chosen.items()}
    for architecture, order in itertools.product(ARCHITECTURES, ORDERS):
        script = f"{REPORT} --no-deps --target /t --implementation cp {tags_of(architecture, order)} --requirement /in"
        for key, (_, digest) in read_report(run_in(base, script, pins)).items():
            hashes[key].add(digest)
    file = folder / "requirements.txt"
    lines = [line for line in file.read_text().splitlines() if line.startswith("#")] if file.exists() else []
    for key in sorted(chosen, key=lambda key: key.split("==")):
        lines += [chosen[key][0] + "".join(f" \\\n    --hash=sha256:{digest}" for digest in sorted(hashes[key]))]
    file.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], *map(Path, sys.argv[3:]))
