"""The directory of a pipeline: resolved, checked, as a path of the engine's host, with the user that works in it."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from jupyter_launcher.engine.protocol import Engine
from jupyter_launcher.engine.traits import EngineTraits
from jupyter_launcher.errors import PipelineDirError
from jupyter_launcher.host.address import EngineAddress
from jupyter_launcher.host.links import Walk, walk
from jupyter_launcher.host.look import Look
from jupyter_launcher.host.rules import (
    DirectoryRules,
    check_folder,
    check_kernel,
    check_links,
    check_root,
    check_roots,
    has_access_list,
)
from jupyter_launcher.host.sockets import EngineSockets
from jupyter_launcher.host.source import Source, View, clean_path
from jupyter_launcher.host.volumes import DEFAULT_USER, check_volume_rules, prepare_volume
from jupyter_launcher.models import Mount, Volume
from jupyter_launcher.spec.checks import check_user

__all__ = ["PipelineDir", "check_home", "check_mount_sources", "look_identity", "maps_ids", "resolve_pipeline_dir"]

_KIND = "pipeline dir"

_OVERFLOW_ID = 65534
"""The kernel's overflow id, by default 65534: what a user namespace shows of an id that it does not map."""
# In these a container sees the devices and inodes of its host; a sandbox with a kernel of its own has others.
_RUNTIMES = ("runc", "crun", "youki", "nvidia", "io.containerd.runc.v2")


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineDir:
    """A directory, or a volume, that can be mounted, and the user that works in it.

    ``identity`` is ``<device>:<inode>`` of the directory, as ``stat -c %d:%i`` prints it in a container; None: not
    known, or a volume, which the engine finds by its name alone and keeps while it is used. ``warning`` tells what its
    caller may not have meant; empty where there is nothing to tell.
    """

    path: Path | Volume
    user: str
    identity: str | None = None
    warning: str = ""


def _refuse(path: str | os.PathLike[str], seen: str, hint: str) -> NoReturn:
    msg = f"pipeline dir {os.fspath(path)} {seen}"
    raise PipelineDirError(msg, hint=hint, path=os.fspath(path)) from None


def _choose_user(given: str | int | None, owner: int, group: int) -> str:
    """Who works in a directory: its owner, or who was asked for; a uid alone gets the directory's group."""
    if given is None:
        return f"{owner}:{group}"
    user = check_user(given, "user")
    return f"{user}:{group}" if user.isdecimal() else user


def _needs_owner(given: str | int | None) -> bool:
    """Whether the owner of the directory has a part in who works there."""
    return given is None or check_user(given, "user").isdecimal()


def maps_ids(traits: EngineTraits) -> bool | None:
    """Whether a uid of a container is another one on the engine's host; None: not known."""
    if traits.rootless or traits.remapped:
        return True
    return None if traits.rootless is None or traits.remapped is None else False


def _choose_mapped_user(path: Path | Volume, given: str | int | None, ids: tuple[int, int]) -> tuple[str, str]:
    """As ``_choose_user``, for the ids that a user namespace shows. The second is a warning, or empty.

    Raises:
        PipelineDirError: the owner is to work there, and the user namespace does not have that uid.
    """
    owner, group = ids
    if given is None and owner == _OVERFLOW_ID:
        seen = (
            "belongs to a user whom the engine's user namespace does not have, so nobody there could work as the owner"
        )
        _refuse(str(path), seen, f"`chown` {path} to a user whom the engine has, or start with user=")
    if not _needs_owner(given) or group != _OVERFLOW_ID:
        return _choose_user(given, owner, group), ""
    own = owner if given is None else int(check_user(given, "user"))
    warning = f"the engine's user namespace does not have the group of {path}, so the server has group {own} there"
    return f"{own}:{own}", warning


def _check_access(path: Path, status: os.stat_result, user: str, groups: Collection[str]) -> None:
    """Refuse what is known to be closed to ``uid:gid`` of this host. A name is known to the image alone.

    The server has no capabilities, so the mode counts for uid 0 as for everyone.
    """
    uid, _, gid = user.partition(":")
    if not all(item.isdecimal() for item in (uid, gid, *groups)) or has_access_list(path):
        return
    is_member = status.st_gid in map(int, (gid, *groups))
    # The kernel takes the first of these that fits, and no other.
    who, shift = ("u", 6) if int(uid) == status.st_uid else ("g", 3) if is_member else ("o", 0)
    if (status.st_mode >> shift) & 0o5 != 0o5:
        seen = (
            f"has mode {stat.S_IMODE(status.st_mode):04o} and owner {status.st_uid}:{status.st_gid}, so user {user} "
            "of the server can't read it"
        )
        _refuse(path, seen, f"`chmod {who}+rwx {path}` or start with another user=")


