"""What a caller asked for, checked and made plain: ``SessionSpec``.

A new option of ``Launcher.start`` is written in its signature, in the two classes here, and where it acts.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from jupyter_launcher.engine.types import LOG_SIZE
from jupyter_launcher.models import Mount, RunningGateway, Secret, Volume
from jupyter_launcher.models.options import HiddenTexts
from jupyter_launcher.spec import checks, texts
from jupyter_launcher.spec.embedding import check_origin
from jupyter_launcher.spec.mounts import check_home, check_mounts, check_relabel, refuse_beside_home, to_bind

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["SessionSpec", "StartOptions", "differences"]


_OWN_IMAGE = re.compile(r"jupyter-launcher/jupyter-server:\d+(\.\d+)+\S*")
"""The default image of some version of the library."""


class StartOptions(TypedDict, total=False):
    """The options of ``Launcher.start`` that make one session differ from another, as callers give them."""

    gateway: str | RunningGateway | None
    network: str | None
    host_ip: str
    host_port: int | None
    base_url: str
    allow_origin: str | None
    environment: Mapping[str, str] | None
    secrets: Mapping[str, str] | HiddenTexts | None
    mounts: Iterable[Mount]
    home: str | os.PathLike[str] | Volume | None
    token: Secret | None
    pipeline_relabel: str | None
    pipeline_read_only: bool
    memory: int | str | None
    cpus: float | None
    shm_size: int | str | None
    gpus: int | str | None
    read_only: bool
    tune: bool
    lease: int | None
    log_size: int | str | None
    labels: Mapping[str, str] | None
    lab_args: Iterable[str]


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
    gateway: str | None = field(default=None, metadata={"check": checks.check_gateway})
    network: str | None = field(default=None, metadata={"check": checks.check_network})
    host_ip: str = field(default=checks.LOOPBACK, metadata={"check": checks.check_host_ip})
    host_port: int | None = field(default=None, metadata={"check": checks.check_host_port})
    base_url: str = field(default="/", metadata={"check": checks.check_base_url})
    allow_origin: str | None = field(default=None, metadata={"check": check_origin})
    environment: Mapping[str, str] = field(
        default_factory=dict, repr=False, metadata={"check": texts.check_environment}
    )
    secrets: HiddenTexts = field(default_factory=HiddenTexts, repr=False, metadata={"check": texts.check_secrets})
    mounts: tuple[Mount, ...] = field(default=(), metadata={"check": check_mounts})
    home: str | Volume | None = field(default=None, metadata={"check": check_home})
    token: Secret | None = field(default=None, repr=False, metadata={"check": texts.check_token})
    pipeline_relabel: str | None = field(default=None, metadata={"check": check_relabel})
    pipeline_read_only: bool = field(default=False, metadata={"check": checks.check_flag})
    memory: int | None = field(default=None, metadata={"check": checks.check_size})
    cpus: float | None = field(default=None, metadata={"check": checks.check_cpus})
    shm_size: int | None = field(default=None, metadata={"check": checks.check_size})
    gpus: int | str | None = field(default=None, metadata={"check": checks.check_gpus})
    read_only: bool = field(default=False, metadata={"check": checks.check_flag})
    tune: bool = field(default=True, metadata={"check": checks.check_flag})
    lease: int | None = field(default=None, metadata={"check": checks.check_lease})
    log_size: int | None = field(default=LOG_SIZE, metadata={"check": checks.check_log_size})
    labels: Mapping[str, str] = field(default_factory=dict, metadata={"check": texts.check_labels})
    lab_args: tuple[str, ...] = field(default=(), metadata={"check": texts.check_lab_args})

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
        **options: Unpack[StartOptions],
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
            item.name: item.metadata["check"](given[item.name], item.name) for item in fields(cls) if item.name in given
        }
        spec = cls(
            session_id=checks.check_name(session_id, "session_id"),
            namespace=checks.check_name(namespace, "namespace"),
            pipeline_dir=pipeline_dir,
            pipeline_dir_id=pipeline_dir_id,
            user=checks.check_user(user, "user"),
            image=checks.check_image(image, "image"),
            **checked,
        )
        check_relabel(
            spec.pipeline_relabel, "pipeline_relabel", "" if isinstance(pipeline_dir, Volume) else str(pipeline_dir)
        )
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
            if item.name not in ("session_id", "namespace", "pipeline_dir_id")
            and (value := _to_plain(item.name, getattr(self, item.name))) != _DEFAULTS.get(item.name, MISSING)
        }


def _to_plain(name: str, value: Any) -> object:
    if name == "image":
        # Of our image only the fact that it is ours counts, so that another version of the library joins.
        return "" if _OWN_IMAGE.fullmatch(value) else value
    if name == "environment":
        pairs = "\0".join(f"{name}={text}" for name, text in sorted(value.items()))
        return hashlib.sha256(pairs.encode()).hexdigest()[:16] if pairs else ""
    if name == "mounts":
        return [to_bind(mount).to_short_form() for mount in value]
    if isinstance(value, Mapping):
        return dict(sorted(value.items()))
    if isinstance(value, (tuple, HiddenTexts)):
        return sorted(value.values) if isinstance(value, HiddenTexts) else list(value)
    if name == "token":  # labels are readable by everyone who may ask the engine
        value = value is not None
    return str(value) if isinstance(value, (Path, Volume)) else value


def _defaults() -> dict[str, object]:
    given = {
        item.name: item.default if item.default_factory is MISSING else item.default_factory()
        for item in fields(SessionSpec)
    }
    plain = {name: _to_plain(name, value) for name, value in given.items() if value is not MISSING}
    return {"image": "", **plain}


_DEFAULTS = _defaults()


def differences(before: Mapping[str, object], now: Mapping[str, object]) -> tuple[str, ...]:
    """A line for each option that differs between two results of ``SessionSpec.to_options``.

    An option that is absent has its default. An option that this version does not know, set by a newer one,
    counts as a difference.
    """
    image = before.get("image", "")
    if isinstance(image, str) and _OWN_IMAGE.fullmatch(image):
        before = {**before, "image": ""}
    pairs = {
        name: (before.get(name, _DEFAULTS.get(name)), now.get(name, _DEFAULTS.get(name)))
        for name in sorted({*before, *now})
    }
    return tuple(f"{name} was {old!r}, now {new!r}" for name, (old, new) in pairs.items() if old != new)
