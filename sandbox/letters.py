"""Composing what people send: threaded answers in several styles, automatic answers, reports, all as raw bytes."""

from __future__ import annotations

import html
import random
from dataclasses import dataclass
from datetime import datetime
from email import policy
from email.message import EmailMessage, Message
from email.parser import BytesParser
from email.utils import format_datetime, parseaddr

from sandbox.mail.dsn import Failure, delivery_report, original_head
from sandbox.wording import (
    ATTRIBUTIONS,
    AWAY,
    AWAY_DATES,
    FOLLOW_UPS,
    HOSTILE_HTML,
    HOSTILE_TEXT,
    INTERESTED,
    NOT_NOW,
    SIGNATURES,
    STOP,
)

PDF = (
    b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n"
    b"2 0 obj<</Type/Pages/Kids[]/Count 0>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"
)


@dataclass(frozen=True, slots=True)
class Writer:
    """Who writes: the person's own facts, for names and signatures."""

    address: str
    first_name: str
    last_name: str
    company: str = ""
    title: str = ""
    language: str = "en"

    @property
    def name(self) -> str:
        return f"{self.first_name} {self.last_name}".strip() or self.address


@dataclass(frozen=True, slots=True)
class Received:
    """What an answer needs to know of the mail it answers."""

    raw: bytes
    message_id: str
    references: str
    subject: str
    reply_to: str
    sender_name: str
    date: str
    text: str
    list_unsubscribe: str
    one_click: bool
    automatic: bool


def read_mail(raw: bytes) -> Received:
    """The facts of a received mail; missing ones are empty strings."""
    mail = BytesParser(policy=policy.default).parsebytes(raw)
    body = mail.get_body(("plain", "html"))
    sender = parseaddr(_header(mail, "Reply-To") or _header(mail, "From"))
    return Received(
        raw=raw,
        message_id=_header(mail, "Message-ID"),
        references=_header(mail, "References"),
        subject=_header(mail, "Subject"),
        reply_to=sender[1],
        sender_name=parseaddr(_header(mail, "From"))[0] or sender[1],
        date=_header(mail, "Date"),
        text=str(body.get_content()) if body is not None else "",
        list_unsubscribe=_header(mail, "List-Unsubscribe"),
        one_click="one-click" in _header(mail, "List-Unsubscribe-Post").lower(),
        automatic=_header(mail, "Auto-Submitted").lower() not in ("", "no") or not sender[1],
    )


def _header(mail: Message, name: str) -> str:
    return " ".join(str(mail.get(name, "")).split())


