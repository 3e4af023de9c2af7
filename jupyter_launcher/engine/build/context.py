"""The images of ours: their names, and the files that a build sends to the engine."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from jupyter_launcher._version import __version__
from jupyter_launcher.errors import OptionError
from jupyter_launcher.models import BuildOptions
from jupyter_launcher.models.options import show_value

__all__ = [
    "CONTEXTS",
    "NOTEBOOK",
    "Layer",
    "context_dir",
    "context_files",
    "digest_inputs",
    "find_layer",
    "pack_files",
    "packages_tag",
    "tag_of",
]

CONTEXTS = ("jupyter-server", "kernel-gateway")
NOTEBOOK = "notebook"
"""A layer upon the first of them, with what notebooks usually need."""
_DEBIAN_PACKAGES = "git"
_HASH = re.compile(rb" \\\n +--hash=\S+")


def tag_of(name: str) -> str:
    """The tag of an image of ours, of this version."""
    return f"jupyter-launcher/{name}:{__version__}"


def packages_tag(name: str, options: BuildOptions) -> str:
    """The tag of an image of ours with the packages that are asked for; without any, that of the image itself.

    Raises:
        OptionError: no such image of ours, or a file of requirements that cannot be read.
    """
    if options.requirements is None:
        return tag_of(name)
    digest = hashlib.sha256(_read_requirements(options) + (options.base_image or "").encode()).hexdigest()
    return f"jupyter-launcher/{name}-packages:{__version__}-{digest[:12]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """More packages upon an image of ours.

    Attributes:
        below: the tag of that image.
        files: of the build context.
        debian_packages: their names, with a space between.
    """

    below: str
    files: Mapping[str, bytes]
    debian_packages: str = ""


def find_layer(name: str, options: BuildOptions) -> Layer | None:
    """The layer that an image of ours is, with the packages that are asked for; None: it is none.

    Raises:
        OptionError: a file of requirements that cannot be read.
    """
    files = {} if options.requirements is None and name != NOTEBOOK else context_files(_find_folder("packages"), ())
    if options.requirements is not None:
        return Layer(below=tag_of(name), files={**files, "requirements.txt": _read_requirements(options)})
    if name == NOTEBOOK:
        pins = (_find_folder(NOTEBOOK) / "requirements.txt").read_bytes()
        files["requirements.txt"] = pins if options.require_hashes else _HASH.sub(b"", pins)
        return Layer(below=tag_of(CONTEXTS[0]), files=files, debian_packages=_DEBIAN_PACKAGES)
    return None


def _read_requirements(options: BuildOptions) -> bytes:
    """The text of the file of requirements that is asked for.

    Raises:
        OptionError: it cannot be read.
    """
    given = options.requirements
    if not isinstance(given, (str, os.PathLike)):
        return "".join(f"{line}\n" for line in given or ()).encode()
    try:
        return Path(given).read_bytes()
    except OSError as error:
        msg = f"the file of requirements {given} cannot be read: {error}"
        raise OptionError(msg, hint="give a file as pip takes it", option="requirements") from error


def context_dir(name: str) -> Path:
    """The build context of an image of ours: inside the wheel, or beside the package in a checkout.

    Raises:
        OptionError: no such image of ours.
    """
    if name in CONTEXTS:
        return _find_folder(name)
    msg = f"there is no image {show_value(name)} to build"
    raise OptionError(msg, hint=f"give one of {', '.join((*CONTEXTS, NOTEBOOK))}", option="name")


def _find_folder(name: str) -> Path:
    package = Path(str(resources.files("jupyter_launcher")))
    installed = package / "images" / name
    return installed if installed.is_dir() else package.parent / "images" / name


def context_files(folder: Path, certificates: Iterable[Path]) -> dict[str, bytes]:
    """A folder's files by their names, and the certificates.

    Raises:
        OptionError: a certificate cannot be read, or is none.
    """
    files = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts  # pip compiles what it installs
    }
    for index, certificate in enumerate(certificates):
        try:
            content = Path(certificate).read_bytes()
        except OSError as error:
            msg = f"CA certificate {certificate} cannot be read: {error}"
            raise OptionError(msg, hint="give a PEM file", option="ca_certificates") from error
        if b"-----BEGIN CERTIFICATE-----" not in content:
            msg = f"CA certificate {certificate} holds no PEM certificate"
            raise OptionError(msg, hint="convert it with `openssl x509`", option="ca_certificates")
        files[f"ca-certificates/{index}-{Path(certificate).stem}.crt"] = content
    return files


def digest_inputs(files: Mapping[str, bytes], arguments: Mapping[str, str]) -> str:
    """What tells one build from another."""
    digest = hashlib.sha256(json.dumps(sorted(arguments.items())).encode())
    for name, content in sorted(files.items()):
        digest.update(f"\0{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def pack_files(files: Mapping[str, bytes]) -> io.BytesIO:
    """The files as an archive."""
    # Without times and owners, so that the engine's build cache compares contents alone.
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in sorted(files.items()):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            member.mode = 0o644
            archive.addfile(member, io.BytesIO(content))
    buffer.seek(0)
    return buffer
