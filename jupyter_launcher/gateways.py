"""``GatewayCalls``: what ``Launcher`` does with gateways, one call a method."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from jupyter_launcher.acts import run_act
from jupyter_launcher.engine.images import DEFAULT_GATEWAY_IMAGE
from jupyter_launcher.gateway.run import GatewayRequest, run_gateway, stop_gateway
from jupyter_launcher.gateway.unit import make_gateway, remove_gateway
from jupyter_launcher.models import GatewaySummary, KernelImage, RunningGateway, StopReport, Volume
from jupyter_launcher.models.kernels import Isolation
from jupyter_launcher.sessions.context import Context
from jupyter_launcher.sessions.leftovers import list_gateways
from jupyter_launcher.spec.checks import check_callback, check_name, check_network
from jupyter_launcher.spec.kernels.options import KernelOptions, check_kernels
from jupyter_launcher.waiting import Deadline

__all__ = ["GatewayCalls"]


class GatewayCalls:
    """The gateways of ``Launcher``."""

    _context: Context

    @contextlib.contextmanager
    def run_gateway(
        self,
        pipeline_dir: str | os.PathLike[str] | Volume,
        *,
        image: str = DEFAULT_GATEWAY_IMAGE,
        kernels: Mapping[str, str | KernelImage] | None = None,
        isolation: Isolation = "environment",
        max_kernels: int = 16,
        kernel_idle: int | None = None,
        network: str | None = None,
        user: str | int | None = None,
        pipeline_relabel: Literal["z", "Z"] | None = None,
        keep: Callable[[str], bool] | None = None,
    ) -> Iterator[RunningGateway]:
        """A Jupyter Kernel Gateway for a pipeline; yields it, as ``gateway=`` takes it.

        Its kernels see the pipeline at ``/pipeline-dir`` too. It is removed on leaving: stop the
        sessions that use it before. :meth:`start_gateway` starts one that stays.

        It answers only to its token, which is made in its container, and which sessions of any launcher on this
        engine get. Its port is published only where this process does not reach its container otherwise.

        Args:
            pipeline_dir: mounted at ``/pipeline-dir``; a :class:`Volume` as for ``start``.
            image: of a gateway that listens on port 8888 and takes its token from ``KG_AUTH_TOKEN`` or
                ``EG_AUTH_TOKEN``, as Kernel Gateway and Enterprise Gateway do, with ``sh`` and ``od``; the default is
                built when missing. ``kernels`` need the default.
            kernels: the name of a kernel → the image in which it runs, or a :class:`KernelImage`: 1 to 16 of them. Each
                name is a kernel spec, and what its image lacks is told before anything is started. None: the kernels of
                ``image``, as processes beside the gateway.
            isolation: ``environment``: one container for each of ``kernels``, and its kernels are processes there.
                ``kernel``: one container for each kernel, which a broker makes: a container that has no network, and
                alone holds the engine's socket.
            max_kernels: how many kernels in containers may run at once, 1 to 1000.
            kernel_idle: seconds after which a kernel in a container ends that has run nothing, also where a notebook
                that uses it is open. None: no limit.
            network: None: the engine's default bridge; ``own``: one that is made, and removed with the gateway.
            user: ``uid[:gid]`` or a name that the image knows; None: the directory's owner. ``kernels`` need numbers.
            pipeline_relabel: as for ``start``; sessions of this gateway, and its ``kernels``, need ``z``.
            keep: called with the gateway's name on leaving; where it returns True, the gateway is not removed. ``reap``
                leaves a gateway with ``keep`` for a day, also when its process has ended.

        Raises:
            OptionError: an option has a value that cannot work.
            PipelineDirError: the directory cannot be used.
            ImageBuildError, ImageNotFoundError: there is no image to run.
            KernelImageError: no kernel can run in an image of ``kernels``.
            GatewayError: the image names no command, there is no such network, or it gives the gateway no IPv4 address.
            GatewayNotRunningError: the gateway ended; noticed at once.
            GatewayUnreachableError: it gave no kernel specs in time (``timeouts.start``).
            EngineError: the engine refused, or does not answer.
        """
        self._context.refuse_in_swarm("run_gateway")
        check_network(network, "network")
        check_callback(keep, "keep")
        options = check_kernels(kernels, isolation, max_kernels, kernel_idle)
        request = self._request(pipeline_dir, image, options, network, user, pipeline_relabel)
        request = replace(request, may_stay=keep is not None)
        with run_gateway(self._context.engine, self._context.address, request, keep=keep) as found:
            yield found

    def _request(
        self,
        pipeline_dir: str | os.PathLike[str] | Volume,
        image: str,
        kernels: KernelOptions | None,
        network: str | None,
        user: str | int | None,
        relabel: Literal["z", "Z"] | None,
    ) -> GatewayRequest:
        """A request with this launcher's settings; the images that it needs are on the engine then."""
        context = self._context
        images = [] if kernels is None else [item.image for item in kernels.images.values()]
        for needed in dict.fromkeys([image, *images]):
            context.ensure_image(needed, "missing", context.reporter)
        return GatewayRequest(
            pipeline_dir=pipeline_dir,
            image=image,
            namespace=context.namespace,
            owner=context.owner,
            network=network,
            seconds=context.timeouts.start,
            user=user,
            rules=context.rules,
            relabel=relabel,
            kernels=kernels,
            engine_socket=context.engine_socket,
        )

    def start_gateway(
        self,
        pipeline_dir: str | os.PathLike[str] | Volume,
        *,
        gateway_id: str | None = None,
        image: str = DEFAULT_GATEWAY_IMAGE,
        kernels: Mapping[str, str | KernelImage] | None = None,
        isolation: Isolation = "environment",
        max_kernels: int = 16,
        kernel_idle: int | None = None,
        network: str | None = None,
        user: str | int | None = None,
        pipeline_relabel: Literal["z", "Z"] | None = None,
    ) -> RunningGateway:
        """Start a gateway that stays until ``stop_gateway``, or find the one of this id.

        The options are those of ``run_gateway``. Asking again with the same id and options gives the same gateway, also
        from another process; one that has ended is removed, and started anew. ``gateway_id`` is 1 to 48 of
        ``a-z 0-9 - _``; None makes one up.

        Raises:
            GatewayConflictError: a gateway of this id is there, with other options.
            LauncherError: as ``run_gateway`` says. Nothing that was made stays behind.
        """
        context = self._context
        context.refuse_in_swarm("start_gateway")
        check_network(network, "network")
        if gateway_id is not None:
            check_name(gateway_id, "gateway_id")
        options = check_kernels(kernels, isolation, max_kernels, kernel_idle)
        request = self._request(pipeline_dir, image, options, network, user, pipeline_relabel)
        request = replace(request, gateway_id=gateway_id, stays=True)
        made = run_act(
            lambda: make_gateway(context.engine, context.address, request),
            undo=lambda found: None if found.running.joined else remove_gateway(context.engine, found),
        )
        return made.running

    def stop_gateway(self, gateway_id: str) -> StopReport:
        """Stop a gateway with all of its kernels, in whatever state it is, and remove what is of it.

        Raises:
            GatewayNotFoundError: this namespace has no gateway of this id.
            OptionError: it is of one unit with a session; stop that.
            EngineError: the engine does not answer.
        """
        context = self._context
        context.refuse_in_swarm("stop_gateway")
        check_name(gateway_id, "gateway_id")
        seconds = Deadline(context.timeouts.shutdown)
        return run_act(lambda: stop_gateway(context.engine, context.address, context.namespace, gateway_id, seconds))

    def gateways(self) -> Sequence[GatewaySummary]:
        """The gateways of this namespace, newest first, in every state: one call to the engine.

        Raises:
            EngineError: the engine does not answer.
        """
        return list_gateways(self._context)
