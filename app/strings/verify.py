"""Why a mailbox could not be verified, and what to do. Keys: the causes of `app.channels.verify.Cause`."""

from __future__ import annotations

TEXTS: dict[str, str | tuple[str, str]] = {
    "verify.ok": "Works.",
    "verify.wrong_password": "User name or password is not accepted. Type both again; many providers want an app password here.",
    "verify.app_password_needed": "This provider wants an app password: create one in the account's security settings and use it here.",
    "verify.basic_auth_disabled": "The provider no longer accepts passwords here. Ask its administrator to allow them, or connect by OAuth.",
    "verify.login_blocked": "The provider blocked this login. Sign in once in a browser, confirm that it was you, and verify again.",
    "verify.smtp_auth_disabled": "Sending by SMTP is switched off for this mailbox. Switch on “Authenticated SMTP” at the provider.",
    "verify.imap_disabled": "IMAP is switched off for this mailbox. Switch it on in the mailbox's settings at the provider.",
    "verify.account_suspended": "The provider has suspended this account. Sign in there and see what it asks for.",
    "verify.password_expired": "The password has expired. Set a new one at the provider and enter it here.",
    "verify.auth_not_offered": "The server offers no login we can use at this port. Try port 587 with STARTTLS or 465 with TLS.",
    "verify.tls_required": "The server wants an encrypted connection. Choose STARTTLS or TLS.",
    "verify.starttls_not_offered": "The server offers no STARTTLS at this port. Choose TLS with port 465 (IMAP: 993).",
    "verify.certificate": "The server's certificate is not valid for this name. Check the host name, or ask its administrator.",
    "verify.tls": "No encrypted connection came about. This port may want STARTTLS instead of TLS, or the reverse.",
    "verify.host_unknown": "No server of this name was found. Check the spelling of the host.",
    "verify.bad_host": "This is not the name of a server. Write it like smtp.company.com.",
    "verify.bad_port": "This port is not used for mail here. Sending: 465 or 587. Reading: 993 or 143.",
    "verify.refused": "Nothing listens at this port. Check the port number.",
    "verify.unreachable": "The server cannot be reached now. Check host and port, and try again.",
    "verify.timeout": "The server did not answer in time. Check host and port, and try again.",
    "verify.not_allowed": "This server is not an allowed target. An operator can allow its network in EMBERPOST_ALLOW_TARGETS.",
    "verify.connection_lost": "The server ended the connection. Check port and encryption, and try again.",
    "verify.bad_reply": "What answers there is not the mail server expected. Check host and port.",
    "verify.too_many": "The provider sees too many logins or connections. Wait a while and verify again.",
    "verify.busy": "The server is not ready to serve now. Try again in some minutes.",
    "verify.secret_lost": "The stored password cannot be opened with the present keys. Type it again.",
    "verify.other": "The server refused. Its own words are shown beside this.",
}
