"""Images: look up, pull, and build those whose contexts travel with this package."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from jupyter_launcher._version import __version__
from jupyter_launcher.deadline import Deadline
from jupyter_launcher.engine import Engine
from jupyter_launcher.errors import EngineError, ImageBuildError, ImageNotFoundError, OptionError
from jupyter_launcher.flow import Progress
from jupyter_launcher.models import BuildOptions

__all__ = ["CONTEXTS", "DEFAULT_GATEWAY_IMAGE", "DEFAULT_IMAGE", "build", "context_dir", "ensure", "image_id", "tag_of"]

CONTEXTS = ("jupyter-server", "enterprise-gateway")
_INPUTS = "jupyter-launcher.inputs"
_TAIL_LINES = 40
_STEP = re.compile(r"(?:Step|STEP) (\d+)/(\d+) ?: ")  # Docker's, Podman's


def tag_of(name: str) -> str:
    """The tag of an image of ours, of this version."""
    return f"jupyter-launcher/{name}:{__version__}"


DEFAULT_IMAGE, DEFAULT_GATEWAY_IMAGE = (tag_of(name) for name in CONTEXTS)


def context_dir(name: str) -> Path:
    """The build context of an image of ours: inside the wheel, or beside the package in a checkout."""
    package = Path(__file__).parent
    for folder in (package / "images" / name, package.parent / "images" / name):
        if (folder / "Dockerfile").is_file():
            return folder
    msg = f"there is no image {name!r} to build; the images are {', '.join(CONTEXTS)}"
    raise OptionError(msg, option="name")


def image_id(engine: Engine, image: str) -> str | None:
    """The id of an image that the engine has; None when it has none of this name."""
    raw = _inspect(engine, image)
    return None if raw is None else str(raw["Id"])


def ensure(
    engine: Engine, image: str, pull: str, options: BuildOptions, deadline: Deadline, on_progress: Progress
) -> None:
    """See that the engine has an image: ours are built, others pulled.

    Raises:
        OptionError: ``pull`` is none of ``missing``, ``always``, ``never``.
        ImageNotFoundError, ImageBuildError: there is none, and none could be had.
    """
    if pull not in ("missing", "always", "never"):
        msg = f"pull is {pull!r}; give 'missing', 'always' or 'never'"
        raise OptionError(msg, option="pull")
    if pull != "always" and image_id(engine, image) is not None:
        return
    ours = next((name for name in CONTEXTS if tag_of(name) == image), None)
    if pull == "never":
        msg = f"image {image} is not on the engine, and pull is 'never'; build or pull it first"
        raise ImageNotFoundError(msg, status=404, image=image)
    if ours is None:
        _pull(engine, image, deadline, on_progress)
    else:
        build(engine, ours, image, options, deadline, on_progress)


def _pull(engine: Engine, image: str, deadline: Deadline, on_progress: Progress) -> None:
    # Without a tag the engine would pull all of them.
    name = image if "@" in image or ":" in image.rpartition("/")[2] else f"{image}:latest"
    try:
        with engine.translated(f"pull {name}"):
            layers: dict[str, tuple[int, int]] = {}
            for item in engine.api.pull(name, stream=True, decode=True):
                if "error" in item:
                    raise EngineError(str(item["error"]))
                _count(item, layers)
                done, total = (sum(layer[index] for layer in layers.values()) for index in (0, 1))
                on_progress(" ".join(str(item[key]) for key in ("id", "status") if item.get(key)), done, total)
                if deadline.expired():
                    raise EngineError(_late(deadline))
    except EngineError as error:
        msg = f"image {image} is not on the engine and can't be pulled: {error}; see its name, or `docker login`"
        raise ImageNotFoundError(msg, status=error.status, image=image) from error


def _count(item: Mapping[str, Any], layers: dict[str, tuple[int, int]]) -> None:
    """Note how many bytes of a layer are there: the engine tells while it downloads, and the end in words."""
    layer, detail = str(item.get("id", "")), item.get("progressDetail") or {}
    if item.get("status") == "Downloading" and detail.get("total"):
        layers[layer] = (int(detail["current"]), int(detail["total"]))
    elif layer in layers:  # what follows the download counts no bytes of it
        layers[layer] = (layers[layer][1], layers[layer][1])


def build(
    engine: Engine,
    name: str,
    tag: str,
    options: BuildOptions,
    deadline: Deadline,
    on_progress: Progress,
    *,
    force: bool = False,
) -> None:
    """Build one of our images; nothing is done when its inputs did not change.

    Raises:
        OptionError: no such image of ours, or a certificate that can't be read.
        ImageBuildError: with the end of what the build printed.
    """
    files = _context_files(context_dir(name), options.ca_certificates)
    base = image_id(engine, options.base_image) if options.base_image else None
    inputs = _digest(files, {**options.to_build_args(), "base": base or ""})
    existing = _inspect(engine, tag)
    if existing and not force and (existing["Config"].get("Labels") or {}).get(_INPUTS) == inputs:
        return
    build_id = uuid.uuid4().hex
    tail: list[str] = []
    try:
        with engine.translated(f"build {tag}"):
            stream = engine.api.build(
                fileobj=_tar(files),
                custom_context=True,
                tag=tag,
                rm=True,
                forcerm=True,
                nocache=force,
                decode=True,
                buildargs={**options.to_build_args(), "BUILD_ID": build_id},
                labels={_INPUTS: inputs},
                timeout=deadline.seconds,
            )
            for item in stream:
                _follow(item, tail, on_progress)
                if deadline.expired():
                    raise EngineError(_late(deadline))
    except EngineError as error:
        log = "\n".join(tail)
        msg = (
            f"image {tag} could not be built: {error}; behind a proxy or without a registry give the build a base "
            f"image, CA certificates, an index URL or proxies (BuildOptions, or `jupyter-launcher build --help`)\n{log}"
        )
        raise ImageBuildError(msg, status=error.status, image=tag, log_tail=log) from error
    finally:
        _prune(engine, build_id)
    if existing is not None and image_id(engine, tag) != existing["Id"]:
        _remove_replaced(engine, existing["Id"])


def _late(deadline: Deadline) -> str:
    return f"not done after {deadline.seconds:g} s (timeouts.image)"


def _follow(item: Mapping[str, Any], tail: list[str], on_progress: Progress) -> None:
    if "error" in item:
        raise EngineError(str(item["error"]).strip())
    for line in str(item.get("stream") or item.get("status") or "").splitlines():
        if line.strip():
            tail.append(line.rstrip())
            del tail[:-_TAIL_LINES]
            if step := _STEP.match(line):
                on_progress(line.strip(), int(step[1]) - 1, int(step[2]))


def _prune(engine: Engine, build_id: str) -> None:
    # The first stage of a build stays behind as an image without a name; the Dockerfiles label it.
    with engine.translated("remove the build's first stage"):
        engine.api.prune_images(filters={"dangling": True, "label": f"jupyter-launcher.build={build_id}"})


def _remove_replaced(engine: Engine, image: str) -> None:
    # It lost its name to the new one; where containers still use it, it stays.
    try:
        with engine.translated("remove the image that was replaced"):
            engine.api.remove_image(image)
    except EngineError as error:
        if error.status not in (404, 409):
            raise


def _inspect(engine: Engine, image: str) -> Mapping[str, Any] | None:
    try:
        with engine.translated(f"inspect image {image}"):
            raw: Mapping[str, Any] = engine.api.inspect_image(image)
            return raw
    except EngineError as error:
        if error.status == 404:
            return None
        raise


def _context_files(folder: Path, certificates: Iterable[Path]) -> dict[str, bytes]:
    files = {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    for index, certificate in enumerate(certificates):
        try:
            content = Path(certificate).read_bytes()
        except OSError as error:
            msg = f"CA certificate {certificate} can't be read: {error}; give a PEM file"
            raise OptionError(msg, option="ca_certificates") from error
        if b"-----BEGIN CERTIFICATE-----" not in content:
            msg = f"CA certificate {certificate} holds no PEM certificate; convert it with `openssl x509`"
            raise OptionError(msg, option="ca_certificates")
        files[f"ca-certificates/{index}-{Path(certificate).stem}.crt"] = content
    return files


def _digest(files: Mapping[str, bytes], arguments: Mapping[str, str]) -> str:
    digest = hashlib.sha256(json.dumps(sorted(arguments.items())).encode())
    for name, content in sorted(files.items()):
        digest.update(f"\0{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def _tar(files: Mapping[str, bytes]) -> io.BytesIO:
    # No times and no owners, so that the engine's build cache sees contents alone.
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in sorted(files.items()):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            member.mode = 0o644
            archive.addfile(member, io.BytesIO(content))
    buffer.seek(0)
    return buffer
