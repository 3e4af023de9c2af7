"""The making of a gateway and its parts, one attempt."""

from __future__ import annotations

import contextlib
import logging
import secrets
import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from jupyter_launcher.acts import leaves, note_left, shielded
from jupyter_launcher.engine.protocol import Engine
from jupyter_launcher.engine.types import BindMount, ContainerConfig
from jupyter_launcher.errors import EngineError, EngineUnavailableError, GatewayError, UnsupportedOptionError
from jupyter_launcher.gateway.limits import describe_refusal
from jupyter_launcher.gateway.make.ready import Awaited, find_url_of, require_gateway, wait_until_ready
from jupyter_launcher.gateway.make.request import MAKE_NETWORK, GatewayPlan, MadeGateway
from jupyter_launcher.gateway.parts import remove_unit
from jupyter_launcher.host.address import EngineAddress
from jupyter_launcher.host.process import process_mark
from jupyter_launcher.models import KernelImage
from jupyter_launcher.server.failures import describe_closed_directory
from jupyter_launcher.spec.checks import PIPELINE_TARGET
from jupyter_launcher.spec.container import gateway_config
from jupyter_launcher.spec.kernels.containers import (
    BROKER_DIR,
    agent_config,
    broker_config,
    gateway_environment,
    kernel_config,
)
from jupyter_launcher.spec.kernels.found import FoundKernel
from jupyter_launcher.spec.kernels.labels import (
    GatewayLabels,
    PartLabels,
    agent_name,
    broker_name,
    hide_labels,
    network_name,
    part_labels,
)
from jupyter_launcher.spec.kernels.options import KernelOptions
from jupyter_launcher.spec.labels import gateway_labels, gateway_name
from jupyter_launcher.threads import map_at_once
from jupyter_launcher.waiting import Deadline

__all__ = ["Making", "TakenError"]

_log = logging.getLogger("jupyter_launcher")
_THREADS = 4
_CONFLICT = 409


class TakenError(Exception):
    """Somebody else has the name of a gateway."""


