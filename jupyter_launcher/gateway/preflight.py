"""What is seen to before kernels in containers are started: their images, their mounts, their limits."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, MutableMapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from jupyter_launcher.engine.protocol import Engine
from jupyter_launcher.engine.traits import EngineTraits
from jupyter_launcher.engine.types import BindMount, ContainerConfig, ContainerInfo
from jupyter_launcher.errors import EngineError, KernelImageError, OptionError, PipelineDirError, UnsupportedOptionError
from jupyter_launcher.gateway.limits import describe_refusal, describe_unenforced, refuse_unenforced
from jupyter_launcher.host.address import EngineAddress
from jupyter_launcher.host.mounts import check_points
from jupyter_launcher.host.pipeline_dir import check_mount_sources
from jupyter_launcher.host.process import process_mark
from jupyter_launcher.host.rules import DirectoryRules
from jupyter_launcher.models import KernelImage, Volume
from jupyter_launcher.models.options import HiddenTexts, show_value
from jupyter_launcher.spec.checks import check_cpus, check_size
from jupyter_launcher.spec.container import find_unenforced
from jupyter_launcher.spec.engine_options import check_gpus
from jupyter_launcher.spec.kernels.found import FoundKernel, NoKernelError, Seen, find_kernel, parse_seen
from jupyter_launcher.spec.kernels.options import KernelOptions
from jupyter_launcher.spec.labels import helper_labels, helper_name
from jupyter_launcher.spec.mounts import find_mount_points, to_bind
from jupyter_launcher.spec.server import read_script
from jupyter_launcher.threads import map_at_once
from jupyter_launcher.waiting import Deadline

__all__ = [
    "check_kernel_limits",
    "check_kernel_mount_points",
    "check_kernel_mounts",
    "find_kernels",
    "try_kernel_mounts",
]

_SCRIPT = "kernels/look_at_kernels.sh"
_LOOK_SECONDS = 30.0
_MOST_KNOWN = 256
_SHOWN_LINES = 10
_SHOWN = 2000  # characters
_NOT_FOUND = 127  # the exit code of a container whose program is not there
_NO_FIRST = "failed to exec pid1: No such file"  # catatonit, Podman's init, names no program
_OTHER_MACHINE = re.compile(r"exec format error", re.IGNORECASE)
# As tini, runc and crun say it; and not as a shell says it of another program.
_NO_SHELL = re.compile(
    r"exec(utable file|:| container process)? [\"`']?(/bin/)?sh\b[\"`']?.*(no such file|not found)", re.IGNORECASE
)
_NO_SH = ("has no `sh` on its PATH", "install one: kernels are started by it")
_NO_MACHINE = (
    "is for another kind of processor than the engine's",
    "pull or build it for that of the engine's host, or install an emulator there",
)


class _UnseenError(Exception):
    """A look has seen nothing: why, as the end of a sentence about the image; what to do; what was printed."""

    def __init__(self, seen: str, hint: str, output: str) -> None:
        super().__init__(seen)
        self.seen = seen
        self.hint = hint
        self.output = output


def find_kernels(
    engine: Engine, options: KernelOptions, user: str, *, known: MutableMapping[object, Seen] | None = None
) -> Mapping[str, FoundKernel]:
    """The kernel of each image, by the look of a short-lived container without a network, all at once.

    The containers have the limits of the kernels, so that an engine refuses now what it would refuse later. The images
    are on the engine.

    Args:
        engine: that has them.
        options: as they were checked.
        user: of the kernels, ``uid:gid``.
        known: what was seen before: nobody looks again for the same. None: each is looked at.

    Raises:
        KernelImageError: an image has no kernel, more than one and none named ``python3``, or not what its isolation
            needs; or nobody can look into it.
        OptionError: the engine cannot give one of the limits, or does not enforce it.
        EngineError: the engine does not answer.
    """
    configs = {name: _look_config(image, user, engine.proxies) for name, image in options.images.items()}
    looks: list[ContainerConfig] = []
    for config in configs.values():
        if config not in looks:
            looks.append(config)
    look = partial(_try_look, engine, {} if known is None else known)
    results = map_at_once(look, looks, threads=len(looks))
    needs_python = options.isolation == "environment"
    return {
        name: _find(name, image, results[looks.index(configs[name])], needs_python=needs_python)
        for name, image in options.images.items()
    }


def _look_config(image: KernelImage, user: str, proxies: HiddenTexts) -> ContainerConfig:
    return ContainerConfig(
        image=image.image,
        entrypoint=("sh", "-c", read_script(_SCRIPT), "look", image.argv[0] if image.argv else ""),
        keep_entrypoint=image.entrypoint,
        user=user,
        working_dir="/",
        environment={**proxies.values, **(image.environment or {})},
        labels=helper_labels("look", process_mark()),
        memory=check_size(image.memory, "memory"),
        cpus=check_cpus(image.cpus, "cpus"),
        shm_size=check_size(image.shm_size, "shm_size"),
        gpus=check_gpus(image.gpus, "gpus"),
        log_is_read=True,
    )


def _find(name: str, image: KernelImage, seen: Seen | _UnseenError | OptionError, *, needs_python: bool) -> FoundKernel:
    try:
        if not isinstance(seen, Seen):
            raise seen
        return find_kernel(name, image, seen, needs_python=needs_python)
    except OptionError as error:
        raise _of_kernel(name, error) from error
    except (NoKernelError, _UnseenError) as error:
        output = error.output if isinstance(error, _UnseenError) else ""
        said = f"; it printed last {show_value(output.splitlines()[-1])}" if output else ""
        msg = f"kernel {name!r} cannot run: image {image.image} {error.seen}{said}"
        raise KernelImageError(msg, hint=error.hint, kernel=name, image=image.image, output=output) from error


def _of_kernel(name: str, error: OptionError) -> OptionError:
    """The error about an option of a container, as one about that of a kernel."""
    msg = f'kernels["{name}"]: {error.message}'
    if isinstance(error, UnsupportedOptionError):
        return UnsupportedOptionError(msg, hint=error.hint, option="kernels", status=error.status)
    return OptionError(msg, hint=error.hint, option="kernels")


def _try_look(
    engine: Engine, known: MutableMapping[object, Seen], config: ContainerConfig
) -> Seen | _UnseenError | OptionError:
    """What is in an image, or why nobody can look: of several errors the first kernel's is told, not the first."""
    # Another image may have the name by now. No repr of a configuration has the environment.
    look = (engine.images.find(config.image), repr(config), frozenset(config.environment.items()))
    found = known.get(look)
    if found is not None:
        return found
    try:
        found = _run_look(engine, config)
    except (_UnseenError, OptionError) as error:
        return error
    if len(known) >= _MOST_KNOWN:
        known.clear()
    known[look] = found
    return found


