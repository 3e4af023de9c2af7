"""Print the name of an image to build upon: the official one, else one made of Debian packages.

    base_image.py OFFICIAL SUITE      e.g. python:3.13-slim trixie

What the engine has is taken. Else the official image is pulled; where no registry answers, an image
with the suite's own Python is made with mmdebstrap from the Debian mirror that this machine uses.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import docker
from docker.errors import APIError, ImageNotFound

PACKAGES = "python3,python3-venv,ca-certificates"


def say(text: str) -> None:
    print(f"base image: {text}", file=sys.stderr, flush=True)


def mirror() -> str:
    """The Debian mirror of this machine's own package sources."""
    named = os.environ.get("DEBIAN_MIRROR")
    if named:
        return named
    sources = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    for source in sources:
        found = re.search(r"https?://\S+/debian/?(?=\s)", source.read_text() if source.is_file() else "")
        if found:
            return found[0]
    sys.exit("base image: this system names no Debian mirror; set DEBIAN_MIRROR to one")


def make(client: docker.DockerClient, suite: str, name: str) -> None:
    """Stream a new Debian system straight into the engine."""
    subprocess.run(["scripts/apt-install.sh", "mmdebstrap"], check=True)
    command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={PACKAGES}", suite, "-", mirror()]
    repository, _, tag = name.partition(":")
    with subprocess.Popen(command, stdout=subprocess.PIPE) as made:
        client.api.import_image_from_stream(made.stdout, repository=repository, tag=f"{tag}-unchecked")
    if made.returncode:
        client.images.remove(f"{name}-unchecked")
        sys.exit(f"base image: {' '.join(command)} ended with {made.returncode}")
    client.images.get(f"{name}-unchecked").tag(repository, tag=tag)
    client.images.remove(f"{name}-unchecked")


def main(official: str, suite: str) -> None:
    client = docker.from_env(timeout=300)
    made = f"jupyter-launcher/debian-python:{suite}"
    for name in (official, made):
        try:
            client.images.get(name)
        except ImageNotFound:
            continue
        print(name)
        return
    say(f"pulling {official}")
    try:
        client.images.pull(official)
        client.images.get(official)
    except APIError:
        say(f"no registry answers; making {made} from Debian packages, which takes a minute")
        make(client, suite, made)
        print(made)
    else:
        print(official)


if __name__ == "__main__":
    main(*sys.argv[1:])
