"""What a start checks before it makes anything, and the errors of one that is refused or cancelled."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jupyter_launcher.engine.traits import EngineTraits
from jupyter_launcher.engine.types import ContainerConfig
from jupyter_launcher.errors import (
    EngineError,
    LauncherError,
    OptionError,
    PipelineDirError,
    StartCancelledError,
    UnsupportedOptionError,
)
from jupyter_launcher.host.mounts import check_mount_points
from jupyter_launcher.host.pipeline_dir import PipelineDir, check_home, check_mount_sources, resolve_pipeline_dir
from jupyter_launcher.host.volumes import DEFAULT_USER
from jupyter_launcher.models import Volume
from jupyter_launcher.sessions.context import Context
from jupyter_launcher.sessions.join import find_session, refuse_lost_directory
from jupyter_launcher.spec.checks import check_cores, check_image, check_user
from jupyter_launcher.spec.engine_options import check_groups
from jupyter_launcher.spec.options import SessionSpec

__all__ = [
    "LIMITS_HINT",
    "StartRequest",
    "cancelled_start",
    "check_limits",
    "check_request",
    "describe_refusal",
    "describe_unenforced",
]

LIMITS_HINT = (
    "let the engine control memory, cpu and pids: a rootless engine needs control groups of version 2, with these "
    "controllers delegated to its user"
)
# An option, the words of Docker and Podman when they cannot give it, and what to do.
_REFUSALS = (
    (
        "gpus",
        ("select device driver", "CDI device", "nvidia-container-cli"),
        "leave gpus= out, or install NVIDIA's container toolkit on the engine's host, and see `nvidia-smi` there",
    ),
    ("groups", ("find group",), "give gids, or names that are in the image's /etc/group"),
    (
        "mounts",
        ("shared mount", "slave mount"),
        "leave the propagation out, or make the source a shared mount of the engine's host, by `mount --make-shared`",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRequest:
    """What a start needs besides the options that make a session what it is.

    Attributes:
        pipeline_dir: as the caller gave it.
        user: as the caller gave it; None: the directory's owner.
        session_id: as the caller gave it; None: one is made up, so there is nothing to join.
        image: of the server.
        pull: when to pull or build it.
    """

    pipeline_dir: str | os.PathLike[str] | Volume
    user: str | int | None
    session_id: str | None
    image: str
    pull: str


def check_request(context: Context, request: StartRequest, options: Mapping[str, Any]) -> tuple[SessionSpec, str]:
    """Check everything that can be checked before anything is made. The second is a warning, or empty."""
    check_image(request.image, "image")

    def ensure_image() -> None:  # where a container of it looks at the engine's host
        context.ensure_image(request.image, request.pull, context.reporter)

    def find_look_image() -> str:
        if request.session_id is not None:  # a session that runs is joined without the image of a new one
            with contextlib.suppress(LauncherError):
                found, _ = find_session(context, request.session_id)
                if found.running:
                    return found.image
        ensure_image()
        return request.image

    session_id = uuid.uuid4().hex[:12] if request.session_id is None else request.session_id

    def check_options(folder: PipelineDir) -> SessionSpec:
        spec = SessionSpec.from_options(
            session_id=session_id,
            namespace=context.namespace,
            pipeline_dir=folder.path,
            user=folder.user,
            image=request.image,
            pipeline_dir_id=folder.identity,
            **{**options, "host_ip": context.address.choose_publish_ip(options["host_ip"])},
        )
        check_limits(context.engine.traits, spec)
        check_mount_sources(context.address, spec.mounts, context.rules)
        check_home(context.address, spec.home, context.rules)
        return spec

    if isinstance(request.pipeline_dir, Volume):  # a look makes it where it is not there, so the rest is checked first
        user = DEFAULT_USER if request.user is None else check_user(request.user, "user")
        check_options(PipelineDir(path=request.pipeline_dir, user=user))
    try:
        folder = resolve_pipeline_dir(
            context.engine,
            context.address,
            request.pipeline_dir,
            request.user,
            image=find_look_image,
            rules=context.rules,
            groups=check_groups(options.get("groups", ()), "groups"),
        )
    except PipelineDirError as error:
        if request.session_id is not None:
            refuse_lost_directory(context, request.session_id, error)
        raise
    spec = check_options(folder)
    check_mount_points(context.engine, context.address, spec, ensure_image=ensure_image)
    return spec, folder.warning


def check_limits(traits: EngineTraits, spec: SessionSpec) -> None:
    """Refuse limits that the engine does not enforce, by its own information.

    Raises:
        OptionError: names the limit.
    """
    check_cores(spec.cpus, traits.cores)
    limits = {"memory": (spec.memory, traits.limits_memory), "cpus": (spec.cpus, traits.limits_cpus)}
    for option, (asked, is_enforced) in limits.items():
        if asked is not None and is_enforced is False:
            raise describe_unenforced(option)


def describe_unenforced(option: str) -> OptionError:
    """The error about an option that the session would be without."""
    msg = f"the engine does not enforce {option}=: the session would not have it as asked for"
    remedies = {
        "memory": LIMITS_HINT,
        "cpus": LIMITS_HINT,
        "container_options": "write the names that the API of this engine has",
    }
    remedy = remedies.get(option, "use another engine")
    return OptionError(msg, hint=f"leave {option}= out, or {remedy}", option=option)


def describe_refusal(config: ContainerConfig, error: EngineError) -> EngineError | None:
    """The error where the engine refused a container because of an option; None: because of something else."""
    for option, words, hint in _REFUSALS:
        if getattr(config, option) and any(word in error.message for word in words):
            msg = f"{option} cannot be given as asked for: {error.message}"
            return UnsupportedOptionError(msg, hint=hint, option=option, status=error.status)
    if config.engine_options and type(error) is EngineError and error.status in (400, 500):
        # Whether it is about one of them, only its words tell.
        hint = "see whether that is about one of container_options"
        return EngineError(error.message, hint=hint, status=error.status)
    return None


def cancelled_start(session_id: str, left: str) -> StartCancelledError:
    """The error for a start whose ``cancel`` was set; ``left``: what may be left."""
    what = f"session {session_id}" if session_id else "a session"
    msg = f"the start of {what} was cancelled{f'; {left}' if left else ''}"
    hint = "remove what is left, or let Launcher.reap do it" if left else "start it again if it is wanted"
    return StartCancelledError(msg, hint=hint, session_id=session_id)