def _run_look(engine: Engine, config: ContainerConfig) -> Seen:
    """Look into an image.

    Raises:
        _UnseenError: it cannot be done.
        OptionError: the engine cannot give one of the limits, or does not enforce it.
        EngineError: the engine does not answer.
    """
    mark = uuid.uuid4().hex
    config = replace(config, entrypoint=(*(config.entrypoint or ()), mark))
    try:
        with engine.temporary(config, helper_name("look", uuid.uuid4().hex)) as container:
            code = engine.wait(container, Deadline(_LOOK_SECONDS))
            printed = engine.logs(container)
            info = engine.inspect(container)
    except EngineError as error:
        described = _describe_words(error.message)
        if described is None:
            raise describe_refusal(config, error) or error from error.__cause__
        raise _UnseenError(*described, _cut(error.message)) from error
    for option in [] if info is None else find_unenforced(config, info):
        raise describe_unenforced(option, "its kernels")
    try:
        seen = parse_seen(printed, mark)
    except ValueError as error:
        if code is None:
            raise _describe_slow(printed, mark) from error
        cause = "was killed for memory" if info is not None and info.oom_killed else f"ended with exit code {code}"
        said = f"could not be looked into: the look {cause}, and {error}"
        hint = "see that sh, sed, tr and base64 or od work in it, and whether memory= is enough for them"
        raise _UnseenError(said, hint, _cut(printed, mark)) from error
    if seen is None:
        raise _describe_unseen(printed, code, info if config.keep_entrypoint else None)
    return seen


def _describe_unseen(printed: str, code: int | None, info: ContainerInfo | None) -> _UnseenError:
    """Why a look did not even begin; ``info``: of a container with the image's ENTRYPOINT."""
    entrypoint = () if info is None else info.entrypoint
    described = _describe_words(printed)
    if described is None and entrypoint:
        ended = "does not end" if code is None else f"ended with exit code {code}"
        said = f"has the ENTRYPOINT {' '.join(entrypoint)[:200]!r}, which {ended} and did not run its arguments"
        described = said, 'give KernelImage(entrypoint=False), or let it end in `exec "$@"`'
    if described is None and code is None:
        return _describe_slow(printed)
    if described is None and (code == _NOT_FOUND or _NO_FIRST in printed):
        described = _NO_SH
    said, hint = described or (f"ran nothing: exit code {code}", "see what its `sh` does there")
    return _UnseenError(said, hint, _cut(printed))


