"""The secrets of a mailbox: sealed for their row, opened only to log in, never shown again.

``mailboxes.<column>:<id>`` is the place a value is sealed for; in another row or column it does not open. Credentials are a
union: a password now, XOAUTH2 where ``credential_kind`` says so.
"""

from __future__ import annotations

import hashlib
from typing import Literal

from app.channels.base import Credential, EndPoint, PasswordCredential, Security
from app.core.crypto import vault
from app.core.errors import Conflict
from app.models import Mailbox
from app.strings import t

Side = Literal["smtp", "imap"]
SECRET_COLUMNS = ("smtp_secret", "imap_secret", "oauth_refresh_secret")


def place(column: str, mailbox_id: int) -> str:
    return f"mailboxes.{column}:{mailbox_id}"


def seal_password(mailbox: Mailbox, side: Side, password: str) -> None:
    """Store the password of one server; the row must have its id."""
    setattr(mailbox, f"{side}_secret", vault().seal(password, place(f"{side}_secret", mailbox.id)))


def forget(mailbox: Mailbox) -> None:
    """Take all secrets out of the ledger: a removed mailbox needs none."""
    for column in SECRET_COLUMNS:
        setattr(mailbox, column, None)


def endpoint(mailbox: Mailbox, side: Side) -> EndPoint:
    """One server of the mailbox with its opened credential. Raises CannotOpen when no configured key fits."""
    return EndPoint(
        host=getattr(mailbox, f"{side}_host"),
        port=getattr(mailbox, f"{side}_port"),
        security=Security(getattr(mailbox, f"{side}_security")),
        user=getattr(mailbox, f"{side}_user"),
        credential=_credential(mailbox, side),
        provider=mailbox.provider,
    )


def _credential(mailbox: Mailbox, side: Side) -> Credential | None:
    if mailbox.credential_kind == "xoauth2":
        raise Conflict(t("mailboxes.no_oauth_yet"))
    sealed = getattr(mailbox, f"{side}_secret")
    return PasswordCredential(vault().open(sealed, place(f"{side}_secret", mailbox.id))) if sealed else None


def fingerprint(mailbox: Mailbox) -> str:
    """Changes with anything a login depends on: a result that belongs to older settings is not recorded."""
    parts = [
        str(getattr(mailbox, f"{side}_{name}"))
        for side in ("smtp", "imap")
        for name in ("host", "port", "security", "user", "secret")
    ]
    return hashlib.sha256("\0".join([*parts, mailbox.credential_kind]).encode()).hexdigest()[:32]
