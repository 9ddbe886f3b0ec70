# ruff: noqa: E501 - mails as tables
"""What kind of mail it is: bounces, absences, wishes to be left alone, and people."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime

import pytest

from app.domain.autoreply import classify
from app.domain.reading import read
from app.domain.return_dates import find_return_date
from app.domain.unsubscribe_phrases import is_unsubscribe_request
from app.domain.verdicts import BounceClass, MailKind, Permanence
from tests.fixtures.mail.corpus import (
    ABSENCES,
    ALL,
    BOUNCES,
    HUMANS,
    LEAD,
    OTHER_AUTOMATIC,
    OUR_ID,
    RECEIVED,
    Labelled,
    dsn,
    mail,
    postfix,
)


def _id(one: Labelled) -> str:
    return one.name


@pytest.mark.parametrize("labelled", ALL, ids=_id)
def test_each_labelled_mail_is_of_its_kind(labelled: Labelled) -> None:
    assert classify(read(labelled.raw), RECEIVED).kind is labelled.kind


@pytest.mark.parametrize("labelled", [one for one in BOUNCES if one.bounce_class], ids=_id)
def test_a_bounce_names_who_failed_and_why(labelled: Labelled) -> None:
    verdict = classify(read(labelled.raw), RECEIVED)
    assert tuple(one.address for one in verdict.recipients) == labelled.recipients
    assert verdict.recipients[0].bounce_class is labelled.bounce_class
    assert verdict.recipients[0].suppresses is labelled.suppresses
    assert OUR_ID in verdict.original_ids


@pytest.mark.parametrize("labelled", ABSENCES, ids=_id)
def test_an_absence_tells_when_it_ends(labelled: Labelled) -> None:
    assert classify(read(labelled.raw), RECEIVED).return_date == labelled.back


@pytest.mark.parametrize("labelled", HUMANS, ids=_id)
def test_an_ordinary_answer_does_not_look_automatic(labelled: Labelled) -> None:
    verdict = classify(read(labelled.raw), RECEIVED)
    assert verdict.is_answer and not verdict.looks_automatic


def test_who_left_the_company_names_a_successor() -> None:
    found = [classify(read(one.raw), RECEIVED).successor for one in OTHER_AUTOMATIC if one.name.startswith("left")]
    assert found == ["eve@target.example"] * 4


def test_words_of_absence_without_any_other_sign_stay_human_but_marked() -> None:
    verdict = classify(read(mail("Hello Bob", "I am out of the office until Friday, but call my mobile.")), RECEIVED)
    assert verdict.kind is MailKind.HUMAN and verdict.looks_automatic


def test_a_temporary_failure_never_suppresses() -> None:
    verdict = classify(read(postfix("450 4.1.1 User unknown, try again", "4.1.1")), RECEIVED)
    assert verdict.recipients[0].permanence is Permanence.TEMPORARY and not verdict.recipients[0].suppresses


def test_a_permanent_code_with_a_full_mailbox_does_not_suppress() -> None:
    verdict = classify(read(postfix("550 5.1.1 mailbox is full", "5.1.1")), RECEIVED)
    assert verdict.recipients[0].bounce_class is BounceClass.FULL and not verdict.recipients[0].suppresses


def test_each_recipient_of_a_report_is_judged_alone() -> None:
    raw = dsn("Two failed", diagnostic="550 5.1.1 User unknown").replace(
        b"--=_b0\r\nContent-Type: message/rfc822",
        b"\r\nFinal-Recipient: rfc822; carl@target.example\r\nAction: failed\r\nStatus: 5.2.2\r\nDiagnostic-Code: smtp; 552 5.2.2 Mailbox full\r\n\r\n"
        b"--=_b0\r\nContent-Type: message/rfc822", 1)
    people = classify(read(raw), RECEIVED).recipients
    assert [(one.address, one.bounce_class) for one in people] == [
        (LEAD, BounceClass.NO_SUCH_USER), ("carl@target.example", BounceClass.FULL)]


def test_a_wish_in_the_quoted_text_is_not_a_wish_of_the_sender() -> None:
    verdict = classify(read(mail("Re: Hi", "Tell me more\n\nOn Mon, Nov 23, 2026 Anna <a@us.example> wrote:\n> stop\n")), RECEIVED)
    assert verdict.kind is MailKind.HUMAN


@pytest.mark.parametrize("text", [
    "Stop by on Tuesday", "I will not unsubscribe", "Do not stop!", "No", "Remove the second item and send it", "Please cancel the meeting",
    "stop, you are too cheap", "Nein danke", "", "unsubscribe? why would I, I like it"])
def test_words_around_a_wish_make_it_a_letter(text: str) -> None:
    assert not is_unsubscribe_request(text)


@pytest.mark.parametrize("text", [
    "stop", "Stop!", "STOP.", "Please unsubscribe me", "Hi,\nplease take me off your list.\nThanks", "Bitte austragen, danke!",
    "Merci de me retirer de votre liste.", "No me escriban más", "Rimuovetemi, per favore", "Não me contacte mais", "Schrijf me uit, bedankt",
    "Usuń mnie", "Не пишите мне больше!", "Відпишіть мене", "Διαγράψτε με", "お願いします".replace("お願いします", "配信停止してください"), "取消订阅", "수신 거부",
    "הסירו אותי", "Stop. Remove me from your list!"])
def test_only_a_wish_is_a_wish_whatever_the_language(text: str) -> None:
    assert is_unsubscribe_request(text)


@pytest.mark.parametrize(("text", "expected"), [
    ("from 20 Nov to 4 Dec", date(2026, 12, 4)), ("back on 02.01.", date(2027, 1, 2)), ("until 2026-12-04", date(2026, 12, 4)),
    ("bis 30.02.2027", None), ("call +49 30 1234 or 10:30", None), ("tomorrow", date(2026, 11, 24)), ("since 2019 until 1 December", date(2026, 12, 1)),
    ("ab Montag wieder da", date(2026, 11, 30)), ("until 13/12/2026", date(2026, 12, 13)), ("on leave until March 2027", date(2027, 3, 1)),
    ("till 4 December 2026", date(2026, 12, 4)), ("", None)])
def test_dates_as_people_write_them(text: str, expected: date | None) -> None:
    assert find_return_date(text, date(2026, 11, 23)) == expected


def test_three_hundred_mails_a_second_are_read_and_judged() -> None:
    started, count = time.process_time(), 0
    while count < 400:
        for one in ALL:
            classify(read(one.raw), datetime(2026, 11, 23, tzinfo=UTC))
            count += 1
    assert count / (time.process_time() - started) >= 300