def _describe_slow(printed: str, mark: str = "\0") -> _UnseenError:
    said = f"could not be looked into within {_LOOK_SECONDS:g} s"
    hint = "see what its Python does as it starts, and how busy the engine's host is"
    return _UnseenError(said, hint, _cut(printed, mark))


def _describe_words(text: str) -> tuple[str, str] | None:
    """What an engine's or an init's words say of a program that cannot be run."""
    if _OTHER_MACHINE.search(text):
        return _NO_MACHINE
    return _NO_SH if any(map(_NO_SHELL.search, text.splitlines())) else None


def _cut(printed: str, mark: str = "\0") -> str:
    """The last lines that others than the look have printed; some print the arguments that they get."""
    text = printed.replace(read_script(_SCRIPT), "...")
    lines = [line for line in text.strip().splitlines() if mark not in line]
    return "\n".join(lines[-_SHOWN_LINES:])[-_SHOWN:]


def check_kernel_mounts(address: EngineAddress, options: KernelOptions, rules: DirectoryRules) -> None:
    """See that the rules of the launcher let the sources of the kernels' mounts through.

    Raises:
        PipelineDirError: they do not, or this process may not look at one; it names the kernel.
    """
    for name, image in options.images.items():
        try:
            check_mount_sources(address, tuple(image.mounts), rules)
        except PipelineDirError as error:
            msg = f'kernels["{name}"].mounts: {error.message}'
            raise PipelineDirError(msg, hint=error.hint, path=error.path) from error


def try_kernel_mounts(engine: Engine, options: KernelOptions, user: str) -> None:
    """Have the engine mount what each image's kernels mount of the host, in containers that do nothing, all at once.

    Else a broker would be the first to meet a source that is not there, when somebody starts a kernel. Volumes are left
    out, since the engine would make them.

    Raises:
        OptionError: the engine cannot give a mount its propagation.
        EngineError: the engine does not answer, or refuses a mount.
    """
    bound = [
        (name, image.image, mounts)
        for name, image in options.images.items()
        if (mounts := tuple(to_bind(item) for item in image.mounts if item.type == "bind"))
    ]
    map_at_once(lambda item: _try_mounts(engine, *item, user), bound, threads=len(bound))


def _try_mounts(engine: Engine, name: str, image: str, mounts: tuple[BindMount, ...], user: str) -> None:
    config = ContainerConfig(
        image=image,
        entrypoint=("sh", "-c", ":"),
        user=user,
        labels=helper_labels("look", process_mark()),
        mounts=mounts,
    )
    try:
        with engine.temporary(config, helper_name("look", uuid.uuid4().hex)):
            pass
    except EngineError as error:
        refused = describe_refusal(config, error)
        if isinstance(refused, OptionError):
            raise _of_kernel(name, refused) from error
        raise


def check_kernel_mount_points(
    engine: Engine, address: EngineAddress, options: KernelOptions, pipeline_dir: Path | Volume, user: str
) -> None:
    """See that mount points of the kernels inside the pipeline directory, or inside another mount, are there already.

    The engine would make them, as root. The images are on the engine.

    Raises:
        OptionError: one is not there, is of the other kind, or cannot be seen; it names the kernel.
        EngineError: the engine does not answer.
    """
    for name, image in options.images.items():
        mounts = tuple(image.mounts)
        points = find_mount_points(pipeline_dir, mounts)
        try:
            check_points(engine, address, points, mounts, user=user, image=image.image)
        except OptionError as error:
            raise _of_kernel(name, error) from error


def check_kernel_limits(traits: EngineTraits, options: KernelOptions) -> None:
    """Refuse limits of kernels that the engine does not enforce, by its own information.

    Raises:
        OptionError: it names the kernel and the limit.
    """
    for name, image in options.images.items():
        memory, cpus = check_size(image.memory, "memory"), check_cpus(image.cpus, "cpus")
        try:
            refuse_unenforced(traits, memory=memory, cpus=cpus, what="its kernels")
        except OptionError as error:
            raise _of_kernel(name, error) from error
