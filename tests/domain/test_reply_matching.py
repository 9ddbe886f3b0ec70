# ruff: noqa: E501 - mails as tables
"""Where an arrived mail belongs, in the order of the rules, and what is never believed."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from app.domain.autoreply import classify
from app.domain.mail_threads import thread_index_key
from app.domain.reading import read
from app.domain.reply_matching import (
    MATCHER_VERSION,
    FoundFacts,
    KnownDelivery,
    KnownLead,
    KnownMessage,
    Match,
    MatchKind,
    MatchRule,
    candidates_needed,
    match,
)
from tests.fixtures.mail.corpus import BOUNCES, LEAD, OUR_ID, RECEIVED, REPLY_HEAD, US, mail, postfix

NOW = RECEIVED
DELIVERY = KnownDelivery(id=17, lead_id=5, enrollment_id=8, campaign_id=2, conversation_id=3, to_key=LEAD, subject_base="hello bob",
                         message_ids=(f"<{OUR_ID}>", "provider-9@mail.example"), sent_at=NOW - timedelta(days=1), tokens=("tok3n",))
FACTS = FoundFacts(deliveries=(DELIVERY,), leads=(KnownLead(5, LEAD, "Bob Berg"),), own_keys=frozenset({US}))


def _match(raw: bytes, facts: FoundFacts = FACTS, now: datetime = NOW) -> Match:
    message = read(raw)
    return match(message, classify(message, now), facts, now)


def test_a_plus_token_wins_over_everything() -> None:
    other = replace(DELIVERY, id=99, lead_id=6, tokens=("zzzz",), message_ids=("other@us.example",))
    raw = mail("Anything", "Yes", sender="eve@elsewhere.example", head="In-Reply-To: <other@us.example>\r\nDelivered-To: anna+tok3n@us.example\r\n")
    found = _match(raw, replace(FACTS, deliveries=(other, DELIVERY)))
    assert (found.kind, found.rule, found.delivery_id, found.lead_id, found.enrollment_id) == (MatchKind.REPLY, MatchRule.PLUS_TOKEN, 17, 5, 8)
    assert found.from_other_address and found.stops_sequence


@pytest.mark.parametrize(("head", "rule"), [
    (f"In-Reply-To: <{OUR_ID}>\r\n", MatchRule.IN_REPLY_TO), ("In-Reply-To: <provider-9@mail.example>\r\n", MatchRule.IN_REPLY_TO),
    (f"In-Reply-To: <unknown@x.test>\r\nReferences: <{OUR_ID}>\r\n\t<unknown@x.test>\r\n", MatchRule.REFERENCES)])
def test_ids_we_or_the_provider_gave_are_recognised(head: str, rule: MatchRule) -> None:
    found = _match(mail("Completely new subject", "Yes", head=head))
    assert (found.kind, found.rule, found.delivery_id, found.conversation_id) == (MatchKind.REPLY, rule, 17, 3)
    assert found.version == MATCHER_VERSION and not found.from_other_address


def test_the_newest_known_reference_decides() -> None:
    second = replace(DELIVERY, id=18, message_ids=("second@us.example",))
    found = _match(mail("x", "Yes", head=f"References: <{OUR_ID}> <second@us.example>\r\n"), replace(FACTS, deliveries=(DELIVERY, second)))
    assert found.delivery_id == 18


def test_a_colleague_answering_in_the_thread_counts() -> None:
    found = _match(mail("Re: Hello Bob", "Bob asked me to answer: yes.", sender="Eve <eve@other.example>", head=REPLY_HEAD))
    assert found.kind is MatchKind.REPLY and found.lead_id == 5 and found.from_other_address


def test_an_answer_to_a_message_of_the_conversation_joins_it() -> None:
    facts = replace(FACTS, deliveries=(), messages=(KnownMessage("their-1@target.example", 3, 5, 8, 17),))
    found = _match(mail("Re: x", "One more thing", head="In-Reply-To: <their-1@target.example>\r\n"), facts)
    assert (found.rule, found.conversation_id, found.enrollment_id) == (MatchRule.CONVERSATION, 3, 8)


def test_same_address_and_subject_within_thirty_days() -> None:
    raw = mail("AW: Hello Bob", "Yes")
    assert _match(raw).rule is MatchRule.SAME_ADDRESS_AND_SUBJECT
    late = _match(raw, replace(FACTS, leads=()), NOW + timedelta(days=40))
    assert late.kind is MatchKind.UNRELATED


def test_a_new_mail_of_the_lead_counts_as_an_answer() -> None:
    found = _match(mail("A question", "What does it cost?"))
    assert (found.kind, found.rule, found.enrollment_id) == (MatchKind.REPLY, MatchRule.SAME_ADDRESS, 8)


def test_a_known_lead_without_recent_mail_is_still_this_lead() -> None:
    found = _match(mail("A question", "What does it cost?"), replace(FACTS, deliveries=()))
    assert (found.rule, found.lead_id, found.enrollment_id) == (MatchRule.SAME_ADDRESS, 5, None)


def test_same_domain_and_subject_waits_for_a_person_with_candidates() -> None:
    second = replace(DELIVERY, id=18, lead_id=6, to_key="carl@target.example", sent_at=NOW - timedelta(hours=1))
    found = _match(mail("Re: Hello Bob", "Yes", sender="eve@target.example"), replace(FACTS, deliveries=(DELIVERY, second)))
    assert (found.kind, found.rule) == (MatchKind.AMBIGUOUS, MatchRule.SAME_DOMAIN_AND_SUBJECT) and not found.stops_sequence
    assert [(one.lead_id, one.delivery_id) for one in found.ambiguous_candidates] == [(6, 18), (5, 17)]


def test_a_public_provider_is_no_shared_domain() -> None:
    gmail = replace(DELIVERY, to_key="bob@gmail.com")
    found = _match(mail("Re: Hello Bob", "Yes", sender="eve@gmail.com"), replace(FACTS, deliveries=(gmail,)))
    assert found.kind is MatchKind.UNRELATED
    assert candidates_needed(read(mail("x", "y", sender="eve@gmail.com"))).domain is None


def test_our_own_echo_is_no_reply() -> None:
    found = _match(mail("Re: Hello Bob", "Following up", sender=f"Anna <{US}>", head=REPLY_HEAD))
    assert found.kind is MatchKind.OWN and found.conversation_id == 3 and not found.stops_sequence


def test_an_automatic_answer_belongs_to_the_thread_and_stops_nothing() -> None:
    for head in (REPLY_HEAD, ""):
        found = _match(mail("Automatic reply: Hello Bob", "I am on vacation until 4 December.", head=head + "Auto-Submitted: auto-replied\r\n"))
        assert found.kind is MatchKind.AUTOMATIC and found.lead_id == 5 and not found.stops_sequence


def test_a_wish_to_be_left_alone_is_its_own_kind() -> None:
    found = _match(mail("Re: Hello Bob", "Please unsubscribe me", head=REPLY_HEAD))
    assert found.kind is MatchKind.UNSUBSCRIBE and found.stops_sequence


def test_a_bounce_that_names_our_mail_is_believed() -> None:
    for labelled in BOUNCES:
        found = _match(labelled.raw)
        if labelled.kind == "bounce":
            assert (found.kind, found.delivery_id) == (MatchKind.BOUNCE, 17), labelled.name
            assert [one.suppresses for one in found.recipients] == [labelled.suppresses]


def test_a_bounce_about_a_mail_we_never_sent_does_nothing() -> None:
    raw = postfix("550 5.1.1 User unknown", "5.1.1").replace(OUR_ID.encode(), b"invented@us.example")
    found = _match(raw)
    assert found.kind is MatchKind.FORGED and found.lead_id is None and not found.recipients


def test_a_true_bounce_cannot_name_strangers() -> None:
    raw = postfix("550 5.1.1 User unknown", "5.1.1").replace(
        b"Final-Recipient:", b"Final-Recipient: rfc822; victim@other.example\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\nFinal-Recipient:", 1)
    found = _match(raw)
    assert [one.key for one in found.recipients] == [LEAD]


def test_a_complaint_about_our_mail_ends_all() -> None:
    found = _match(next(one.raw for one in BOUNCES if one.name == "complaint"))
    assert found.kind is MatchKind.COMPLAINT and found.stops_sequence and found.lead_id == 5


def test_a_strangers_mail_is_unrelated() -> None:
    assert _match(mail("Buy now", "Cheap", sender="x@shop.example")).kind is MatchKind.UNRELATED
    assert _match(b"\x00\xff").kind is MatchKind.UNRELATED


def test_the_same_inputs_give_the_same_answer() -> None:
    raw = mail("Re: Hello Bob", "Yes", head=REPLY_HEAD)
    assert len({repr(_match(raw)) for _ in range(5)}) == 1


def test_the_keys_to_look_up_are_named() -> None:
    keys = candidates_needed(read(mail("Re: Hello Bob", "Yes", head="References: <a@x.test> <b@x.test>\r\nIn-Reply-To: <b@x.test>\r\nDelivered-To: anna+tok3n@us.example\r\n")))
    assert (keys.tokens, keys.message_ids, keys.from_key, keys.subject_base, keys.domain) == (
        ("tok3n",), ("b@x.test", "a@x.test"), LEAD, "hello bob", "target.example")
    assert DELIVERY.sent_at.tzinfo is UTC


INDEX = base64.b64encode(bytes([1]) + bytes(range(21))).decode()  # a conversation; each answer adds five bytes
LATER = base64.b64encode(bytes([1]) + bytes(range(21)) + bytes(5)).decode()
OTHER_INDEX = base64.b64encode(bytes([1]) + bytes(range(1, 22))).decode()
IN_GMAIL, IN_OUTLOOK = "gm:4:77", thread_index_key(INDEX) or ""
THREADED = replace(DELIVERY, threads=(IN_GMAIL, IN_OUTLOOK), message_ids=("nobody-names-it@us.example",))


def _in_thread(raw: bytes, facts: FoundFacts, thread: str = "") -> Match:
    message = read(raw)
    return match(message, classify(message, NOW), facts, NOW, thread)


def test_a_mail_that_gmail_sorted_into_the_thread_of_ours_is_its_answer() -> None:
    raw = mail("Something else", "Eve here, for Bob: yes.", sender="eve@other.example")
    found = _in_thread(raw, replace(FACTS, deliveries=(THREADED,)), IN_GMAIL)
    assert (found.kind, found.rule, found.delivery_id, found.lead_id) == (MatchKind.REPLY, MatchRule.GMAIL_THREAD, 17, 5)
    assert found.from_other_address and found.version == 2
    assert _in_thread(raw, replace(FACTS, deliveries=(THREADED,)), "gm:4:78").kind is MatchKind.UNRELATED
    assert _in_thread(raw, replace(FACTS, deliveries=(THREADED,)), "gm:5:77").kind is MatchKind.UNRELATED, "numbers are per account"


@pytest.mark.parametrize(("index", "rule"), [
    (INDEX, MatchRule.THREAD_INDEX), (LATER, MatchRule.THREAD_INDEX), (OTHER_INDEX, MatchRule.NONE), ("no base64!", MatchRule.NONE),
    (INDEX[:20], MatchRule.NONE)])
def test_outlooks_thread_index_names_the_conversation_by_its_beginning(index: str, rule: MatchRule) -> None:
    raw = mail("Something else", "Yes.", sender="eve@other.example", head=f"Thread-Index: {index}\r\n")
    assert _in_thread(raw, replace(FACTS, deliveries=(THREADED,))).rule is rule


def test_ids_come_before_threads_and_threads_before_subjects() -> None:
    second = replace(DELIVERY, id=18, lead_id=6, message_ids=("second@us.example",))
    facts = replace(FACTS, deliveries=(THREADED, second))
    by_id = _in_thread(mail("Re: Hello Bob", "Yes", head=f"In-Reply-To: <second@us.example>\r\nThread-Index: {INDEX}\r\n"), facts, IN_GMAIL)
    assert (by_id.rule, by_id.delivery_id) == (MatchRule.IN_REPLY_TO, 18)
    by_thread = _in_thread(mail("Re: Hello Bob", "Yes", head=f"Thread-Index: {INDEX}\r\nThread-Topic: Hello Bob\r\n"), facts, IN_GMAIL)
    assert (by_thread.rule, by_thread.delivery_id) == (MatchRule.GMAIL_THREAD, 17)


def test_one_thread_with_mails_to_several_people_goes_by_the_sender_else_waits_for_a_person() -> None:
    """Gmail groups mails with one subject: a stranger's answer there may be anybody's."""
    second = replace(THREADED, id=18, lead_id=6, to_key="carl@other.example")
    facts = replace(FACTS, deliveries=(THREADED, second))
    theirs = _in_thread(mail("x", "Yes", sender="carl@other.example"), facts, IN_GMAIL)
    assert (theirs.kind, theirs.lead_id) == (MatchKind.REPLY, 6)
    anybodys = _in_thread(mail("x", "Yes", sender="eve@third.example"), facts, IN_GMAIL)
    assert (anybodys.kind, anybodys.rule) == (MatchKind.AMBIGUOUS, MatchRule.GMAIL_THREAD)
    assert {one.lead_id for one in anybodys.ambiguous_candidates} == {5, 6}


def test_a_thread_known_only_by_a_message_of_the_conversation_counts_too() -> None:
    facts = replace(FACTS, deliveries=(), messages=(KnownMessage("their-1@target.example", 3, 5, 8, 17, IN_OUTLOOK),))
    found = _in_thread(mail("x", "Eve: one more thing", sender="eve@other.example", head=f"Thread-Index: {LATER}\r\n"), facts)
    assert (found.rule, found.conversation_id, found.lead_id, found.from_other_address) == (MatchRule.THREAD_INDEX, 3, 5, True)


def test_the_topic_is_the_subject_the_thread_began_with() -> None:
    changed = _match(mail("Next Tuesday?", "Yes", head="Thread-Topic: Hello Bob\r\n"))
    assert (changed.kind, changed.rule, changed.delivery_id) == (MatchKind.REPLY, MatchRule.THREAD_TOPIC, 17)
    colleague = _match(mail("Next Tuesday?", "Yes", sender="eve@target.example", head="Thread-Topic: Hello Bob\r\n"))
    assert (colleague.kind, colleague.rule) == (MatchKind.AMBIGUOUS, MatchRule.SAME_DOMAIN_AND_SUBJECT)


def test_a_report_is_not_believed_for_its_thread() -> None:
    raw = postfix("550 5.1.1 User unknown", "5.1.1").replace(OUR_ID.encode(), b"invented@us.example")
    assert _in_thread(raw, replace(FACTS, deliveries=(THREADED,)), IN_GMAIL).kind is MatchKind.FORGED
