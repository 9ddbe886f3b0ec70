# ruff: noqa: E501 - places as a table
"""Whatever stands in fields, names, subjects and file names: Postfix, Exim and OpenSMTPD each read one mail with our headers.

Every value of the list is tried in every place of a campaign's mail and of an answer with a file. Where a place takes it, the mail
goes over the product's own SMTP to the three servers, and what they hand on is compared with what was composed: as many mails, the
same one recipient, the same headers in the same order with the same values, the same body.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from app.channels.base import Envelope
from app.channels.smtp import SmtpSession
from app.domain.compose import Attachment
from app.services.outbox.rendering import Rendered, RenderInput, render
from launch import unpacked
from sandbox.dovecot import free_port
from sandbox.relays import Relay, running_relays, why_not
from tests.channels.peers import endpoint, granted, local_net
from tests.fixtures.hostile_values import EVIL, VALUES

pytestmark = pytest.mark.slow
FIELDS = ("first_name", "last_name", "company", "title", "note", "linkedin_url", "language")
CAMPAIGN = RenderInput(
    now=datetime(2026, 11, 23, 10, 0, tzinfo=UTC), token="", sender_address="sender@ours.test", sender_name="Sender", sender_zone="UTC", to_address="",
    to_name="Ada Brook", subject="Hello " + " ".join("{{" + name + "}}" for name in FIELDS), text="\n".join("{{" + name + "}}" for name in FIELDS) + "\n{{unsubscribe_url}}",
    html="<p>" + "</p><p>".join("{{" + name + "}}" for name in FIELDS) + "</p>", values=dict.fromkeys(FIELDS, "Plain"), way_out="https://desk.test/u/abc",
    client_name="Acme", postal_address="1 Ember Lane", campaign_id=7, allow_reserved=True,
)  # fmt: skip
ANSWER = replace(
    CAMPAIGN, personal=True, subject="Re: Hello", text="Hello", html="<p>Hello</p>", campaign_id=None,
    attachments=(Attachment("offer.pdf", "application/pdf", b"%PDF-1.4"),),
)  # fmt: skip
#: Each place where a value may come to stand: name → (mail, the mail with the value there).
PLACES: dict[str, tuple[RenderInput, Callable[[RenderInput, str], RenderInput]]] = {
    **{name: (CAMPAIGN, lambda given, value, name=name: replace(given, values={**given.values, name: value})) for name in FIELDS},  # type: ignore[misc]
    "to_name": (CAMPAIGN, lambda given, value: replace(given, to_name=value)),
    "sender_name": (CAMPAIGN, lambda given, value: replace(given, sender_name=value)),
    "client_name": (CAMPAIGN, lambda given, value: replace(given, client_name=value)),
    "postal_address": (CAMPAIGN, lambda given, value: replace(given, postal_address=value)),
    "subject": (ANSWER, lambda given, value: replace(given, subject=value)),
    "text": (ANSWER, lambda given, value: replace(given, text=value)),
    "html": (ANSWER, lambda given, value: replace(given, html=f"<p>{value}</p>")),
    "file name": (ANSWER, lambda given, value: replace(given, attachments=(replace(given.attachments[0], filename=value),))),
    "file type": (ANSWER, lambda given, value: replace(given, attachments=(replace(given.attachments[0], content_type=value),))),
}


@dataclass
class Taken:
    recipients: list[str]
    sender: str
    raw: bytes


class Sink:
    """Keeps what is handed in, byte for byte."""

    def __init__(self) -> None:
        self.taken: list[Taken] = []

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        self.taken.append(Taken(list(envelope.rcpt_tos), envelope.mail_from, bytes(envelope.content)))
        return "250 kept"


@pytest.fixture
def sink() -> Iterator[tuple[Sink, int]]:
    kept = Sink()
    controller = Controller(kept, hostname="127.0.0.1", port=free_port())
    controller.start()
    yield kept, controller.port
    controller.stop()


@pytest.fixture
def relays(sink: tuple[Sink, int]) -> Iterator[list[Relay]]:
    reason = why_not(unpacked.FOLDER)
    if reason:
        words = f"what three mail servers read cannot be seen: {reason}"
        if os.environ.get("CI", "").lower() in {"1", "true", "yes"}:
            pytest.fail(words)
        pytest.skip(words)
    folder = Path(tempfile.mkdtemp(prefix="relays-"))
    folder.chmod(0o755)
    try:
        with running_relays(folder, unpacked.FOLDER, sink[1]) as three:
            yield three
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def hostile_mails() -> tuple[dict[str, RenderInput], dict[str, int]]:
    """(mails with each value in all places that take it, how many places refuse a value at all)."""
    mails, refused = {}, dict.fromkeys(PLACES, 0)
    for number, (_name, value) in enumerate(VALUES):
        whole = {"c": replace(CAMPAIGN, token=f"hostile-c-{number}"), "a": replace(ANSWER, token=f"hostile-a-{number}")}
        for place, (base, put) in PLACES.items():
            kind = "c" if base is CAMPAIGN else "a"
            if isinstance(render(replace(put(base, value), token="alone-x", to_address="lead@far.test")), Rendered):
                whole[kind] = put(whole[kind], value)
            else:
                refused[place] += 1
        mails |= {f"{kind}{number}": mail for kind, mail in whole.items()}
    return mails, refused


def test_every_value_in_every_place_is_one_mail_with_our_headers_for_three_servers(relays: list[Relay], sink: tuple[Sink, int]) -> None:
    assert len(VALUES) >= 300
    mails, refused = hostile_mails()
    assert all(count < len(VALUES) for count in refused.values()), "a place that refuses everything is not tried"
    composed = {}
    for relay in relays:
        for name, mail in mails.items():
            address = f"{name}.{relay.name}@far.test"
            found = render(replace(mail, to_address=address))
            assert isinstance(found, Rendered), f"{name}: each place takes it, all of them together do not"
            composed[address] = found.mime
    asyncio.run(all_sent(relays, composed))
    kept, until = sink[0], time.monotonic() + 240
    while len(kept.taken) < len(composed) and time.monotonic() < until:
        time.sleep(0.1)
    time.sleep(0.5)  # one that was smuggled in would come last
    logs = "\n".join(f"{relay.name}: {relay.log.read_text(errors='replace')[-600:]}" for relay in relays)
    assert sorted(one for mail in kept.taken for one in mail.recipients) == sorted(composed), logs
    assert all(mail.sender == "sender@ours.test" for mail in kept.taken)
    wrong = [fault for mail in kept.taken for fault in faults(mail.recipients[0], composed[mail.recipients[0]], mail.raw)]
    assert not wrong, f"{len(wrong)}\n" + "\n".join(wrong[:20])
    print(f"\n{len(VALUES)} values, {len(PLACES)} places, {len(composed)} mails through {len(relays)} servers; refused with words: {refused}")


def test_a_mail_that_was_tampered_with_would_be_seen() -> None:
    """The comparison itself: an added header, a changed value, a lost line."""
    sent = b"From: a@b.test\r\nSubject: x\r\n\r\nHello\r\n"
    trace = b"Received: by x\r\n\tfor y\r\n"
    assert faults("x", sent, trace + sent) == []
    assert faults("x", sent, trace + b"Bcc: e@x.test\r\n" + sent) and faults("x", sent, sent.replace(b"Subject: x", b"Subject: x\r\nX: y"))
    assert faults("x", sent, sent.replace(b"Subject: x", b"Subject: y")) and faults("x", sent, sent.replace(b"Hello", b"Hell"))


async def all_sent(relays: list[Relay], composed: dict[str, bytes]) -> None:
    """Over the product's own road, one connection a server."""
    async def to(relay: Relay) -> None:
        session = SmtpSession(endpoint(relay.port, login=False), ehlo_name="desk.ours.test", net=local_net())
        await session.open()
        for address, mime in composed.items():
            if f".{relay.name}@" in address:
                if not session.usable:
                    await session.open()
                await session.send(Envelope("sender@ours.test", address, mime), granted(time.monotonic))
        await session.quit()

    await asyncio.gather(*(to(relay) for relay in relays))


