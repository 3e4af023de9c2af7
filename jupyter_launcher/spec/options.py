"""What a caller asked for, checked and made plain: ``SessionSpec``.

A new option of ``Launcher.start`` is written in its signature, in the two classes here, and where it acts. The command
takes from here how it spells and reads each option.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from jupyter_launcher.engine.types import LOG_SIZE
from jupyter_launcher.models import KernelImage, Mount, RunningGateway, Secret, Timeouts, Volume
from jupyter_launcher.models.kernels import Isolation
from jupyter_launcher.models.options import HiddenTexts, Spelling
from jupyter_launcher.spec import checks, texts
from jupyter_launcher.spec.embedding import check_origin
from jupyter_launcher.spec.engine_options import (
    check_container_options,
    check_extra_hosts,
    check_gpus,
    check_groups,
    check_ports,
    refuse_host_ports,
    refuse_unsafe,
)
from jupyter_launcher.spec.kernels.options import KernelOptions
from jupyter_launcher.spec.kernels.session import check_session_kernels
from jupyter_launcher.spec.label_texts import describe_differences, option_to_plain
from jupyter_launcher.spec.mounts import (
    check_home,
    check_mounts,
    check_relabel,
    check_tmpfs,
    refuse_beside_home,
    refuse_tmpfs_targets,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["SPELLINGS", "SessionOptions", "SessionSpec", "StartOptions", "differences"]


class SessionOptions(TypedDict, total=False):
    """The options of ``Launcher.start`` that make one session differ from another, as callers give them."""

    gateway: str | RunningGateway | None
    kernels: Mapping[str, str | KernelImage] | None
    isolation: Isolation
    max_kernels: int
    kernel_idle: int | None
    network: str | None
    host_ip: str | None
    host_port: int | None
    ports: Mapping[int | str, int | None] | None
    extra_hosts: Mapping[str, str] | None
    base_url: str
    allow_origin: str | None
    groups: Collection[int | str]
    umask: int | str | None
    environment: Mapping[str, str] | None
    secrets: Mapping[str, str] | None
    mounts: Iterable[Mount]
    tmpfs: Mapping[str, int | str] | None
    home: str | os.PathLike[str] | Volume | None
    token: Secret | Callable[[], str] | None
    pipeline_relabel: Literal["z", "Z"] | None
    pipeline_read_only: bool
    memory: int | str | None
    cpus: float | None
    shm_size: int | str | None
    gpus: int | str | Collection[str] | None
    read_only: bool
    tune: bool
    lease: int | None
    entrypoint: bool
    idle_timeout: int | None
    idle_kernel_timeout: int | None
    log_size: int | str | None
    labels: Mapping[str, str] | None
    lab_args: Iterable[str]
    container_options: Mapping[str, object] | None
    unsafe: bool
    constraints: Collection[str]


class StartOptions(SessionOptions, total=False):
    """All options of ``Launcher.start``, for what hands them on: ``**options: Unpack[StartOptions]``."""

    session_id: str | None
    image: str | None
    pull: Literal["missing", "always", "never"]
    user: str | int | None
    timeouts: Timeouts | None
    cancel: threading.Event | None


def _option(
    check: Callable[..., object] | None,
    line: str,
    text: str,
    reads: str = "text",
    *,
    default: object = None,
    **more: Any,
) -> Any:
    """A field with its check, and with how the command spells it. None: it is checked together with others."""
    made = {"default_factory": default} if isinstance(default, type) else {"default": default}
    return field(metadata={"check": check, "spelling": Spelling.of(line, text, reads)}, **made, **more)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSpec:
    """One session as requested, after all checks: paths are absolute, sizes in bytes.

    ``user`` is ``uid:gid``, or a name that the image knows. ``environment`` may hold secrets of the
    caller, so it stays out of the ``repr`` and only its digest goes into a label. ``pipeline_dir_id`` is
    ``<device>:<inode>`` of the directory that was looked at; None: not known.
    """

    session_id: str
    namespace: str
    pipeline_dir: Path | Volume
    pipeline_dir_id: str | None = None
    user: str
    image: str
    gateway: str | None = _option(checks.check_gateway, "--gateway NAME", "A kernel gateway: NAME, NAME:PORT or a URL.")
    kernels: KernelOptions | None = _option(  # noqa: RUF009 - it makes a field
        None, "--kernel NAME=IMAGE[,...]", "A kernel, and the image in which it runs.", "kernels"
    )
    network: str | None = _option(
        checks.check_network, "--network NAME", "The network to join, where the gateway is on several."
    )
    host_ip: str = _option(
        checks.check_host_ip, "--host-ip ADDRESS", "The host's address to publish on.", default=checks.LOOPBACK
    )
    host_port: int | None = _option(
        checks.check_host_port, "--port PORT", "The host's port; a free one otherwise.", "whole"
    )
    ports: Mapping[str, int | None] = _option(
        check_ports, "--publish [HOST:]PORT[/udp]", "One more port of the container.", "ports", default=dict
    )
    extra_hosts: Mapping[str, str] = _option(
        check_extra_hosts, "--add-host NAME=ADDRESS", "A name; host-gateway: the engine's host.", "pairs", default=dict
    )
    base_url: str = _option(checks.check_base_url, "--base-url PATH", "The path of the server's URL.", default="/")
    allow_origin: str | None = _option(check_origin, "--allow-origin ORIGIN", "Whose pages may show it in frames.")
    groups: tuple[str, ...] = _option(
        check_groups, "--group-add GROUP", "One more group of the user.", "texts", default=()
    )
    umask: str | None = _option(checks.check_umask, "--umask OCTAL", "The umask of the session, such as 0002.")
    environment: Mapping[str, str] = _option(
        texts.check_environment, "--env NAME[=TEXT]", "A variable.", "variables", default=dict, repr=False
    )
    secrets: HiddenTexts = _option(  # noqa: RUF009 - it makes a field
        texts.check_secrets, "--secret NAME[=FILE]", "A secret text.", "secrets", default=HiddenTexts, repr=False
    )
    mounts: tuple[Mount, ...] = _option(
        check_mounts, "--mount source=PATH,target=PATH[,...]", "One more mount.", "mounts", default=()
    )
    home: str | Volume | None = _option(  # noqa: RUF009 - it makes a field
        check_home, "--home DIR", "Keeps settings and packages: an absolute path, or volume:NAME.", "place"
    )
    token: Secret | None = _option(  # noqa: RUF009 - it makes a field
        texts.check_token, "--token-file FILE", "The token to ask the server with.", "token", repr=False
    )
    tmpfs: Mapping[str, int] = _option(
        check_tmpfs, "--tmpfs PATH=SIZE", "A file system in memory, such as /scratch=1g.", "pairs", default=dict
    )
    pipeline_relabel: str | None = _option(
        check_relabel, "--pipeline-relabel z|Z", "DIR's label, on hosts with SELinux."
    )
    pipeline_read_only: bool = _option(
        checks.check_flag, "--pipeline-read-only", "The session cannot write to DIR.", "flag", default=False
    )
    memory: int | None = _option(checks.check_size, "--memory SIZE", "The most it may use, such as 2g.")
    cpus: float | None = _option(checks.check_cpus, "--cpus CORES", "The most cores it may use, such as 1.5.", "number")
    shm_size: int | None = _option(checks.check_size, "--shm-size SIZE", "The size of /dev/shm.")
    gpus: int | str | tuple[str, ...] | None = _option(
        check_gpus, "--gpus all|NUMBER|device=ID,...", "GPUs: all, how many, or which.", "gpus"
    )
    read_only: bool = _option(
        checks.check_flag, "--read-only", "The container's own files cannot be written.", "flag", default=False
    )
    tune: bool = _option(checks.check_flag, "--tune/--no-tune", "Start the server faster.", "flag", default=True)
    lease: int | None = _option(checks.check_lease, "--lease SECONDS", "It ends unless the lease is renewed.", "whole")
    idle_timeout: int | None = _option(
        checks.check_idle, "--idle-timeout SECONDS", "It ends when nobody has used it for so long.", "whole"
    )
    idle_kernel_timeout: int | None = _option(
        checks.check_idle,
        "--idle-kernel-timeout SECONDS",
        "Kernels end when they have run nothing for so long.",
        "whole",
    )
    log_size: int | None = _option(
        checks.check_log_size,
        "--log-size SIZE|none",
        "The size of its log; none: the engine's setting.",
        "size",
        default=LOG_SIZE,
    )
    labels: Mapping[str, str] = _option(
        texts.check_labels, "--label NAME=TEXT", "One more label of the container.", "pairs", default=dict
    )
    lab_args: tuple[str, ...] = _option(
        texts.check_lab_args, "--lab-arg ARGUMENT", "One more argument for jupyter lab.", "texts", default=()
    )
    entrypoint: bool = _option(
        checks.check_flag, "--entrypoint/--no-entrypoint", "The image's ENTRYPOINT runs.", "flag", default=True
    )
    container_options: Mapping[str, Any] = _option(
        check_container_options, "--container-option NAME=JSON", "By the engine's name.", "documents", default=dict
    )
    unsafe: bool = _option(
        checks.check_flag, "--unsafe", "Container options may open the engine's host.", "flag", default=False
    )
    constraints: tuple[str, ...] = _option(
        texts.check_constraints, "--constraint EXPRESSION", "Which nodes of a swarm may run it.", "texts", default=()
    )

    @classmethod
    def from_options(
        cls,
        *,
        session_id: str,
        namespace: str,
        pipeline_dir: Path | Volume,
        pipeline_dir_id: str | None = None,
        user: str,
        image: str,
        **options: Unpack[SessionOptions],
    ) -> SessionSpec:
        """Check the options of ``Launcher.start``.

        Args:
            session_id: the idempotency key.
            namespace: the launcher's.
            pipeline_dir: the directory on the engine's host, or the volume.
            pipeline_dir_id: which directory it is, as ``<device>:<inode>``; None: not known.
            user: who works in it, ``uid[:gid]`` or a name.
            image: of the server.
            options: as the caller gave them.

        Raises:
            OptionError: naming the option and what it may be.
        """
        given: Mapping[str, Any] = options
        checked = {
            item.name: check(given[item.name], item.name)
            for item in fields(cls)
            if item.name in given and (check := item.metadata["check"]) is not None
        }
        spec = cls(
            session_id=checks.check_name(session_id, "session_id"),
            namespace=checks.check_name(namespace, "namespace"),
            pipeline_dir=pipeline_dir,
            pipeline_dir_id=pipeline_dir_id,
            user=checks.check_user(user, "user"),
            image=checks.check_image(image, "image"),
            kernels=check_session_kernels(given, user),
            **checked,
        )
        check_relabel(spec.pipeline_relabel, "pipeline_relabel", pipeline_dir)
        texts.refuse_own_name(spec.gateway, spec.container_options, spec.extra_hosts)
        refuse_host_ports(spec.ports, spec.host_port, "ports")
        refuse_tmpfs_targets(spec.tmpfs, spec.mounts, has_home=spec.home is not None)
        refuse_unsafe({} if spec.unsafe else spec.container_options, "container_options")
        texts.check_argument_size(spec.environment, spec.lab_args, spec.secrets)
        if spec.home is not None:
            refuse_beside_home(spec.mounts, spec.environment)
        if spec.allow_origin is not None:
            texts.check_embedding_arguments(spec.lab_args)
        return spec

    def to_options(self) -> dict[str, object]:
        """What makes two starts of the same session id the same, as plain JSON values.

        Options that have their default are left out, so a session that an older version started compares equal
        where a newer version has more options. The environment is replaced by a digest: labels are readable by
        everyone who may ask the engine. Of secrets only the names are there.
        """
        return {
            item.name: value
            for item in fields(self)
            if item.name not in ("session_id", "namespace", "pipeline_dir_id", "unsafe")
            and (value := option_to_plain(item.name, getattr(self, item.name))) != _DEFAULTS.get(item.name, MISSING)
        }


_WITH: Mapping[str, Mapping[str, Spelling]] = {
    "kernels": {
        "isolation": Spelling.of("--isolation environment|kernel", "One container for each image, or for each kernel."),
        "max_kernels": Spelling.of("--max-kernels NUMBER", "How many may run at once.", "whole"),
        "kernel_idle": Spelling.of("--kernel-idle SECONDS", "Kernels end that have run nothing for so long.", "whole"),
    }
}
"""The options that are checked together with another, and come after it."""

SPELLINGS: Mapping[str, Spelling] = {
    "session_id": Spelling.of("--session-id ID", "Asking again with the same id gives the same session."),
    "image": Spelling.of("--image NAME", "Any image with sh and JupyterLab 3 or newer."),
    "pull": Spelling.of("--pull missing|always|never", "When to pull the image, or to build the default image."),
    "user": Spelling.of("--user UID[:GID]", "Whom the server runs as; the directory's owner otherwise."),
    **{
        name: spelling
        for item in fields(SessionSpec)
        if "spelling" in item.metadata
        for name, spelling in {item.name: item.metadata["spelling"], **_WITH.get(item.name, {})}.items()
    },
    "timeouts": Spelling.of("--timeout NAME=SECONDS", "How long to wait for what, such as start=120.", "timeouts"),
}
"""How the command spells each option of ``Launcher.start`` that it has."""


def _defaults() -> dict[str, object]:
    given = {
        item.name: item.default if item.default_factory is MISSING else item.default_factory()
        for item in fields(SessionSpec)
    }
    plain = {name: option_to_plain(name, value) for name, value in given.items() if value is not MISSING}
    return {"image": "", **plain}


_DEFAULTS = _defaults()


def differences(before: Mapping[str, object], now: Mapping[str, object]) -> tuple[str, ...]:
    """A line for each option that differs between two results of ``SessionSpec.to_options``.

    An option that is absent has its default. An option that this version does not know, set by a newer one,
    counts as a difference.
    """
    return describe_differences(before, now, _DEFAULTS)
