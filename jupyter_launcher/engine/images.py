"""Images: look up, pull, and build those whose contexts are in this package."""

from __future__ import annotations

import contextlib
import functools
import math
import queue
import re
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import requests
from docker import APIClient

from jupyter_launcher.acts import check_cancelled
from jupyter_launcher.engine import streams
from jupyter_launcher.engine.build.context import (
    CONTEXTS,
    NOTEBOOK,
    context_dir,
    digest_inputs,
    find_layer,
    pack_files,
    packages_tag,
    tag_of,
)
from jupyter_launcher.engine.build.context import context_files as _context_files
from jupyter_launcher.engine.errors import translate_errors
from jupyter_launcher.engine.protocol import Progress
from jupyter_launcher.engine.shapes import expect_shape
from jupyter_launcher.engine.types import ImageInfo
from jupyter_launcher.errors import EngineError, ImageBuildError, ImageNotFoundError, OptionError
from jupyter_launcher.models import BuildOptions
from jupyter_launcher.models.options import HiddenTexts, show_value
from jupyter_launcher.threads import run_in_thread
from jupyter_launcher.waiting import Deadline, within

__all__ = [
    "CONTEXTS",
    "DEFAULT_GATEWAY_IMAGE",
    "DEFAULT_IMAGE",
    "OWN_NAMES",
    "ImageStore",
    "check_pull",
    "context_dir",
    "packages_tag",
    "tag_of",
]

_INPUTS = "jupyter-launcher.inputs"
OWN_NAMES = "jupyter-launcher/"
"""How a name begins of an image that is built, and on no registry."""
_TAIL_LINES = 40
_POLL = 0.05
_STREAM_END = object()
_Items = queue.SimpleQueue[tuple[Any, BaseException | None]]
_BUILD_HINT = (
    "behind a proxy or without a registry, give the build a base image, CA certificates, an index URL or proxies "
    "(BuildOptions, or `jupyter-launcher build --help`)"
)
_HASH_ERROR = re.compile(r"DO NOT MATCH THE HASHES|in --require-hashes mode", re.IGNORECASE)  # pip's words
_HASH_HINT = (
    "the pinned hashes are those of the files for Python 3.13 on linux/amd64 and linux/arm64; for another Python, or "
    "an index that packs its files anew, build with BuildOptions(require_hashes=False), or `jupyter-launcher build "
    "--no-require-hashes`"
)
_STEP = re.compile(r"(?:Step|STEP) (\d+)/(\d+) ?: ")  # Docker's, Podman's


DEFAULT_IMAGE, DEFAULT_GATEWAY_IMAGE = (tag_of(name) for name in CONTEXTS)