def faults(name: str, sent: bytes, received: bytes) -> list[str]:
    """Where the mail that arrived is not the one that was composed; what servers add on the way is theirs."""
    ours, theirs = fields(sent), [field for field in fields(received) if field[0] not in {"received", "return-path", "delivered-to"}]
    wrong = [f"{name}: {mine} became {other}" for mine, other in zip(ours, theirs, strict=False) if mine != other]
    wrong += [f"{name}: {[one for one, _ in theirs]} instead of {[one for one, _ in ours]}"] if len(ours) != len(theirs) else []
    wrong += [f"{name}: {EVIL} stands where recipients do"] if any(EVIL in address_of(value) for one, value in theirs if one in {"to", "from"}) else []
    bodies = [raw.replace(b"\r\n", b"\n").partition(b"\n\n")[2].rstrip() for raw in (sent, received)]
    return wrong + ([f"{name}: the body changed"] if bodies[0] != bodies[1] else [])


def fields(raw: bytes) -> list[tuple[str, str]]:
    """(name, unfolded value) of each header, as any reader splits them."""
    head = re.split(rb"\r?\n\r?\n", raw, maxsplit=1)[0]
    unfolded = re.sub(rb"\r?\n(?=[ \t])", b"", head)
    lines = re.split(rb"\r\n|\r|\n", unfolded)
    return [(line.partition(b":")[0].decode().lower(), re.sub(r"\s+", " ", line.partition(b":")[2].decode("latin-1")).strip()) for line in lines]


def address_of(value: str) -> str:
    """What is outside quotes, encoded words and comments: the address itself."""
    return re.sub(r'"(?:\\.|[^"\\])*"|=\?[^?]*\?.\?[^?]*\?=', "", value)