def resolve_pipeline_dir(
    engine: Engine,
    address: EngineAddress,
    given: str | os.PathLike[str] | Volume,
    user: str | int | None,
    *,
    image: str | Callable[[], str],
    rules: DirectoryRules,
    groups: Collection[str] = (),
) -> PipelineDir:
    """The directory or volume to mount, and the user that works in it.

    With a remote engine the path is on the remote host. It is checked by running ``stat`` in a short-lived
    container of ``image``; so is the identity of a directory where the engine has a kernel of its own, and the owner
    where the engine maps ids, or may do so: then once for each owner. A volume is prepared by such a container. In a
    swarm the identity is not known, and nobody looks where ``user`` is more than a uid.

    Args:
        engine: that mounts it.
        address: how this process sees that engine.
        given: the directory, or the volume.
        user: ``uid:gid``, ``uid`` (the group is the directory's then), or a name; None: the owner.
        image: of a container that looks; or what finds it when one is to look.
        rules: of the launcher.
        groups: more groups of the user, by number or name.

    Raises:
        OptionError: ``user`` cannot be one.
        PipelineDirError: it cannot be used, its owner is not in the engine's user namespace, the rules refuse it, or
            the engine's host cannot mount it.
        EngineError: the engine does not answer, or has no such image.
    """
    if user is not None:
        check_user(user, "user")
    traits = engine.traits
    look = Look(engine=engine, address=address, image=image)
    if isinstance(given, Volume):
        return _resolve_volume(look, given, user, rules, traits)
    if address.has_nodes and user is not None and not _needs_owner(user):
        return PipelineDir(path=_check_node_path(address, given, rules, traits), user=check_user(user, "user"))
    if address.is_remote:
        folder = _resolve_remote(look, given, user, rules, traits)
    else:
        folder = _resolve_here(look, given, user, rules, traits, groups)
    # The node of the look may be another one than that of the session.
    return folder if _shows_identities(traits) and not address.has_nodes else replace(folder, identity=None)


def _shows_identities(traits: EngineTraits) -> bool:
    """Whether a container sees the devices and inodes of its host."""
    return traits.runtime is None or Path(traits.runtime).name in _RUNTIMES


def _resolve_volume(
    look: Look, volume: Volume, user: str | int | None, rules: DirectoryRules, traits: EngineTraits
) -> PipelineDir:
    ids = prepare_volume(look, volume, DEFAULT_USER if user is None else check_user(user, "user"), rules)
    worker, warning = _choose_user(user, *ids), ""
    if maps_ids(traits):
        worker, warning = _choose_mapped_user(volume, user, ids)
    if user is None and ids[0] == 0:
        warning = f"the server runs as root, because {volume} belongs to root and holds something; user= says otherwise"
    return PipelineDir(path=volume, user=worker, warning=warning)


def _resolve_remote(
    look: Look, given: str | os.PathLike[str], user: str | int | None, rules: DirectoryRules, traits: EngineTraits
) -> PipelineDir:
    path = _remote_path(look.address, given)
    seen = look.look_at(path)
    _check_rules(look.address, Source(kind=_KIND, path=path, walk=None), rules, traits)
    if maps_ids(traits):
        worker, warning = _choose_mapped_user(path, user, seen.ids)
    else:
        worker, warning = _choose_user(user, *seen.ids), ""
    return PipelineDir(path=path, user=worker, identity=seen.identity, warning=warning)


def _check_node_path(
    address: EngineAddress, given: str | os.PathLike[str], rules: DirectoryRules, traits: EngineTraits
) -> Path:
    """A path of a node of which nobody knows yet which one it will be, once the rules let it through."""
    path = _remote_path(address, given)
    _check_rules(address, Source(kind=_KIND, path=path, walk=None), rules, traits)
    return path


def _resolve_here(
    look: Look,
    given: str | os.PathLike[str],
    user: str | int | None,
    rules: DirectoryRules,
    traits: EngineTraits,
    groups: Collection[str],
) -> PipelineDir:
    walked, status = _walk(given)
    source = Source(kind=_KIND, path=_to_host_path(look.address, walked.path), walk=walked)
    _check_rules(look.address, source, rules, traits)
    if not os.access(walked.path, os.R_OK | os.X_OK):
        _refuse(walked.path, "cannot be read by this process", "start as a user that may read it, or change its mode")
    ids, is_mapped = (status.st_uid, status.st_gid), maps_ids(traits)
    worker, warning = _choose_user(user, *ids), ""
    if user is None or is_mapped is False:  # else the given uid may be another one on this host
        _check_access(walked.path, status, worker, groups)
    identity = f"{status.st_dev}:{status.st_ino}"
    seen_ids = ids
    if not look.address.shares_kernel:  # another kernel has other numbers for its devices
        seen = look.look_at(source.path)
        identity, seen_ids = seen.identity, seen.ids if is_mapped else ids
    elif is_mapped is not False and _needs_owner(user):
        seen_ids = look.find_ids(source.path, ids, identity if _shows_identities(traits) else None)
    if is_mapped or seen_ids != ids:
        worker, warning = _choose_mapped_user(source.path, user, seen_ids)
    elif user is None and status.st_uid == 0:
        warning = check_root(source, walked)
    return PipelineDir(path=source.path, user=worker, identity=identity, warning=warning)


