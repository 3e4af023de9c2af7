"""Print a CycloneDX list of what an image holds: Python, its packages here, and the Debian packages.

write_sbom.py NAME      run by the Python whose packages are meant
"""

import importlib.metadata
import json
import platform
import subprocess
import sys
from urllib.parse import quote

OURS = "jupyter_launcher_kernels"  # is on no index
DEBIAN = r"${binary:Package}\t${Version}\t${Architecture}\n"


def component(kind, name, version, purl, **more):
    return {"type": kind, "bom-ref": purl, "name": name, "version": version, "purl": purl, **more}


def license_of(metadata):
    """As the package's metadata tell it: an SPDX expression, else a short name, else nothing."""
    expression, text = metadata.get("License-Expression"), metadata.get("License", "")
    if expression:
        return {"licenses": [{"expression": expression}]}
    if text and "\n" not in text and len(text) < 100:
        return {"licenses": [{"license": {"name": text}}]}
    return {}


def python_packages():
    for found in importlib.metadata.distributions():
        name, version = found.metadata["Name"], found.version
        kind = "generic" if name == OURS else "pypi"
        purl = f"pkg:{kind}/{name.lower().replace('_', '-')}@{quote(version)}"
        yield component("library", name, version, purl, **license_of(found.metadata))


def debian_packages():
    listed = subprocess.run(["dpkg-query", "--show", f"--showformat={DEBIAN}"], stdout=subprocess.PIPE, check=True)
    release = platform.freedesktop_os_release()
    distro = f"{release['ID']}-{release.get('VERSION_ID', '')}".rstrip("-")
    for line in listed.stdout.decode().splitlines():
        name, version, architecture = line.split("\t")
        name = name.partition(":")[0]
        purl = f"pkg:deb/{release['ID']}/{quote(name)}@{quote(version)}?arch={architecture}&distro={distro}"
        yield component("library", name, version, purl)


def main(name):
    python = platform.python_version()
    components = [component("platform", "python", python, f"pkg:generic/python@{python}")]
    components += [*python_packages(), *debian_packages()]
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "container", "name": name}},
        "components": sorted(components, key=lambda item: item["purl"]),
    }
    json.dump(document, sys.stdout, indent=1)
    print()


main(sys.argv[1])
