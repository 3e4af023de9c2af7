"""Errors of a start: options that an engine does not enforce, or refuses, and a start that was cancelled."""

from __future__ import annotations

from jupyter_launcher.engine.traits import EngineTraits
from jupyter_launcher.engine.types import ContainerConfig
from jupyter_launcher.errors import EngineError, OptionError, StartCancelledError, UnsupportedOptionError
from jupyter_launcher.spec.checks import check_cores
from jupyter_launcher.spec.options import SessionSpec

__all__ = ["LIMITS_HINT", "cancelled_start", "check_limits", "describe_refusal", "describe_unenforced"]

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
    ("groups", ("find group",), "give gids, or names that are in the image's /etc/group"),
    (
        "mounts",
        ("shared mount", "slave mount"),
        "leave the propagation out, or make the source a shared mount of the engine's host, by `mount --make-shared`",
    ),
)


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
