"""The one place where channels are made from settings: called once per process, by the composition root."""

from __future__ import annotations

from dataclasses import dataclass

from app.channels.dns import DnsResolver
from app.channels.hooks import Poster
from app.channels.imap import ImapReader
from app.channels.pictures import PictureFetcher
from app.channels.smtp import SmtpTransport
from app.channels.verify import Verifier
from app.channels.wire import Net
from app.core.config import Settings, greeting_name
from app.core.net import AllowedTargets


@dataclass(frozen=True)
class Channels:
    """All ways out of the house. Sessions are opened per use; these objects hold no connection."""

    email: SmtpTransport
    reader: ImapReader
    resolver: DnsResolver
    verifier: Verifier
    pictures: PictureFetcher
    hooks: Poster
    net: Net


def build_channels(settings: Settings) -> Channels:
    """Raises AllowTargetsError when EMBERPOST_ALLOW_TARGETS cannot be read.

    A rehearsal reaches only what EMBERPOST_ALLOW_TARGETS names: the launcher writes its sandbox's ports there.
    """
    resolver = DnsResolver()
    allow = AllowedTargets.parse(settings.allow_targets, only=settings.rehearsal)
    # Who runs mail servers in a private network usually signs their certificates himself, and said so by naming it.
    net = Net(allow, resolver, verify_trusted=False)
    email = SmtpTransport(net, greeting_name(settings))
    reader = ImapReader(net)
    return Channels(email, reader, resolver, Verifier(email, reader), PictureFetcher(net), Poster(net), net)
