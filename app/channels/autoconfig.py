"""Filling in a mailbox's servers from its address: known domain, known MX, SRV records (RFC 6186), else guesses."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import StrEnum

from app.channels.base import Resolver
from app.domain.providers import Provider, SentCopies, Server, provider_of_domain, provider_of_mx


class Source(StrEnum):
    """How sure the suggestion is: `guess` must be looked at by a person."""

    DOMAIN = "domain"
    MX = "mx"
    SRV = "srv"
    GUESS = "guess"


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What to fill in. `provider` is the preset's key or empty; `hint` a key of the string catalogue or empty."""

    smtp: Server
    imap: Server
    user: str
    source: Source
    provider: str = ""
    label: str = ""
    hint: str = ""
    daily_limit: int = 0
    sent_copies: SentCopies = SentCopies.APPEND


async def suggest(email: str, resolver: Resolver) -> Suggestion | None:
    """Servers for this address, or None when it is no address. Offline it falls back to known domains and guesses."""
    found = unasked(email)
    if found is None or found.source is Source.DOMAIN:
        return found
    email = found.user
    domain = email.rpartition("@")[2]
    mx, submissions, submission, imaps, imap = await asyncio.gather(
        resolver.mx(domain),
        resolver.srv(f"_submissions._tcp.{domain}"),
        resolver.srv(f"_submission._tcp.{domain}"),
        resolver.srv(f"_imaps._tcp.{domain}"),
        resolver.srv(f"_imap._tcp.{domain}"),
    )
    known = provider_of_mx([row.host for row in mx])
    if known is not None:
        return _preset(email, known, Source.MX)
    out = [Server(row.host, row.port, "tls") for row in submissions]
    out += [Server(row.host, row.port, "tls" if row.port == 465 else "starttls") for row in submission]
    into = [Server(row.host, row.port, "tls") for row in imaps]
    into += [Server(row.host, row.port, "tls" if row.port == 993 else "starttls") for row in imap]
    if out and into:
        return Suggestion(out[0], into[0], email, Source.SRV)
    guess = await _guess(domain, [row.host for row in mx], resolver)
    return Suggestion(out[0] if out else guess[0], into[0] if into else guess[1], email, Source.GUESS)


def unasked(email: str) -> Suggestion | None:
    """What can be said without asking anybody: the preset of a known domain, else the usual names; None when it is no address."""
    local, at, domain = email.strip().rpartition("@")
    domain = domain.lower().rstrip(".")
    if not at or not local or "." not in domain or any(c.isspace() for c in email.strip()):
        return None
    email = f"{local}@{domain}"
    known = provider_of_domain(domain)
    if known is not None:
        return _preset(email, known, Source.DOMAIN)
    return Suggestion(Server(f"smtp.{domain}", 587, "starttls"), Server(f"imap.{domain}", 993, "tls"), email, Source.GUESS)


def _preset(email: str, known: Provider, source: Source) -> Suggestion:
    user = email if known.user_is_address else email.rpartition("@")[0]
    return Suggestion(
        known.smtp, known.imap, user, source, known.key, known.label, known.hint, known.daily_limit, known.sent_copies
    )


async def _guess(domain: str, mx: list[str], resolver: Resolver) -> tuple[Server, Server]:
    """The usual names, the first that exists: smtp./imap., then mail., then the receiving server itself."""
    smtp_names = [f"smtp.{domain}", f"mail.{domain}", *mx[:1]]
    imap_names = [f"imap.{domain}", f"mail.{domain}", *mx[:1]]
    asked = list(dict.fromkeys(smtp_names + imap_names))
    answers = dict(zip(asked, await asyncio.gather(*(resolver.addresses(name) for name in asked)), strict=True))
    smtp = next((name for name in smtp_names if answers[name]), smtp_names[0])
    imap = next((name for name in imap_names if answers[name]), imap_names[0])
    return Server(smtp, 587, "starttls"), Server(imap, 993, "tls")
