"""Raw mails for the tests of what enters the house."""

from __future__ import annotations

from datetime import timedelta
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any

from tests.factories import MONDAY_TEN

NOW = MONDAY_TEN + timedelta(hours=2)


def mail(
    sender: str, to: str, subject: str = "Re: Hello", text: str = "Sounds good, call me tomorrow.", *, message_id: str | None = None,
    headers: dict[str, str] | None = None, **values: Any,
) -> bytes:  # fmt: skip
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = sender, to, subject
    message["Date"] = format_datetime(values.get("date", NOW))
    message["Message-ID"] = message_id or f"<{abs(hash((sender, subject, text)))}@somewhere.test>"
    for name, value in (headers or {}).items():
        message[name] = value
    message.set_content(text)
    for name, content in values.get("attachments", ()):
        message.add_attachment(content, maintype="application", subtype="octet-stream", filename=name)
    return message.as_bytes()


def delivery_report(to: str, failed: str, original_id: str | None, status: str = "5.1.1", said: str = "550 5.1.1 no such user", *,
                    action: str = "failed", message_id: str = "<report-1@mx.test>") -> bytes:  # fmt: skip
    returned = f"Message-ID: {original_id}\r\n" if original_id else ""
    return (
        f"From: Mail Delivery System <MAILER-DAEMON@mx.test>\r\nTo: {to}\r\nSubject: Undelivered Mail Returned to Sender\r\n"
        f"Message-ID: {message_id}\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n"
        'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\r\n\r\n'
        "--b\r\nContent-Type: text/plain\r\n\r\nYour message could not be delivered.\r\n"
        f"--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.test\r\n\r\nFinal-Recipient: rfc822; {failed}\r\n"
        f"Action: {action}\r\nStatus: {status}\r\nDiagnostic-Code: smtp; {said}\r\n"
        f"\r\n--b\r\nContent-Type: text/rfc822-headers\r\n\r\n{returned}Subject: Hello\r\nTo: {failed}\r\n\r\n--b--\r\n"
    ).encode()


def complaint(to: str, original_id: str) -> bytes:
    return (
        f"From: feedback@isp.test\r\nTo: {to}\r\nSubject: complaint\r\nMessage-ID: <arf@isp.test>\r\nMIME-Version: 1.0\r\n"
        'Content-Type: multipart/report; report-type=feedback-report; boundary="b"\r\n\r\n'
        "--b\r\nContent-Type: text/plain\r\n\r\nAbuse.\r\n"
        "--b\r\nContent-Type: message/feedback-report\r\n\r\nFeedback-Type: abuse\r\nUser-Agent: x/1\r\nVersion: 1\r\n"
        f"\r\n--b\r\nContent-Type: text/rfc822-headers\r\n\r\nMessage-ID: {original_id}\r\nSubject: Hello\r\n\r\n--b--\r\n"
    ).encode()