class ImageStore:
    """The images of one engine: what :class:`~jupyter_launcher.engine.protocol.Images` says."""

    def __init__(self, api: Callable[[], APIClient], endpoint: str, proxies: HiddenTexts | None = None) -> None:
        self._api = api
        self._endpoint = endpoint
        self._proxies = proxies or HiddenTexts()

    def find(self, image: str) -> str | None:
        """The id of an image; None when the engine has none of this name."""
        found = self.inspect(image)
        return None if found is None else found.id

    def ensure(self, image: str, pull: str, options: BuildOptions, deadline: Deadline, on_progress: Progress) -> None:
        """See that the engine has an image: ours are built, others pulled.

        Raises:
            OptionError: ``pull`` is none of ``missing``, ``always``, ``never``.
            ImageNotFoundError, ImageBuildError: the image is not there, and could not be had.
        """
        if check_pull(pull) != "always" and self.find(image) is not None:
            return
        if pull == "never":
            msg = f"image {image} is not on the engine, and pull is 'never'"
            raise ImageNotFoundError(msg, hint="build or pull it first", status=404, image=image)
        ours = next(
            (name for name in (*CONTEXTS, NOTEBOOK) if image in (tag_of(name), packages_tag(name, options))), None
        )
        if ours is None and image.startswith(OWN_NAMES):
            msg = f"image {image} is not on the engine, and this launcher builds another one"
            hint = "build it again: `jupyter-launcher build`, with the requirements that it is named for"
            raise ImageNotFoundError(msg, hint=hint, status=404, image=image)
        if ours is None:
            self._pull(image, deadline, on_progress)
        else:
            given = replace(options, requirements=None) if image == tag_of(ours) else options
            self.build(ours, image, given, deadline, on_progress)

    def _pull(self, image: str, deadline: Deadline, on_progress: Progress) -> None:
        # Without a tag the engine would pull all of them.
        name = image if "@" in image or ":" in image.rpartition("/")[2] else f"{image}:latest"
        try:
            with translate_errors(f"pull {name}", self._endpoint):
                layers: dict[str, tuple[int, int]] = {}
                for item in _read(lambda: self._api().pull(name, stream=True, decode=True), deadline):
                    with expect_shape(f"a pull of {name}"):
                        _report_pull(item, layers, on_progress)
        except EngineError as error:
            msg = f"image {image} is not on the engine and cannot be pulled: {error.message}"
            hint = "check the image's name, or `docker login` to its registry"
            raise ImageNotFoundError(msg, hint=hint, status=error.status, image=image) from error

    def build(
        self,
        name: str,
        tag: str,
        options: BuildOptions,
        deadline: Deadline,
        on_progress: Progress,
        *,
        force: bool = False,
    ) -> None:
        """Build one of our images; nothing is done when its inputs did not change.

        With ``options.requirements``, a layer upon it, which is built only where it is missing; so is the image below
        the one for notebooks.

        Raises:
            OptionError: no such image of ours, or a certificate that cannot be read.
            ImageBuildError: with the end of what the build printed.
        """
        layer = find_layer(name, options)
        if layer is None:
            files, base_image = _context_files(context_dir(name), options.ca_certificates), options.base_image
            arguments: dict[str, str] = {}
        else:
            files, base_image = dict(layer.files), layer.below
            arguments = {"BASE_IMAGE": layer.below, "DEBIAN_PACKAGES": layer.debian_packages}
            self.ensure(layer.below, "missing", replace(options, requirements=None), deadline, on_progress)
        base = self.find(base_image) if base_image else None
        inputs = digest_inputs(files, {**options.to_build_args(), **arguments, "base": base or ""})
        existing = self.inspect(tag)
        if existing is not None and not force and (_INPUTS, inputs) in existing.labels.items():
            return
        build_id = uuid.uuid4().hex
        tail: list[str] = []
        try:
            with translate_errors(f"build {tag}", self._endpoint):
                start = functools.partial(
                    self._api().build,
                    fileobj=pack_files(files),
                    custom_context=True,
                    tag=tag,
                    rm=True,
                    forcerm=True,
                    nocache=force,
                    decode=True,
                    use_config_proxy=False,  # the SDK does not find what is for one engine alone
                    buildargs={**options.to_build_args(self._proxies), **arguments, "BUILD_ID": build_id},
                    labels={_INPUTS: inputs},
                    timeout=math.ceil(deadline.seconds),
                )
                for item in _read(start, deadline):
                    with expect_shape(f"a build of {tag}"):
                        _report_build(item, tail, on_progress)
        except EngineError as error:
            msg = f"image {tag} could not be built: {error.message}"
            hint = _HASH_HINT if any(map(_HASH_ERROR.search, tail)) else _BUILD_HINT
            raise ImageBuildError(msg, hint=hint, status=error.status, image=tag, log_tail="\n".join(tail)) from error
        finally:
            self._prune(build_id)
        if existing is not None and self.find(tag) != existing.id:
            self._remove_replaced(existing.id)

    def _prune(self, build_id: str) -> None:
        # The first stage of a build stays behind as an image without a name; the Dockerfiles label it.
        with translate_errors("remove the build's first stage", self._endpoint):
            self._api().prune_images(filters={"dangling": True, "label": f"jupyter-launcher.build={build_id}"})

    def _remove_replaced(self, image: str) -> None:
        # Its name is the new image's now; where containers still use it, it stays.
        try:
            with translate_errors("remove the image that was replaced", self._endpoint):
                self._api().remove_image(image)
        except EngineError as error:
            if error.status not in (404, 409):
                raise

    def inspect(self, image: str) -> ImageInfo | None:
        """An image by its name; None when the engine has none of this name."""
        try:
            with translate_errors(f"inspect image {image}", self._endpoint):
                return ImageInfo.from_inspect(self._api().inspect_image(image))
        except EngineError as error:
            if error.status == 404:
                return None
            raise


