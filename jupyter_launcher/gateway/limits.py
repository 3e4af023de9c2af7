"""Limits and other options that an engine cannot give a container, before it is made and after it has refused."""

from __future__ import annotations

from jupyter_launcher.engine.traits import EngineTraits
from jupyter_launcher.engine.types import ContainerConfig
from jupyter_launcher.errors import EngineError, OptionError, UnsupportedOptionError
from jupyter_launcher.spec.checks import refuse_option

__all__ = ["LIMITS_HINT", "describe_refusal", "describe_unenforced", "refuse_unenforced"]

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
    ("memory", ("Minimum memory",), "give more: a server alone needs about 150m"),
    ("cpus", ("Range of CPUs",), "give at most as many as the engine's host has, or None for no limit"),
    ("groups", ("find group",), "give gids, or names that are in the image's /etc/group"),
    (
        "mounts",
        ("shared mount", "slave mount"),
        "leave the propagation out, or make the source a shared mount of the engine's host, by `mount --make-shared`",
    ),
)


def refuse_unenforced(
    traits: EngineTraits, *, memory: int | None, cpus: float | None, what: str = "the session"
) -> None:
    """Refuse limits that the engine does not enforce, by its own information.

    Args:
        traits: of the engine.
        memory: bytes; None: no limit.
        cpus: cores; None: no limit.
        what: would be without them.

    Raises:
        OptionError: names the limit.
    """
    if cpus is not None and traits.cores is not None and cpus > traits.cores:
        seen = f"is {cpus:g}, and the engine's host has {traits.cores}"
        refuse_option("cpus", seen, "give no more, or None for no limit")
    limits = {"memory": (memory, traits.limits_memory), "cpus": (cpus, traits.limits_cpus)}
    for option, (asked, is_enforced) in limits.items():
        if asked is not None and is_enforced is False:
            raise describe_unenforced(option, what)


def describe_unenforced(option: str, what: str = "the session") -> OptionError:
    """The error about an option that a container would be without; ``what`` runs in it."""
    msg = f"the engine does not enforce {option}=: {what} would not have it as asked for"
    remedies = {
        "memory": LIMITS_HINT,
        "cpus": LIMITS_HINT,
        "container_options": "write the names that the API of this engine has",
    }
    remedy = remedies.get(option, "use another engine")
    return OptionError(msg, hint=f"leave {option}= out, or {remedy}", option=option)


def describe_refusal(config: ContainerConfig, error: EngineError) -> EngineError | None:
    """The error where the engine refused a container because of an option; None: because of something else."""
    said = error.message.casefold()  # Docker 20.10 begins with a capital letter where 28 does not
    for option, words, hint in _REFUSALS:
        if getattr(config, option) and any(word.casefold() in said for word in words):
            msg = f"{option} cannot be given as asked for: {error.message}"
            return UnsupportedOptionError(msg, hint=hint, option=option, status=error.status)
    if config.engine_options and type(error) is EngineError and error.status in (400, 500):
        # Whether it is about one of them, only its words tell.
        hint = "see whether that is about one of container_options"
        return EngineError(error.message, hint=hint, status=error.status)
    return None
