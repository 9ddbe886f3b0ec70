"""The product's own reader and classifier see each person as what they are."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from app.domain.autoreply import classify
from app.domain.reading import read
from app.domain.verdicts import MailKind
from sandbox.personas import ActKind, Cast, Person, Persona

MONDAY = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
LANGUAGES = ("en", "de", "fr", "es", "it", "pt", "nl", "pl", "sv", "da", "tr", "hi")
OURS = (
    b"From: Ada Lindner <ada@ours.test>\r\nTo: eva@theirs.test\r\nSubject: A question\r\nMessage-ID: <1@ours.test>\r\n"
    b"Date: Mon, 23 Nov 2026 09:00:00 +0100\r\n\r\nHello Eva,\r\nhow are you?\r\n\r\nNo more of these: http://x.test/u/1\r\n"
)

EXPECTED = {
    Persona.ANSWERS_SOON: MailKind.HUMAN,
    Persona.ANSWERS_LATE: MailKind.HUMAN,
    Persona.HTML_ANSWER: MailKind.HUMAN,
    Persona.BOTTOM_POSTING: MailKind.HUMAN,
    Persona.ATTACHMENT: MailKind.HUMAN,
    Persona.OTHER_ADDRESS: MailKind.HUMAN,
    Persona.HOSTILE: MailKind.HUMAN,
    Persona.OUT_OF_OFFICE: MailKind.OUT_OF_OFFICE,
    Persona.ASKS_TO_STOP: MailKind.UNSUBSCRIBE_REQUEST,
    Persona.BOUNCES: MailKind.BOUNCE,
    Persona.MAILBOX_FULL: MailKind.DELAYED,
}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("persona", list(EXPECTED))
def test_a_person_is_read_as_what_they_are(persona: Persona, language: str) -> None:
    for seed in range(6):
        eva = Person("eva@theirs.test", "Eva", "Stern", persona, "Theirs Ltd", "CTO", language)
        act = Cast([eva], seed).receive("eva@theirs.test", OURS, MONDAY)[0]
        assert act.kind is ActKind.MAIL
        verdict = classify(read(act.raw), act.due)
        assert verdict.kind is EXPECTED[persona], act.raw.decode()
        if persona is Persona.OUT_OF_OFFICE:
            assert verdict.return_date is not None
            assert verdict.return_date > MONDAY.date()
        if persona is Persona.BOUNCES:
            assert verdict.recipients[0].suppresses
            assert any("1@ours.test" in known for known in verdict.original_ids)
