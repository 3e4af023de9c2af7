"""Which directories of the engine's host may be mounted: roots, folders of the system, and links on the path."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from jupyter_launcher.engine.traits import EngineTraits
from jupyter_launcher.host.address import EngineAddress
from jupyter_launcher.host.source import Source, View, clean_path
from jupyter_launcher.models.options import is_text, show_value
from jupyter_launcher.spec.checks import refuse_option

__all__ = ["DirectoryRules", "check_folder", "check_links", "check_roots", "parse_roots"]

# No pipeline is in these, nor below.
_SYSTEM = tuple(map(Path, ("/etc", "/boot", "/proc", "/sys", "/dev")))
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - which directories below it a pipeline may have is not decided here
# Pipelines are below these, but not these.
_ONLY_BELOW = tuple(map(Path, ("/", "/usr", "/run", "/var", "/var/lib", "/root", "/home", "/tmp")))  # noqa: S108
_DEFAULT_DATA = Path("/var/lib/docker")
_HERE = Path()
_HINT = "give the directory that holds the pipeline's files"


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryRules:
    """What one launcher mounts.

    Attributes:
        roots: below which each directory must lie, on the engine's host; None: anywhere.
        allow_engine_socket: an engine's socket may be mounted, and a folder that holds one.
    """

    roots: tuple[Path, ...] | None = None
    allow_engine_socket: bool = False


def parse_roots(address: EngineAddress, given: object) -> tuple[Path, ...] | None:
    """The roots of a launcher as the engine's host sees them, links resolved; with a remote engine, as they were given.

    Raises:
        OptionError: no list, an empty one, or a root that is not absolute, not there, no directory, or a folder of
            this process's own container.
    """
    if given is None:
        return None
    hint = "give a list of absolute paths of directories, or leave it out"
    if isinstance(given, (str, bytes, os.PathLike)) or not isinstance(given, Iterable):
        refuse_option("roots", f"is {show_value(given)}", hint)
    roots = tuple(_parse_root(address, item) for item in given)
    if not roots:
        refuse_option("roots", "is empty, so nothing could be mounted", hint)
    return roots


def _parse_root(address: EngineAddress, item: object) -> Path:
    text = os.fspath(item) if isinstance(item, os.PathLike) else item
    if not (is_text(text) and text.startswith("/")):
        refuse_option("roots", f"has {show_value(item)}", "give an absolute path")
    if address.is_remote:
        return clean_path(text)
    try:
        path = Path(text).resolve(strict=True)
    except (OSError, RuntimeError) as error:
        refuse_option("roots", f"has {text}, which cannot be used: {error}", "create that directory first")
    if not path.is_dir():
        refuse_option("roots", f"has {text}, which is not a directory", "give a directory")
    found = address.find_on_host(path)
    if found is None:
        seen = f"has {text}, which is in the file system of this process's own container"
        refuse_option("roots", seen, "give a folder of the host that is mounted into this container")
    return found


def check_roots(source: Source, roots: tuple[Path, ...] | None, *, is_pipeline: bool) -> None:
    """See that a pipeline directory lies below a root; another source may be a root itself.

    Raises:
        PipelineDirError: it does not.
    """
    if roots is None:
        return
    if not any(source.path.is_relative_to(root) and not (is_pipeline and source.path == root) for root in roots):
        shown = ", ".join(map(str, roots))
        source.refuse(f"is not below a root of this launcher ({shown})", "give a path below one, or add to roots=")


def check_links(view: View, source: Source) -> None:
    """See that each link on the path belongs to root, or to the owner of what it leads to.

    Any other link could have been made by someone to get at files of somebody else.

    Raises:
        PipelineDirError: another's link is on the path, or a link of ``/proc``, which leads elsewhere for each process.
    """
    for link in () if source.walk is None else source.walk.links:
        if view.mounts.is_of_processes(link.device):
            seen = f"was given over {link.path}, a link that leads elsewhere for each process"
            source.refuse(seen, "give a path without links of /proc")
        if link.owner not in (0, link.leads_to):
            whose = "nothing that is seen here" if link.leads_to is None else f"files of uid {link.leads_to}"
            seen = f"was given over the link {link.path} of uid {link.owner}, which leads to {whose}"
            source.refuse(seen, f"give the path to which it leads ({link.target}) if that is meant")


def check_folder(view: View, source: Source, traits: EngineTraits) -> None:
    """See that a pipeline directory is no folder of the system or the engine.

    Raises:
        PipelineDirError: it is one.
    """
    if view.find_steps(source, _SHARED_MEMORY) is not None:
        return
    for folder in _SYSTEM:
        steps = view.find_steps(source, folder)
        if steps is not None:
            source.refuse(f"is {_describe(steps, folder)}, where the system has its own files", _HINT)
    data = traits.data_root or _DEFAULT_DATA
    steps = view.find_steps(source, data)
    if steps is not None and not _is_in_volume(steps):
        source.refuse(f"is {_describe(steps, data)}, where the engine has its own files", _HINT)
    for folder in (*_ONLY_BELOW, *data.parents):
        if view.find_steps(source, folder) == _HERE:
            source.refuse(f"is {folder}, which holds the files of others", f"{_HINT}, below {folder} or elsewhere")


def _describe(steps: Path, folder: Path) -> str:
    return str(folder) if steps == _HERE else f"in {folder}"


def _is_in_volume(steps: Path) -> bool:
    """Whether steps from the engine's data folder lead into a volume: ``volumes/<name>/_data``, or below."""
    return len(steps.parts) > 2 and (steps.parts[0], steps.parts[2]) == ("volumes", "_data")