class Letters:
    """The answers one person writes to one mail. The dice are seeded by the caller: same seed, same bytes."""

    def __init__(self, writer: Writer, mail: Received, now: datetime, dice: random.Random) -> None:
        self._writer = writer
        self._mail = mail
        self._now = now
        self._dice = dice

    def _frame(self, subject: str, sender: str | None = None) -> EmailMessage:
        address = sender or self._writer.address
        letter = EmailMessage(policy=policy.SMTP)
        letter["From"] = f"{self._writer.name} <{address}>"
        letter["To"] = self._mail.reply_to
        letter["Subject"] = subject
        letter["Date"] = format_datetime(self._now)
        letter["Message-ID"] = f"<{self._dice.getrandbits(64):016x}@{address.partition('@')[2]}>"
        if self._mail.message_id:
            letter["In-Reply-To"] = self._mail.message_id
            letter["References"] = f"{self._mail.references} {self._mail.message_id}".strip()
        return letter

    def _bytes(self, letter: EmailMessage) -> bytes:
        """The raw mail; boundaries come from our dice too, the library would draw its own."""
        for part in letter.walk():
            if part.is_multipart():
                part.set_boundary(f"part-{self._dice.getrandbits(64):016x}")
        return letter.as_bytes()

    def _reply_subject(self) -> str:
        subject = self._mail.subject
        prefixes = {"de": "AW: ", "sv": "SV: ", "en": "Re: "}
        prefix = prefixes.get(self._writer.language, "Re: ")
        return subject if subject.lower().startswith(("re:", "aw:", "sv:")) else prefix + subject

    def _fill(self, text: str) -> str:
        first = self._mail.sender_name.partition(" ")[0].partition("@")[0]
        return text.format(
            first=first,
            own=self._writer.first_name,
            name=self._writer.name,
            company=self._writer.company,
            title=self._writer.title,
            team=self._dice.randint(12, 90),
        )

    def words(self, again: bool = False) -> str:
        """A human answer with a signature; `again` for the later ones of a conversation."""
        choice = FOLLOW_UPS if again else INTERESTED if self._dice.random() < 0.65 else NOT_NOW
        return self._fill(f"{self._dice.choice(choice)}\n\n{self._dice.choice(SIGNATURES)}")

    def _attribution(self) -> str:
        pattern = ATTRIBUTIONS.get(self._writer.language, ATTRIBUTIONS["en"])
        return pattern.format(date=self._mail.date or "Monday", sender=f"{self._mail.sender_name}")

    def _quoted(self) -> str:
        return "\n".join(f"> {line}".rstrip() for line in self._mail.text.splitlines())

    def top_posting(self, again: bool = False, sender: str | None = None) -> bytes:
        letter = self._frame(self._reply_subject(), sender)
        letter.set_content(f"{self.words(again)}\n\n{self._attribution()}\n{self._quoted()}\n")
        return self._bytes(letter)

    def bottom_posting(self) -> bytes:
        letter = self._frame(self._reply_subject())
        letter.set_content(f"{self._attribution()}\n{self._quoted()}\n\n{self.words()}\n")
        return self._bytes(letter)

    def html_answer(self) -> bytes:
        words = self.words()
        letter = self._frame(self._reply_subject())
        letter.set_content(f"{words}\n\n{self._attribution()}\n{self._quoted()}\n")
        shown = html.escape(words).replace("\n", "<br>")
        quoted = html.escape(self._mail.text).replace("\n", "<br>")
        letter.add_alternative(
            f'<html><body><div dir="ltr">{shown}</div><br><div class="gmail_quote"><div class="gmail_attr">'
            f'{html.escape(self._attribution())}</div><blockquote style="border-left:1px solid #ccc;padding-left:1ex">'
            f"{quoted}</blockquote></div></body></html>",
            subtype="html",
        )
        return self._bytes(letter)

    def with_attachment(self) -> bytes:
        letter = self._frame(self._reply_subject())
        letter.set_content(
            f"{self.words()}\n\nOur requirements are attached.\n\n{self._attribution()}\n{self._quoted()}\n"
        )
        letter.add_attachment(PDF, maintype="application", subtype="pdf", filename="Anforderungen – Überblick.pdf")
        return self._bytes(letter)

    def stop(self) -> bytes:
        letter = self._frame(self._reply_subject())
        letter.set_content(f"{STOP.get(self._writer.language, STOP['en'])}\n")
        return self._bytes(letter)

    def out_of_office(self, back: datetime) -> bytes:
        """An automatic answer that names the day of return."""
        subject, body = AWAY.get(self._writer.language, AWAY["en"])
        pattern = AWAY_DATES.get(self._writer.language, AWAY_DATES["en"])
        letter = self._frame(subject.format(subject=self._mail.subject))
        letter["Auto-Submitted"] = "auto-replied"
        letter["X-Auto-Response-Suppress"] = "All"
        letter["Precedence"] = "auto_reply"
        shown = back.strftime(pattern.replace("{day}", str(back.day)))
        letter.set_content(f"{body.format(back=shown)}\n\n{self._writer.name}\n")
        return self._bytes(letter)

    def hostile(self) -> bytes:
        letter = self._frame(self._reply_subject())
        letter.set_content(self._fill(HOSTILE_TEXT))
        letter.add_alternative(self._fill(HOSTILE_HTML), subtype="html")
        letter.add_attachment(
            b"<script>alert(9)</script>", maintype="text", subtype="html", filename="..\\..\\invoice.pdf.html"
        )
        return self._bytes(letter)

    def unsubscribe_mail(self, to: str, subject: str, body: str) -> bytes:
        """What a mail program sends for the mailto form of the way out."""
        letter = EmailMessage(policy=policy.SMTP)
        letter["From"], letter["To"], letter["Subject"] = self._writer.address, to, subject
        letter["Date"] = format_datetime(self._now)
        letter["Message-ID"] = f"<{self._dice.getrandbits(64):016x}@{self._writer.address.partition('@')[2]}>"
        letter.set_content(f"{body}\n")
        return self._bytes(letter)

    def report(self, failure: Failure) -> bytes:
        """The delivery report this person's provider sends about the mail."""
        domain = self._writer.address.partition("@")[2]
        return delivery_report(
            failure,
            self._writer.address,
            self._mail.reply_to,
            f"mx.{domain}",
            original_head(self._mail.raw),
            self._now,
            f"{self._dice.getrandbits(64):016x}",
        )

    def forged_report(self, failure: Failure, victim: str) -> bytes:
        """A report about a mail that was never sent, meant to get `victim` suppressed."""
        head = (
            f"From: {self._mail.reply_to}\r\nTo: {victim}\r\nSubject: Hello\r\n"
            f"Message-ID: <never-sent-{self._dice.getrandbits(32):08x}@elsewhere.test>"
        )
        domain = self._writer.address.partition("@")[2]
        token = f"{self._dice.getrandbits(64):016x}"
        return delivery_report(failure, victim, self._mail.reply_to, f"mx.{domain}", head.encode(), self._now, token)