def check_pull(value: object) -> str:
    """When to pull an image, or to build ours.

    Raises:
        OptionError: it is none of ``missing``, ``always``, ``never``.
    """
    if not isinstance(value, str) or value not in ("missing", "always", "never"):
        msg = f"pull is {show_value(value)}"
        raise OptionError(msg, hint="give 'missing', 'always' or 'never'", option="pull")
    return value


def _read(start: Callable[[], Iterable[Any]], deadline: Deadline) -> Iterator[Any]:
    """The items of a stream of the SDK, until the deadline or a cancel of the act, which both close its connection.

    Its first answer and each next item may be long in coming, so a thread of its own waits for them.

    Raises:
        EngineError: the deadline passed.
    """
    items: _Items = queue.SimpleQueue()
    left = threading.Event()
    run_in_thread(lambda: _put_items(start, deadline, items, left))
    try:
        while True:
            check_cancelled()
            with contextlib.suppress(queue.Empty):
                item, error = items.get(timeout=_POLL)
                if item is _STREAM_END:
                    return
                if error is not None:
                    check_cancelled()
                    raise (_late(deadline) if deadline.expired() else error) from error.__cause__
                yield item
            if deadline.expired():
                raise _late(deadline)
    finally:
        left.set()


def _put_items(start: Callable[[], Iterable[Any]], deadline: Deadline, items: _Items, left: threading.Event) -> None:
    """Put each item of a stream, and then its end or an error, into a queue, until its reader has left."""
    try:
        with within(deadline):
            stream = start()
            response = _response_of(stream)
            with contextlib.nullcontext() if response is None else streams.open_stream(response):
                for item in stream:
                    items.put((item, None))
                    if left.is_set():
                        return
                    if response is not None:
                        streams.limit_read(response, deadline)
        items.put((_STREAM_END, None))
    except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
        items.put((None, error))


def _response_of(stream: Iterable[Any]) -> requests.Response | None:
    """The answer that a generator of the SDK reads: there is no public way to it."""
    frame = getattr(stream, "gi_frame", None)
    found = None if frame is None else frame.f_locals.get("response")
    return found if isinstance(found, requests.Response) else None


def _late(deadline: Deadline) -> EngineError:
    return _failure(f"not done after {deadline.seconds:g} s", "raise timeouts.image")


def _failure(message: str, hint: str = "see what the engine says") -> EngineError:
    return EngineError(message, hint=hint)


def _report_pull(item: Mapping[str, Any], layers: dict[str, tuple[int, int]], on_progress: Progress) -> None:
    if "error" in item:
        raise _failure(str(item["error"]))
    _count(item, layers)
    done, total = (sum(layer[index] for layer in layers.values()) for index in (0, 1))
    on_progress(" ".join(str(item[key]) for key in ("id", "status") if item.get(key)), done, total)


def _report_build(item: Mapping[str, Any], tail: list[str], on_progress: Progress) -> None:
    if "error" in item:
        raise _failure(str(item["error"]).strip())
    for line in str(item.get("stream") or item.get("status") or "").splitlines():
        if line.strip():
            tail.append(line.rstrip())
            del tail[:-_TAIL_LINES]
            if step := _STEP.match(line):
                on_progress(line.strip(), int(step[1]) - 1, int(step[2]))


def _count(item: Mapping[str, Any], layers: dict[str, tuple[int, int]]) -> None:
    """Record how many bytes of a layer are there; the engine counts them only during the download."""
    layer, detail = str(item.get("id", "")), item.get("progressDetail") or {}
    if item.get("status") == "Downloading" and detail.get("total"):
        layers[layer] = (int(detail["current"]), int(detail["total"]))
    elif layer in layers:  # the steps after the download count no bytes
        layers[layer] = (layers[layer][1], layers[layer][1])
