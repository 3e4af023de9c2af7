"""``plan``: all that a start will send, computed before anything is created."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from jupyter_launcher.engine.types import ContainerConfig, ContainerInfo
from jupyter_launcher.models import Gateway, Volume
from jupyter_launcher.models.options import HiddenTexts
from jupyter_launcher.spec.checks import PIPELINE_TARGET
from jupyter_launcher.spec.container import NO_PROXIES, session_config
from jupyter_launcher.spec.labels import SessionLabels, warm_name
from jupyter_launcher.spec.options import SessionSpec
from jupyter_launcher.spec.server import launch_script, read_script, server_command, server_config

__all__ = ["SessionPlan", "plan", "plan_warm"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionPlan:
    """One start of one session.

    Attributes:
        labels: of the container; they hold its name and the start's id.
        container: what the engine creates.
        command: the server's command.
        server_config: the text of our configuration file for the server.
        launch_script: the text of the script that starts the server in its Python.
        tune: that script has tunings.
        secrets: a file below the session's own folder → its text; with the token of the gateway, and the
            caller's for the server, where there is one.
        lease: seconds; None: the session stays until it is stopped.
        pipeline_dir_id: ``<device>:<inode>`` of the directory that must be mounted; None: not known.
        pipeline_read_only: the server need not be able to write to that directory.
        home: what is mounted as HOME; None: the image decides what HOME is.
        prefix: a command that becomes the command which starts the server, and comes before that.
    """

    labels: SessionLabels
    container: ContainerConfig
    command: tuple[str, ...]
    server_config: str = field(repr=False)
    launch_script: str = field(repr=False)
    tune: bool
    secrets: HiddenTexts
    lease: int | None
    pipeline_dir_id: str | None = None
    pipeline_read_only: bool = False
    home: str | Volume | None = None
    prefix: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name with which the container is created."""
        labels = self.labels
        return warm_name(labels.namespace, labels.warm) if labels.warm else labels.name

    def find_entrypoint(self, info: ContainerInfo) -> tuple[str, ...]:
        """The image's ENTRYPOINT that runs before the server; empty: there is none, or ours is in its place."""
        return info.entrypoint if self.container.keep_entrypoint else ()


def plan(
    spec: SessionSpec,
    gateway: Gateway | None = None,
    *,
    network: str,
    start_id: str,
    owner: str = "",
    process: str = "",
    proxies: HiddenTexts = NO_PROXIES,
) -> SessionPlan:
    """Compute the container, the command, the server's configuration and the lease together.

    Args:
        spec: what was asked for.
        gateway: as it was resolved.
        network: that the container joins.
        start_id: unique to this start.
        owner: the launcher's.
        process: a mark of this process.
        proxies: variables that the engine's containers get, unless the caller sets them.
    """
    labels = SessionLabels.from_spec(spec, gateway, start_id, owner, process)
    return SessionPlan(
        labels=labels,
        container=session_config(spec, gateway, labels, network, proxies),
        command=server_command(spec, gateway),
        server_config=server_config(spec, gateway),
        launch_script=launch_script(spec),
        tune=spec.tune,
        secrets=_find_secrets(spec, gateway),
        lease=spec.lease,
        pipeline_dir_id=spec.pipeline_dir_id,
        pipeline_read_only=spec.pipeline_read_only,
        home=spec.home,
    )


def plan_warm(planned: SessionPlan, unique: str, lease: int, image: Mapping[str, str]) -> SessionPlan:
    """The same start for a pool: without a directory, which is mounted when somebody claims the session.

    Args:
        planned: as for a session.
        unique: in the container's name.
        lease: seconds; the container ends unless the pool renews it.
        image: the labels of the container's image.
    """
    labels = replace(planned.labels, warm=unique)
    container = replace(
        planned.container,
        labels=labels.to_warm_labels(image),
        mounts=tuple(mount for mount in planned.container.mounts if mount.target != PIPELINE_TARGET),
    )
    return replace(
        planned,
        labels=labels,
        container=container,
        server_config=planned.server_config + read_script("patches/claim.py"),
        lease=lease,
        pipeline_dir_id=None,
        pipeline_read_only=True,
    )


def _find_secrets(spec: SessionSpec, gateway: Gateway | None) -> HiddenTexts:
    token = {} if gateway is None or gateway.token is None else {"gateway.token": gateway.token}
    given = {} if spec.token is None else {"given.token": spec.token.text}
    return HiddenTexts({**token, **given, **{f"secrets/{name}": value for name, value in spec.secrets.values.items()}})
