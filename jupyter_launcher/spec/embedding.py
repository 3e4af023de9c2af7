"""The one other origin that may embed a session: its check, and the server's settings for it."""

from __future__ import annotations

import ipaddress
import re

from jupyter_launcher.models.options import show_value
from jupyter_launcher.spec.checks import refuse_option

__all__ = ["check_origin", "embedding_arguments", "needs_third_party_cookies"]

# As a browser writes it, and no more than a Content-Security-Policy can name: no IPv6 address.
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_ORIGIN = re.compile(rf"(?P<scheme>https?)://(?P<host>{_LABEL}(?:\.{_LABEL})*)(?::(?P<port>[0-9]{{1,5}}))?")
_DEFAULT_PORTS = {"http": "80", "https": "443"}


def check_origin(value: object, option: str) -> str | None:
    """An exact origin, spelled as browsers do: in small letters, without the scheme's own port.

    Raises:
        OptionError: a wildcard, a path, or anything else that is no origin.
    """
    if value is None:
        return None
    found = _ORIGIN.fullmatch(value.lower()) if isinstance(value, str) else None
    if found is None or not 0 < int(found["port"] or 1) < 65536:
        hint = (
            "give the one exact origin of the page that embeds the session, as scheme://host[:port] without a path, "
            "such as 'https://ide.example' (no wildcard, no IPv6 address)"
        )
        refuse_option(option, f"is {show_value(value)}", hint)
    port = "" if found["port"] is None else str(int(found["port"]))
    named = f"{found['scheme']}://{found['host']}"
    return named if port in {"", _DEFAULT_PORTS[found["scheme"]]} else f"{named}:{port}"


def needs_third_party_cookies(origin: str) -> bool:
    """Whether a frame of another site is possible, and needs cookies that browsers send there.

    Browsers send them there only with ``SameSite=None``, which they take only with ``Secure``, so
    only over https and on loopback. A page of plain http elsewhere must be of the server's own
    site, and there the cookies need nothing.
    """
    scheme, _, rest = origin.partition("://")
    return scheme == "https" or _is_loopback(rest.partition(":")[0])


def embedding_arguments(origin: str, base_url: str) -> tuple[str, ...]:
    """The server's arguments that let pages of ``origin``, and of no other, embed it. No check is switched off."""
    # Partitioned, because browsers block other cookies in frames of another site.
    cookies: dict[str, object] = (
        {"samesite": "None", "secure": True, "partitioned": True} if needs_third_party_cookies(origin) else {}
    )
    settings: dict[str, object] = {"headers": {"Content-Security-Policy": f"frame-ancestors 'self' {origin}"}}
    if cookies:
        # These replace the server's own settings, which hold the path alone.
        settings["xsrf_cookie_kwargs"] = {"path": base_url, **cookies}
    return (
        # For the websockets: behind a proxy, the page's origin is not the host in the request.
        f"--ServerApp.allow_origin={origin}",
        f"--ServerApp.tornado_settings={settings!r}",
        *([f"--IdentityProvider.cookie_options={cookies!r}"] if cookies else []),
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
