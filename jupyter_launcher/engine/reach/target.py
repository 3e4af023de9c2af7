"""Which engine is meant: by an address, a context or the environment, and by Docker's configuration file."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from docker.tls import TLSConfig
from requests.utils import get_environ_proxies

from jupyter_launcher.errors import OptionError
from jupyter_launcher.models.options import HiddenTexts, is_text

__all__ = ["Target", "container_proxies", "find_neighbour", "find_target"]

_log = logging.getLogger("jupyter_launcher")

_DEFAULT_HOST = "unix:///var/run/docker.sock"
_TCP = ("tcp://", "http://", "https://")
_PORTS = {False: 2375, True: 2376}
"""Of ``tcp://`` without a port, without TLS and with it, as for the docker command."""
_USER = re.compile(r"^(\w+://)?(?!/).*@", re.DOTALL)
_ADDRESSES = "give unix:///path/of/the/socket, tcp://host:port or ssh://user@host"
_PROXIES = {
    "httpProxy": "HTTP_PROXY",
    "httpsProxy": "HTTPS_PROXY",
    "noProxy": "NO_PROXY",
    "ftpProxy": "FTP_PROXY",
    "allProxy": "ALL_PROXY",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """An engine and how it is asked.

    Attributes:
        endpoint: its address as the user knows it.
        tls: its certificates; None: it is asked without TLS.
        proxies: a scheme → the proxy to it, as ``requests`` has them. They may hold passwords.
        authorities: a file of certificates, or a folder of them, for an engine without an authority of its own;
            None: those that ``requests`` comes with.
    """

    endpoint: str
    tls: TLSConfig | None
    proxies: dict[str, str] = field(repr=False)
    authorities: str | None = None


def find_target(docker_host: str | None, context: str | None) -> Target:
    """Which engine is meant, by the rules of the docker command: by a host, a context, or the environment.

    Raises:
        OptionError: there is no such context, or its address, or the one that was given, cannot be used.
    """
    folder = _config_folder()
    named = docker_host or ("" if context else os.environ.get("DOCKER_HOST"))
    chosen = context or os.environ.get("DOCKER_CONTEXT") or _read_config(folder).get("currentContext")
    if not named and chosen and chosen != "default":
        endpoint, tls = _read_context(folder / "contexts", str(chosen))
        what, option = f"the address of the Docker context {chosen!r}", "context"
    else:
        endpoint = named or os.environ.get("DOCKER_HOST") or _DEFAULT_HOST
        what, option = "docker_host" if docker_host else "DOCKER_HOST", "docker_host"
        # A socket needs no certificates.
        tls = _read_environment_tls(folder) if endpoint.startswith(_TCP) else None
    return _make_target(endpoint, tls, what, option)


def find_neighbour(target: Target, endpoint: str) -> Target:
    """Another engine, which is asked with the certificates of one that is known; without them as the environment says.

    Raises:
        OptionError: its address cannot be used.
    """
    if target.tls is None or not endpoint.startswith(_TCP):
        return find_target(endpoint, None)
    return _make_target(endpoint, target.tls, "its address", "docker_host")


def _make_target(endpoint: str, tls: TLSConfig | None, what: str, option: str) -> Target:
    fault = _find_address_fault(endpoint)
    if fault:
        msg = f"{what} is {_hide_user(endpoint)!r}, which is no engine's address"
        raise OptionError(msg, hint=fault, option=option)
    endpoint = _add_port(endpoint, is_secure=tls is not None)
    return Target(
        endpoint=endpoint,
        tls=tls,
        proxies=_find_way(endpoint, is_secure=tls is not None),
        authorities=os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE"),
    )


def container_proxies(endpoint: str) -> HiddenTexts:
    """The variables that ``docker run`` gives a container, by the section ``proxies`` of Docker's configuration file.

    What the file has for this engine's address counts, else what it has as the default.
    """
    sections = _read_config(_config_folder()).get("proxies")
    sections = sections if isinstance(sections, dict) else {}
    section = sections.get(endpoint, sections.get("default"))
    section = section if isinstance(section, dict) else {}
    found = {name: value for key, name in _PROXIES.items() if is_text(value := section.get(key)) and value}
    return HiddenTexts({**found, **{name.lower(): value for name, value in found.items()}})


def _config_folder() -> Path:
    if given := os.environ.get("DOCKER_CONFIG"):
        return Path(given)
    try:
        return Path.home() / ".docker"
    except RuntimeError:  # a user without HOME and without a name
        return Path("/.docker")


def _read_config(folder: Path) -> Mapping[str, Any]:
    """Docker's configuration file. Where it cannot be read, that is a warning and it counts as empty, as for docker."""
    path = folder / "config.json"
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        _log.warning("Docker's configuration file %s cannot be read, so nothing of it is used: %s", path, error)
        return {}
    return found if isinstance(found, dict) else {}


def _find_address_fault(endpoint: str) -> str:
    """What to give in place of an address that cannot be used; empty where it can."""
    if ":" in unquote(endpoint.partition("://")[2].partition("/")[0].rpartition("@")[0]):
        return "leave the password out: no engine is asked with one"
    if endpoint.startswith(("ssh://", "unix://", "http+unix://", "npipe://")):
        return ""
    if endpoint.startswith("/"):
        return f"give unix://{endpoint}"
    if not endpoint.startswith(_TCP):
        return _ADDRESSES if "://" in endpoint or not endpoint.strip() else f"give tcp://{_hide_user(endpoint)}"
    with contextlib.suppress(ValueError):
        parts = urlsplit(endpoint)
        if parts.port or (parts.port is None and parts.scheme == "tcp" and parts.hostname):
            return ""
    return "give a host and a port, as in tcp://host:2375"


def _hide_user(endpoint: str) -> str:
    """An address without the name and the password in it."""
    return _USER.sub(r"\1***@", endpoint)


def _add_port(endpoint: str, *, is_secure: bool) -> str:
    parts = urlsplit(endpoint)
    if parts.scheme != "tcp" or parts.port:
        return endpoint
    return parts._replace(netloc=f"{parts.netloc.rstrip(':')}:{_PORTS[is_secure]}").geturl()


def _read_context(folder: Path, name: str) -> tuple[str, TLSConfig | None]:
    """The address in a context, and its certificates; None: it has none.

    Raises:
        OptionError: there is no such context, or it cannot be read.
    """
    # Not the SDK's reader: it looks beside the configuration file, and finds nothing where that does not exist.
    identity = hashlib.sha256(name.encode(errors="replace")).hexdigest()
    path = folder / "meta" / identity / "meta.json"
    try:
        endpoint = json.loads(path.read_bytes())["Endpoints"]["docker"]
        host, is_trusting = endpoint.get("Host") or _DEFAULT_HOST, bool(endpoint.get("SkipTLSVerify"))
        if not is_text(host):
            raise TypeError(host)
    except FileNotFoundError as error:
        msg = f"there is no Docker context {name!r}"
        raise OptionError(msg, hint="`docker context ls` lists the contexts", option="context") from error
    except (OSError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        msg = f"the Docker context {name!r} cannot be read from {path}: {type(error).__name__}: {error}"
        raise OptionError(
            msg, hint="see `docker context inspect`, or create the context anew", option="context"
        ) from error
    if not host.startswith(_TCP):
        return host, None
    found = _read_tls(folder / "tls" / identity / "docker", verify=not is_trusting)
    return host, TLSConfig(verify=False) if found is None and is_trusting else found


def _read_environment_tls(folder: Path) -> TLSConfig | None:
    """The certificates by which ``DOCKER_TLS_VERIFY``, ``DOCKER_TLS`` or ``DOCKER_CERT_PATH`` wants TLS.

    The last one alone is enough for the SDK, and not for the docker command.

    Raises:
        OptionError: there are none.
    """
    certificates, verify = os.environ.get("DOCKER_CERT_PATH"), bool(os.environ.get("DOCKER_TLS_VERIFY"))
    if not (certificates or verify or os.environ.get("DOCKER_TLS")):
        return None
    place = Path(certificates) if certificates else folder
    found = _read_tls(place, verify=verify)
    if found is None or (verify and not found.ca_cert):
        msg = f"TLS is wanted by DOCKER_TLS_VERIFY, DOCKER_TLS or DOCKER_CERT_PATH, and {place} has no certificates"
        hint = "set DOCKER_CERT_PATH to the folder that has ca.pem, cert.pem and key.pem, or unset all of them"
        raise OptionError(msg, hint=hint, option="docker_host")
    return found


def _read_tls(folder: Path, *, verify: bool) -> TLSConfig | None:
    """The certificates in a folder, by the names that the docker command gives them; None: it has none."""
    authority, certificate, key = (
        str(path) if (path := folder / f"{name}.pem").is_file() else None for name in ("ca", "cert", "key")
    )
    pair = (certificate, key) if certificate and key else None
    return TLSConfig(client_cert=pair, ca_cert=authority, verify=verify) if authority or pair else None


def _find_way(endpoint: str, *, is_secure: bool) -> dict[str, str]:
    """The proxy to an engine, as the docker command takes it from the environment; never one to this host itself."""
    parts = urlsplit(endpoint)
    if not endpoint.startswith(_TCP) or _is_loopback(parts.hostname or ""):
        return {}
    scheme = "https" if is_secure or parts.scheme == "https" else "http"
    found = get_environ_proxies(f"{scheme}://{parts.netloc}")
    return {name: proxy for name, proxy in found.items() if name == scheme}


def _is_loopback(host: str) -> bool:
    """Whether a host of an address is this one, by its name or its IP."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
