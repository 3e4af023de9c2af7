"""What an engine says of itself: its version and kind, the limits that it enforces."""

from __future__ import annotations

from collections.abc import Iterator

from jupyter_launcher.cli import checks
from jupyter_launcher.cli.checks import Check
from jupyter_launcher.engine.connection import OLDEST_API
from jupyter_launcher.engine.protocol import Engine
from jupyter_launcher.engine.traits import EngineTraits
from jupyter_launcher.errors import LauncherError

__all__ = ["check_engine"]


def check_engine(engine: Engine, kind: str = "") -> Iterator[Check]:
    """The engine's version and kind, its limits, and what of its settings one should know.

    ``kind``: what the engine is, where its own words do not tell.
    """
    try:
        traits = engine.traits
    except LauncherError as error:
        yield checks.from_error("engine", error)
        return
    yield checks.ok("engine", f"{traits.name} {traits.version} at {engine.endpoint}, {kind or _describe_kind(traits)}")
    if tuple(map(int, traits.api_version.split("."))) < tuple(map(int, OLDEST_API.split("."))):
        yield checks.failed("API version", f"{traits.api_version} is too old", "update Docker to 20.10 or newer")
    else:
        yield checks.ok("API version", traits.api_version)
    if traits.cores is None and traits.rootless is None:
        hint = "let the socket proxy pass GET /info: INFO=1 of tecnativa's, -allowGET of wollomatic's"
        yield checks.warning("information", "the engine does not tell what it is and what it enforces", hint)
    yield _check_limits(traits)
    if traits.debug:
        hint = "start the engine without --debug, or give no secrets"
        yield checks.warning(
            "debug mode", "the engine's log has what it is asked, with secrets and gateways' tokens", hint
        )
    if traits.selinux:
        hint = "where a session cannot read or write its directory: pipeline_relabel='z', Mount(relabel='z')"
        yield checks.warning("SELinux", "the engine's containers use files with a container's label alone", hint)


def _describe_kind(traits: EngineTraits) -> str:
    if traits.rootless is None:
        return "whether it has root is not known"
    words = ["rootless" if traits.rootless else "rootful"]
    words += ["its user ids are remapped"] if traits.remapped else []
    words += ["Docker Desktop"] if traits.desktop else []
    words += ["with a kernel of its own"] if traits.same_kernel is False else []
    return ", ".join(words)


def _check_limits(traits: EngineTraits) -> Check:
    """Which limits of a session the engine holds, by its own words."""
    name = "limits"
    held = {"memory": traits.limits_memory, "cpus": traits.limits_cpus, "processes": traits.limits_pids}
    groups = f"control groups v{traits.cgroup_version}" if traits.cgroup_version else "control groups"
    texts = {
        word: ", ".join(limit for limit, is_held in held.items() if is_held is state)
        for word, state in (("enforced", True), ("not enforced", False), ("not told", None))
    }
    detail = "; ".join(f"{word}: {limits}" for word, limits in texts.items() if limits)
    if texts["not enforced"]:
        hint = "start without these limits; a rootless engine needs control groups v2, and systemd to delegate them"
        return checks.warning(name, f"{groups}, {detail}", hint)
    return (
        checks.ok(name, f"{groups}, {detail}")
        if texts["enforced"]
        else checks.skipped(name, "the engine does not tell")
    )
