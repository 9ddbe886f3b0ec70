"""Passwords and sessions go over the wire in the clear only inside this machine."""

from __future__ import annotations

import ipaddress


def refusal(host: str, behind_https: bool) -> str | None:
    """Why pages must not be served on ``host`` like this, in one sentence with the fix; None when they may be."""
    if behind_https or _inside(host):
        return None
    return (
        f"Beyond this machine the pages are served only behind https: put a TLS reverse proxy in front and set EMBERPOST_BEHIND_HTTPS=1, "
        f"or listen on 127.0.0.1 instead of {host or 'every address'}."
    )


def _inside(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
