"""The configuration of the pytest plugin's fixtures: a module of its own, because the plugin and its run need it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jupyter_launcher.models import KernelImage, Swarm
    from jupyter_launcher.models.kernels import Isolation

__all__ = ["LauncherConfig", "images_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LauncherConfig:
    """What the fixtures start; override the fixture ``jupyter_launcher_config`` to change it.

    Attributes:
        image: of the server; None: the launcher's default.
        gateway_image: of a gateway of ours; None: ``DEFAULT_GATEWAY_IMAGE``.
        gateway: an existing kernel gateway: a container's name or id, or a URL. All servers use
            it then. None: ``jupyter_gateway`` is one of ours, and only the servers of tests that ask
            for it use it.
        network: for the servers, and for a gateway of ours; None: the engine's default bridge.
        kernels: as for ``Launcher.start``, for each server that has no gateway, and for a gateway of ours. None:
            kernels run beside the server, or beside the gateway.
        isolation: of ``kernels``: ``environment`` or ``kernel``.
        options: more options for each ``Launcher.start``.
        launcher: more options for ``Launcher``, e.g. ``docker_host``, ``build``, ``on_event``.
        swarm: the servers are services of this swarm, and the engine of ``launcher`` is one of its managers. Tests that
            ask for ``jupyter_gateway`` need ``gateway`` then, the name of a service. None: no swarm.

    Raises:
        OptionError: ``Launcher.start`` has none of the name of one of ``options``; or both ``gateway`` and ``kernels``
            are given.
    """

    image: str | None = None
    gateway_image: str | None = None
    gateway: str | None = None
    network: str | None = None
    kernels: Mapping[str, str | KernelImage] | None = None
    isolation: Isolation = "environment"
    options: Mapping[str, Any] = field(default_factory=dict)
    launcher: Mapping[str, Any] = field(default_factory=dict)
    swarm: Swarm | None = None

    def __post_init__(self) -> None:
        if self.options:
            _check_names(self.options)
        if self.gateway is not None and self.kernels is not None:
            from jupyter_launcher.errors import OptionError

            msg = f"kernels is given, and gateway={self.gateway!r} has kernels of its own"
            raise OptionError(msg, hint="leave one of them out", option="kernels")

    def with_kernels(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Options of a start, with the kernels of this configuration where they have no gateway and no kernels."""
        if self.kernels is None or given.get("gateway") is not None or "kernels" in given:
            return dict(given)
        return {"kernels": self.kernels, "isolation": self.isolation, **given}

    @property
    def kernel_images(self) -> tuple[str, ...]:
        """The images of ``kernels``, each once."""
        return images_of(self.kernels)


def images_of(kernels: object) -> tuple[str, ...]:
    """The images that ``kernels=`` names, each once; those that cannot be are left out, since a start refuses them."""
    found = (getattr(item, "image", item) for item in kernels.values()) if isinstance(kernels, Mapping) else ()
    return tuple(dict.fromkeys(image for image in found if isinstance(image, str)))


def _check_names(options: Mapping[str, Any]) -> None:
    import difflib

    from jupyter_launcher.errors import OptionError
    from jupyter_launcher.spec.options import StartOptions

    for name in options:
        if name not in StartOptions.__annotations__:
            near = difflib.get_close_matches(str(name), StartOptions.__annotations__, n=1)
            hint = f"give {near[0]!r}" if near else "see the options of Launcher.start"
            msg = f"options has {name!r}, which is no option of Launcher.start"
            raise OptionError(msg, hint=hint, option="options")
