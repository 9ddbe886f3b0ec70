"""Hints shown beside the settings of known providers."""

from __future__ import annotations

TEXTS: dict[str, str | tuple[str, str]] = {
    "provider.hint.app_password": "Use an app password: switch on two-step verification at the provider and create one for mail.",
    "provider.hint.password": "Use the mailbox's own password.",
    "provider.hint.oauth": "Passwords work only where the administrator allows “Authenticated SMTP” and IMAP; many accounts need an app password.",
    "provider.hint.enable_imap": "First allow IMAP and SMTP in the mailbox's settings at the provider; with two-step verification use an app password.",
    "provider.hint.bridge": "Needs the provider's bridge program; its address must be allowed in EMBERPOST_ALLOW_TARGETS.",
}