class Making:
    """One attempt to make a gateway; all that it makes has the label of its start."""

    def __init__(
        self,
        engine: Engine,
        address: EngineAddress,
        plan: GatewayPlan,
        found: Mapping[str, FoundKernel],
        gateway_id: str,
    ) -> None:
        self._engine = engine
        self._address = address
        self._plan = plan
        self._found = found
        self._gateway_id = gateway_id
        self._start = plan.request.session_start or uuid.uuid4().hex
        self._name = gateway_name(plan.request.namespace, gateway_id)
        self._network = plan.network or network_name(plan.request.namespace, gateway_id, self._start)
        self._container: str | None = None
        self._secrets = {name: secrets.token_hex(32) for name in found}  # of the agents

    def make(self) -> MadeGateway:
        """Make it, and wait until it answers.

        Raises:
            TakenError: somebody else has its name.
        """
        try:
            with leaves(f"container {self._name}, and what is of it"):
                return self._make()
        except BaseException:
            self._undo()
            raise

    def _undo(self) -> None:
        what = f"container {self._name}, and what is of it"
        try:
            with shielded(), leaves(what):
                remove_unit(self._engine, self._start, self._container)
        except EngineError as error:  # why it was not made says more
            note_left(what)
            _log.warning("%s may be left: %s", what, error)

    def _make(self) -> MadeGateway:
        deadline = Deadline(self._plan.request.seconds)
        if self._plan.network is None:
            request = self._plan.request
            labels = part_labels("network", request.namespace, request.owner, self._start, process=process_mark())
            self._engine.create_network(self._network, labels)
        find_url = find_url_of(self._address, self._plan.host_ip, self._network)
        try:
            self._container = self._create_gateway(is_published=find_url != self._address.bridge_url)
            self._engine.start(self._container)
        except EngineError as error:
            self._refuse_missing_network(error)
            raise describe_closed_directory(self._plan.folder.path, error) or error from error.__cause__
        awaited = Awaited(
            container=self._container,
            name=self._name,
            gateway_id=self._gateway_id,
            find_url=find_url,
            pipeline_dir=self._plan.folder.path,
            kernels=self._plan.kernel_names,
        )
        try:
            parts = self._start_parts(self._container)  # while the gateway's own process starts
        except EngineError:
            require_gateway(self._engine, awaited)  # else nobody joins its network
            raise
        running = wait_until_ready(self._engine, replace(awaited, parts=parts), deadline)
        return MadeGateway(running=running, container_id=self._container, start=self._start, network=self._network)

    def _create_gateway(self, *, is_published: bool) -> str:
        plan, request = self._plan, self._plan.request
        kernels = request.kernels
        known = GatewayLabels(
            gateway_id=self._gateway_id,
            start=self._start,
            session_start=request.session_start,
            session_id=request.session_id,
            stays=request.stays,
            isolation="" if kernels is None else kernels.isolation,
            images={} if kernels is None else {name: image.image for name, image in kernels.images.items()},
            options=plan.options,
        )
        found = self._engine.images.inspect(request.image)
        config = gateway_config(
            plan.folder.path,
            plan.folder.user,
            image=request.image,
            argv=plan.argv,
            pipeline_dir_id=plan.folder.identity,
            relabel=request.relabel,
            labels=hide_labels({} if found is None else found.labels)
            | gateway_labels(request.namespace, request.owner, process_mark(), may_stay=request.may_stay, more=known),
            publish_ip=plan.host_ip if is_published else None,
            network=self._network,
            proxies=self._engine.proxies,
        )
        config = self._limit_rights(config)
        if kernels is not None:
            told = gateway_environment(kernels, self._found, self._secrets)
            config = replace(config, environment={**config.environment, **told})
        if plan.socket:  # a volume of its own, which nobody but its broker mounts
            volume = BindMount(source="", target=BROKER_DIR, type="volume")
            config = replace(config, mounts=(*config.mounts, volume))
        try:
            return self._engine.create(config, self._name)
        except EngineError as error:
            if error.status == _CONFLICT and request.gateway_id is not None:
                raise TakenError from error
            raise

    def _refuse_missing_network(self, refused: EngineError) -> None:
        """Where the engine has refused a gateway, say so of a network that is not there.

        Raises:
            GatewayError: there is none.
        """
        if refused.status not in (404, 500):  # Docker's, and Podman's
            return
        with contextlib.suppress(EngineError):
            if self._engine.network(self._network) is None:
                msg = f"the engine has no network {self._network!r} for a gateway: {refused.message}"
                raise GatewayError(msg, hint=MAKE_NETWORK) from refused

    def _start_parts(self, gateway: str) -> dict[str, str]:
        """Start the broker, or the agents; the id of a container → what it is."""
        kernels = self._plan.request.kernels
        if kernels is None:
            return {}
        if kernels.isolation == "kernel":
            return {self._start_broker(gateway, kernels): "the broker of the gateway"}
        started = map_at_once(
            lambda item: self._start_agent(gateway, *item), list(enumerate(kernels.images.items())), threads=_THREADS
        )
        return dict(started)

    def _start_agent(self, gateway: str, number: int, kernel: tuple[str, KernelImage]) -> tuple[str, str]:
        request, (name, image) = self._plan.request, kernel
        config = agent_config(
            name,
            image,
            self._found[name],
            pipeline_dir=self._plan.folder.path,
            relabel=request.relabel,
            user=self._plan.folder.user,
            gateway=gateway,
            secret=self._secrets[name],
            labels=self._label("agent", image.image),
            proxies=self._engine.proxies,
        )
        try:
            container = self._create_part(
                self._limit_rights(config), agent_name(request.namespace, self._gateway_id, number)
            )
            self._engine.start(container)
        except EngineError as error:
            raise describe_refusal(config, error) or error from error.__cause__
        return container, f"the agent of kernel {name!r} in {image.image}"

    def _start_broker(self, gateway: str, kernels: KernelOptions) -> str:
        request, folder = self._plan.request, self._plan.folder
        info = self._engine.inspect(gateway)
        volume = "" if info is None else info.volumes.get(BROKER_DIR, "")
        if not volume:
            msg = f"the engine does not tell which volume of gateway {self._name} is at {BROKER_DIR}"
            raise GatewayError(msg, hint="take isolation='environment'", gateway=self._name)
        config = broker_config(
            request.image,
            {name: self._kernel_body(name, image) for name, image in kernels.images.items()},
            socket=self._plan.socket,
            volume=volume,
            max_kernels=kernels.max_kernels,
            namespace=request.namespace,
            gateway_start=self._start,
            labels=self._label("broker", request.image),
            user=folder.user,
            host_users=self._engine.traits.remapped is True,
        )
        try:
            container = self._create_part(config, broker_name(request.namespace, self._gateway_id))
            self._engine.start(container)
        except EngineError as error:
            # An engine that does not answer is told with its address, which may be this path too.
            if isinstance(error, EngineUnavailableError) or self._plan.socket not in error.message:
                raise
            msg = f"the broker of gateway {self._gateway_id} cannot mount the engine's socket: {error.message}"
            hint = "give Launcher(engine_socket=...) the path that the socket has on the engine's host"
            raise UnsupportedOptionError(msg, hint=hint, option="engine_socket", status=error.status) from error
        return container

    def _kernel_body(self, name: str, image: KernelImage) -> Mapping[str, Any]:
        config = kernel_config(
            name,
            image,
            self._found[name],
            pipeline_dir=self._plan.folder.path,
            relabel=self._plan.request.relabel,
            user=self._plan.folder.user,
            network=self._network,
            labels=self._label("kernel", image.image),
            proxies=self._engine.proxies,
        )
        return self._engine.to_body(self._limit_rights(config))

    def _limit_rights(self, config: ContainerConfig) -> ContainerConfig:
        """The same container, whose user cannot write to the pipeline where that was asked for."""
        if not self._plan.request.read_only:
            return config
        mounts = (replace(item, read_only=item.read_only or item.target == PIPELINE_TARGET) for item in config.mounts)
        return replace(config, mounts=tuple(mounts))

    def _label(self, kind: str, image: str) -> dict[str, str]:
        found = self._engine.images.inspect(image)
        request = self._plan.request
        return part_labels(kind, request.namespace, request.owner, self._start, None if found is None else found.labels)

    def _create_part(self, config: ContainerConfig, name: str) -> str:
        """Create a container; one of its name that is left of an earlier start of this gateway is removed before."""
        try:
            return self._engine.create(config, name)
        except EngineError as error:
            info = self._engine.inspect(name) if error.status == _CONFLICT else None
            labels = None if info is None else PartLabels.of_container(info.labels, info.name)
            if info is None or labels is None:
                raise
            self._engine.remove(info.id)  # nobody else makes parts of this gateway while its name is ours
            return self._engine.create(config, name)
