"""What each kind of person does with a mail, and that the same seed always does the same."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser

import pytest

from sandbox.clock import ManualClock
from sandbox.personas import Act, ActKind, Cast, Person, Persona

OURS = "ada@ours.test"
MONDAY = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)


def person(persona: Persona, language: str = "en") -> Person:
    return Person(
        "eva@theirs.test", "Eva", "Stern", persona, "Theirs Ltd", "CTO", language, other_address="eva@home.test"
    )


def our_mail(number: int = 1, unsubscribe: str = "", references: str = "") -> bytes:
    lines = [
        f"From: Ada Lindner <{OURS}>",
        "To: eva@theirs.test",
        "Subject: A question",
        f"Message-ID: <{number}@ours.test>",
        "Date: Mon, 23 Nov 2026 09:00:00 +0100",
    ]
    if references:
        lines.append(f"References: {references}")
    if unsubscribe:
        lines += [f"List-Unsubscribe: {unsubscribe}", "List-Unsubscribe-Post: List-Unsubscribe=One-Click"]
    return ("\r\n".join(lines) + "\r\n\r\nHello Eva,\r\nhow are you?\r\n").encode()


def acts_on(persona: Persona, mail: bytes | None = None, language: str = "en", seed: int = 1) -> list[Act]:
    cast = Cast([person(persona, language)], seed)
    return cast.receive("eva@theirs.test", mail or our_mail(), MONDAY)


def parsed(act: Act) -> EmailMessage:
    found = BytesParser(policy=policy.default).parsebytes(act.raw)
    assert isinstance(found, EmailMessage)
    return found


HUMAN = [
    Persona.ANSWERS_SOON, Persona.ANSWERS_LATE, Persona.HTML_ANSWER, Persona.BOTTOM_POSTING,
    Persona.ATTACHMENT, Persona.OTHER_ADDRESS, Persona.ASKS_TO_STOP, Persona.HOSTILE,
]  # fmt: skip


@pytest.mark.parametrize("persona", HUMAN)
def test_a_human_answer_is_threaded(persona: Persona) -> None:
    (act,) = acts_on(persona, our_mail(2, references="<1@ours.test>"))
    answer = parsed(act)
    assert answer["In-Reply-To"] == "<2@ours.test>"
    assert answer["References"].split() == ["<1@ours.test>", "<2@ours.test>"]
    assert answer["Subject"] == "Re: A question"
    assert answer["Auto-Submitted"] is None
    assert (act.kind, act.mail_to) == (ActKind.MAIL, OURS)
    assert act.due > MONDAY


@pytest.mark.parametrize("persona", list(Persona))
def test_the_same_seed_does_the_same_and_another_differs(persona: Persona) -> None:
    assert acts_on(persona, seed=5) == acts_on(persona, seed=5)
    if persona is not Persona.NEVER_ANSWERS:
        assert acts_on(persona, seed=5) != acts_on(persona, seed=6)


def test_soon_is_within_the_hour_and_late_is_a_day_or_two() -> None:
    assert acts_on(Persona.ANSWERS_SOON)[0].due - MONDAY < timedelta(hours=1)
    assert timedelta(hours=20) < acts_on(Persona.ANSWERS_LATE)[0].due - MONDAY < timedelta(hours=60)


def test_some_never_answer() -> None:
    assert acts_on(Persona.NEVER_ANSWERS) == []


def test_posting_styles_put_the_quote_where_they_say() -> None:
    top = parsed(acts_on(Persona.ANSWERS_SOON)[0]).get_content()
    bottom = parsed(acts_on(Persona.BOTTOM_POSTING)[0]).get_content()
    assert not top.startswith(("On ", ">"))
    assert "> Hello Eva," in top
    assert bottom.startswith("On ")
    assert not bottom.rstrip().splitlines()[-1].startswith(">")


def test_an_html_answer_has_a_text_part_and_a_quoted_block() -> None:
    answer = parsed(acts_on(Persona.HTML_ANSWER)[0])
    assert {part.get_content_type() for part in answer.walk()} >= {"text/plain", "text/html"}
    html = answer.get_body(("html",))
    assert html is not None
    assert "<blockquote" in html.get_content()


def test_an_attachment_has_a_name_beyond_ascii() -> None:
    (attached,) = parsed(acts_on(Persona.ATTACHMENT)[0]).iter_attachments()
    assert attached.get_filename() == "Anforderungen – Überblick.pdf"


def test_a_hostile_answer_carries_what_must_never_run() -> None:
    raw = acts_on(Persona.HOSTILE)[0].raw
    for weapon in (b"<script>", b"onerror", b"javascript:", b"<form", b"http-equiv", b"position:fixed", b"<iframe"):
        assert weapon in raw.replace(b"=\r\n", b"").replace(b"=3D", b"=")


def test_another_address_answers_in_the_same_thread() -> None:
    (act,) = acts_on(Persona.OTHER_ADDRESS)
    assert act.mail_from == "eva@home.test"
    assert "eva@home.test" in parsed(act)["From"]


@pytest.mark.parametrize("language", ["en", "de", "fr", "es", "sv"])
def test_out_of_office_names_the_day_of_return_once_and_answers_when_back(language: str) -> None:
    clock = ManualClock(MONDAY)
    cast = Cast([person(Persona.OUT_OF_OFFICE, language)], 1)
    (away,) = cast.receive("eva@theirs.test", our_mail(1), clock.now())
    notice = parsed(away)
    assert notice["Auto-Submitted"] == "auto-replied"
    assert away.mail_from == "", "automatic answers have a null return path"
    assert any(sign.isdigit() for sign in notice.get_content())
    assert cast.receive("eva@theirs.test", our_mail(2), clock.advance(timedelta(days=1))) == []
    (answer,) = cast.receive("eva@theirs.test", our_mail(3), clock.advance(timedelta(days=10)))
    assert parsed(answer)["Auto-Submitted"] is None


def test_a_dead_address_bounces_hard_and_names_our_message() -> None:
    (act,) = acts_on(Persona.BOUNCES)
    report = parsed(act)
    assert report.get_content_type() == "multipart/report"
    assert act.mail_from == ""
    assert b"Status: 5.1.1" in act.raw
    assert b"Message-ID: <1@ours.test>" in act.raw


def test_a_full_mailbox_is_first_delayed_then_refused() -> None:
    delayed, failed = acts_on(Persona.MAILBOX_FULL)
    assert b"Action: delayed" in delayed.raw
    assert b"Status: 4.2.2" in delayed.raw
    assert b"Status: 5.2.2" in failed.raw
    assert failed.due > delayed.due


def test_a_forged_report_names_nothing_of_ours() -> None:
    assert b"@ours.test>" not in acts_on(Persona.FORGES_REPORTS)[0].raw.partition(b"text/rfc822-headers")[2]


def test_the_wish_to_be_left_alone_comes_in_twelve_languages() -> None:
    languages = ("en", "de", "fr", "es", "it", "pt", "nl", "pl", "sv", "da", "tr", "hi")
    texts = {parsed(acts_on(Persona.ASKS_TO_STOP, language=language)[0]).get_content() for language in languages}
    assert len(texts) == 12


def test_one_click_posts_to_the_way_out_and_otherwise_writes() -> None:
    (post,) = acts_on(
        Persona.ONE_CLICK, our_mail(1, "<http://127.0.0.1:1/u/x>, <mailto:ada+u.x@ours.test?subject=stop>")
    )
    assert (post.kind, post.url) == (ActKind.POST, "http://127.0.0.1:1/u/x")
    (mail,) = acts_on(Persona.ONE_CLICK, our_mail(1, "<mailto:ada%2Bu.x@ours.test?subject=stop%20me>"))
    assert (mail.mail_to, parsed(mail)["Subject"]) == ("ada+u.x@ours.test", "stop me")
    (words,) = acts_on(Persona.ONE_CLICK)
    assert "remove me" in parsed(words).get_content()


def test_automatic_mail_is_never_answered() -> None:
    automatic = our_mail().replace(b"Subject:", b"Auto-Submitted: auto-generated\r\nSubject:")
    assert acts_on(Persona.ANSWERS_SOON, automatic) == []


def test_a_conversation_goes_on_but_not_for_ever_and_a_mail_is_read_once() -> None:
    cast = Cast([person(Persona.ANSWERS_SOON)], 1)
    answers = [len(cast.receive("eva@theirs.test", our_mail(number), MONDAY)) for number in (1, 1, 2, 3, 4)]
    assert answers == [1, 0, 1, 1, 0]


def test_a_restart_forgets_nothing() -> None:
    cast = Cast([person(Persona.ANSWERS_SOON)], 1)
    cast.receive("eva@theirs.test", our_mail(), MONDAY)
    again = Cast([person(Persona.ANSWERS_SOON)], 1)
    again.restore(cast.to_json())
    assert again.next_act() == cast.next_act()
    assert again.receive("eva@theirs.test", our_mail(), MONDAY) == []
    assert again.due(MONDAY + timedelta(hours=1)) == cast.due(MONDAY + timedelta(hours=1))