def _walk(given: str | os.PathLike[str]) -> tuple[Walk, os.stat_result]:
    """Walk to a directory of this process."""
    try:
        if not os.fspath(given):
            _refuse(repr(given), "is empty", "give a directory; `.` is the one that this process works in")
        path = Path(given).expanduser()
        str(path).encode()
        walked = walk(path)
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        msg = f"pipeline dir {given!r} cannot be used: {error}"
        raise PipelineDirError(msg, hint="give a directory that you can read", path=repr(given)) from error
    if walked.status is None:
        _refuse(given, "does not exist", "create it first, nothing is created for you")
    if not stat.S_ISDIR(walked.status.st_mode):
        _refuse(walked.path, "is not a directory", "give the directory that holds the pipeline's files")
    if walked.path == Path(walked.path.anchor):
        _refuse(walked.path, "is the whole file system", "give the directory that holds the pipeline's files")
    return walked, walked.status


def _check_rules(address: EngineAddress, source: Source, rules: DirectoryRules, traits: EngineTraits) -> None:
    view = View(address)
    _check_source(view, _find_sockets(view, address, rules), source)
    check_folder(view, source, traits)
    check_roots(source, rules.roots, is_pipeline=True)


def check_mount_sources(address: EngineAddress, mounts: Iterable[Mount], rules: DirectoryRules) -> None:
    """See that the rules let the sources of mounts through. Volumes are the engine's own.

    Raises:
        PipelineDirError: they do not, or this process may not look at one.
    """
    for mount in mounts:
        if mount.type == "volume":
            check_volume_rules(Volume(mount.source), rules)
    _check_paths(address, [mount.source for mount in mounts if mount.type == "bind"], "mount source", rules)


def check_home(address: EngineAddress, home: str | Volume | None, rules: DirectoryRules) -> None:
    """See that the rules let a home through, and that it is a directory where this process sees it.

    Raises:
        PipelineDirError: they do not, or it is none.
    """
    if isinstance(home, Volume):
        check_volume_rules(home, rules)
    elif home is not None:
        _check_paths(address, [home], "home", rules)
        here = address.find_here(Path(home))
        if here is not None and not here.is_dir():
            msg = f"home {home} is no directory"
            raise PipelineDirError(msg, hint="create it first, nothing is created for you", path=home)


def _check_paths(address: EngineAddress, paths: Iterable[str], kind: str, rules: DirectoryRules) -> None:
    view = View(address)
    sockets = _find_sockets(view, address, rules)
    for path in paths:
        source = view.look_at(path, kind)
        _check_source(view, sockets, source)
        check_roots(source, rules.roots, is_pipeline=False)


def _find_sockets(view: View, address: EngineAddress, rules: DirectoryRules) -> EngineSockets | None:
    """The sockets that may not be mounted; None where they may."""
    return None if rules.allow_engine_socket else EngineSockets(view, address)


def _check_source(view: View, sockets: EngineSockets | None, source: Source) -> None:
    """What holds for each source of a mount, the pipeline directory too."""
    check_links(view, source)
    if sockets is not None:
        sockets.check(source)
    check_kernel(view, source)


def look_identity(address: EngineAddress, path: Path) -> str | None:
    """The directory that is at a path of the engine's host now, as in ``PipelineDir.identity``.

    ``""`` where none is; None where this process cannot tell: the engine is elsewhere, or the path is not mounted
    into the container of this process.
    """
    here = address.find_here(path)
    if here is None:
        return None
    try:
        status = here.stat()
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError:
        return None
    return f"{status.st_dev}:{status.st_ino}" if stat.S_ISDIR(status.st_mode) else ""


def _to_host_path(address: EngineAddress, path: Path) -> Path:
    """The path on the engine's host of a path that this process sees.

    Raises:
        PipelineDirError: it lies in the file system of this process's own container.
    """
    found = address.find_on_host(path)
    if found is not None:
        return found
    own = address.find_own_container()
    name = "this process" if own is None else own.name
    msg = (
        f"{path} is in the file system of container {name}, in which this launcher runs, and the engine cannot mount "
        "it elsewhere"
    )
    hint = f"mount a folder of the host into {name}, and give a path below it"
    raise PipelineDirError(msg, hint=hint, path=str(path))


def _remote_path(address: EngineAddress, given: str | os.PathLike[str]) -> Path:
    try:
        path = clean_path(given)
        str(path).encode()
    except (TypeError, ValueError) as error:
        msg = f"pipeline dir {given!r} cannot be used: {error}"
        raise PipelineDirError(msg, hint="give an absolute path of the engine's host", path=repr(given)) from error
    if not path.is_absolute() or path == Path(path.anchor) or "\0" in str(path):
        _refuse(given, f"would be on {address.place}", "give an absolute path of that host")
    return path
