"""Delivery reports as real servers write them (RFC 3464): text, machine-readable part, headers of the original."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime

HEADER_LIMIT = 4_000


@dataclass(frozen=True, slots=True)
class Failure:
    """What the report says. `action` is failed or delayed; `status` the enhanced code; `diagnostic` the remote line."""

    action: str
    status: str
    diagnostic: str


NO_SUCH_USER = Failure("failed", "5.1.1", "550 5.1.1 <{recipient}>: Recipient address rejected: User unknown")
MAILBOX_FULL_FOR_NOW = Failure("delayed", "4.2.2", "452 4.2.2 <{recipient}> The recipient's mailbox is over quota")
MAILBOX_FULL = Failure("failed", "5.2.2", "552 5.2.2 <{recipient}> Mailbox full, try again later")


def original_head(raw: bytes) -> bytes:
    """The headers of the message a report is about, cut to a sane length."""
    head = raw.split(b"\r\n\r\n", 1)[0]
    return head[:HEADER_LIMIT].rpartition(b"\r\n")[0] if len(head) > HEADER_LIMIT else head


REPORT = """\
From: Mail Delivery System <MAILER-DAEMON@{host}>
To: {to}
Subject: {subject}
Date: {date}
Message-ID: <{token}@{host}>
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="report-{token}"

--report-{token}
Content-Type: text/plain; charset=us-ascii

This is the mail system at host {host}.

Your message {verdict} to one or more recipients.

<{recipient}>: {diagnostic}

--report-{token}
Content-Type: message/delivery-status

Reporting-MTA: dns; {host}
Arrival-Date: {date}

Final-Recipient: rfc822; {recipient}
Original-Recipient: rfc822;{recipient}
Action: {action}
Status: {status}
Remote-MTA: dns; {host}
Diagnostic-Code: smtp; {diagnostic}

--report-{token}
Content-Type: text/rfc822-headers

"""
WORDS = {
    "failed": ("Undelivered Mail Returned to Sender", "could not be delivered"),
    "delayed": ("Delayed Mail (still being retried)", "has not been delivered yet"),
}


def delivery_report(
    failure: Failure, recipient: str, to: str, reporting_host: str, head: bytes, now: datetime, token: str
) -> bytes:
    """A multipart/report to `to` about `recipient`; `token` makes boundary and Message-ID unique.

    Sent with an empty envelope sender by whoever delivers it.
    """
    subject, verdict = WORDS[failure.action]
    report = REPORT.format(
        host=reporting_host,
        to=to,
        subject=subject,
        date=format_datetime(now),
        token=token,
        verdict=verdict,
        recipient=recipient,
        action=failure.action,
        status=failure.status,
        diagnostic=failure.diagnostic.format(recipient=recipient),
    )
    raw = report.replace("\n", "\r\n").encode("utf-8", "replace") + head.rstrip(b"\r\n")
    return raw + f"\r\n\r\n--report-{token}--\r\n".encode()
