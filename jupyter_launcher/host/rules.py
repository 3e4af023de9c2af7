"""Which directories of the engine's host may be mounted: roots, folders of the system, links, root's own."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from jupyter_launcher.engine.traits import EngineTraits
from jupyter_launcher.host.address import EngineAddress
from jupyter_launcher.host.links import Walk
from jupyter_launcher.host.source import Source, View, clean_path
from jupyter_launcher.models.options import is_text, show_value
from jupyter_launcher.spec.checks import refuse_option

__all__ = [
    "DirectoryRules",
    "check_folder",
    "check_kernel",
    "check_links",
    "check_root",
    "check_roots",
    "has_access_list",
    "parse_roots",
]

# The kernel's own, by path and by type of file system: nothing in these is mounted.
_KERNEL = tuple(map(Path, ("/proc", "/sys", "/dev")))
_SHARED_MEMORY = Path("shm")  # of /dev: memory for everybody's files
_SETTINGS = ("proc", "sysfs", "cgroup", "cgroup2", "debugfs", "tracefs", "securityfs", "bpf", "configfs", "pstore")
_KERNEL_TYPES = frozenset((*_SETTINGS, "devtmpfs", "devpts", "mqueue", "efivarfs", "fusectl", "binfmt_misc"))
# No pipeline is in these, nor below.
_PROGRAMS = ("/usr/bin", "/usr/sbin", "/usr/lib", "/usr/lib64", "/bin", "/sbin", "/lib", "/lib64")
_SYSTEM = tuple(map(Path, ("/etc", "/boot", *_PROGRAMS, "/run/systemd")))
# Pipelines are below these, but not these.
_SHARED = ("/tmp", "/var/tmp")  # noqa: S108 - nothing is made there
_HOLDERS = ("/usr", "/usr/local", "/run", "/var", "/var/lib", "/var/log", "/root", "/home")
_ONLY_BELOW = tuple(map(Path, ("/", *_HOLDERS, *_SHARED)))
# Engines' own, whichever engine is used.
_DATA = tuple(map(Path, ("/var/lib/docker", "/var/lib/containerd", "/var/lib/containers")))
# From an engine's data folder into a volume. The first step is that of an engine that maps ids, or Podman's storage.
_VOLUME = re.compile(r"(?:[^/]+/)?volumes/[^/]+/_data(?:/.*)?", re.DOTALL)
# Where a directory has one of these, the kernel asks it, and the mode does not decide.
_ACCESS_LISTS = {"system.posix_acl_access", "system.nfs4_acl"}
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


def check_kernel(view: View, source: Source) -> None:
    """See that nothing of the kernel's own file systems is mounted: there are no files, but the kernel's settings.

    They are known by their usual paths, and where this process sees the source, by their types. A path of ``/proc``
    that is not seen from here may also be a link, which leads elsewhere for each process.

    Raises:
        PipelineDirError: the source is in one, or holds one.
    """
    for folder in _KERNEL:
        for steps in view.find_steps(source, folder):
            if folder.name != "dev" or not steps.is_relative_to(_SHARED_MEMORY):
                source.refuse(f"is {_describe(steps, folder)}, where the system has its own files", _HINT)
    if source.walk is None:
        return
    over = view.mounts.find_mount(source.walk.path)
    for mount in ([] if over is None else [over]) + view.mounts.find_beneath(source.walk.path):
        if mount.kind in _KERNEL_TYPES:
            how = "is in" if mount is over else "holds"
            source.refuse(f"{how} {mount.point}, a file system of the kernel's own ({mount.kind})", _HINT)


def check_folder(view: View, source: Source, traits: EngineTraits) -> None:
    """See that a pipeline directory is no folder of the system or an engine.

    Raises:
        PipelineDirError: it is one.
    """
    own = () if traits.data_root is None else (traits.data_root,)
    for folder in _SYSTEM:
        for steps in view.find_steps(source, folder):
            source.refuse(f"is {_describe(steps, folder)}, where the system has its own files", _HINT)
    for folder in (*own, *_DATA):
        for steps in view.find_steps(source, folder):
            if _VOLUME.fullmatch(str(steps)) is None:
                source.refuse(f"is {_describe(steps, folder)}, where the engine has its own files", _HINT)
    for folder in (*_ONLY_BELOW, *(parent for data in own for parent in data.parents)):
        if _HERE in view.find_steps(source, folder):
            source.refuse(f"is {folder}, which holds the files of others", f"{_HINT}, below {folder} or elsewhere")


def _describe(steps: Path, folder: Path) -> str:
    return str(folder) if steps == _HERE else f"in {folder}"


def has_access_list(path: Path) -> bool:
    """Whether more than the mode of a file decides who may do what."""
    if not hasattr(os, "listxattr"):  # not Linux
        return False
    try:
        return not _ACCESS_LISTS.isdisjoint(os.listxattr(path))
    except OSError:  # a file system that has none
        return False


def check_root(source: Source, walked: Walk) -> str:
    """See that uid 0 of the engine's host may be chosen for the server without being asked for.

    Returns a warning where others can reach the directory through a folder of theirs: they can run, on the host, what
    root leaves in there.

    Raises:
        PipelineDirError: this process is not root's, or a link on the path is somebody else's.
    """
    why = next((f"{link.path} is a link of uid {link.owner}" for link in walked.links if link.owner != 0), None)
    if os.geteuid() != 0:
        why = "this process does not run as root"
    if why is not None:
        seen = f"belongs to root, and {why}, so root is not chosen for the server"
        source.refuse(seen, f'start with user="0:0" if that is meant, or `chown` {source.path}')
    others = next(_find_others(walked), "")
    return others and f"the server runs as root, because {source.path} belongs to root, although {others}"


def _find_others(walked: Walk) -> Iterator[str]:
    """Which folders on a path are not root's alone."""
    for step in walked.steps:
        status = step.status
        # In a sticky folder nobody renames what is root's. The directory itself is not only passed through.
        is_passed = bool(status.st_mode & stat.S_ISVTX) and step.path != walked.path
        is_of_group = status.st_gid == 0 and not has_access_list(step.path)
        if status.st_uid != 0:
            yield f"{step.path} belongs to uid {status.st_uid}"
        elif not is_passed and status.st_mode & stat.S_IWOTH:
            yield f"everybody may write to {step.path}"
        elif not is_passed and status.st_mode & stat.S_IWGRP and not is_of_group:
            yield f"others may write to {step.path} (group {status.st_gid}, or an access list)"
