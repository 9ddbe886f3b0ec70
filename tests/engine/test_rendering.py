"""The one renderer: frozen inputs in, exact bytes or a person's task out."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes, policy

import pytest

from app.core.db import transaction
from app.core.extensions import db
from app.domain.reasons import Reason
from app.models import Step
from app.services.outbox.gathering import House, gather
from app.services.outbox.plain import plain_connection
from app.services.outbox.rendering import CannotRender, Rendered, RenderInput, Thread, render
from app.services.suppressions import open_unsubscribe_token
from tests import factories
from tests.engine.conftest import fresh, statuses, until

GIVEN = RenderInput(
    now=datetime(2026, 11, 24, 9, 30, tzinfo=UTC), token="abcdef123456", sender_address="grace@ourhouse.test",
    sender_name="Grace Hopper", sender_zone="Asia/Kolkata", to_address="ada@buyer.test", to_name="Ada Lovelace",
    subject="Hello {{first_name}}", text="Hi {{first_name}},\n\n{Shall|May} we talk?", values={"first_name": "Ada"}, seed=7,
    client_name="Acme", postal_address="1 Ember Lane\nPorto", campaign_id=5, allow_reserved=True,
)  # fmt: skip


def read(result: Rendered | CannotRender):
    assert isinstance(result, Rendered), result
    return message_from_bytes(result.mime, policy=policy.default)


def test_the_same_input_gives_the_same_bytes_and_the_date_carries_the_senders_offset():
    assert render(GIVEN).mime == render(GIVEN).mime
    assert read(render(GIVEN))["Date"].endswith("+0530")
    assert read(render(GIVEN))["Message-ID"] == "<abcdef123456@ourhouse.test>"


def test_every_campaign_mail_carries_a_way_out_and_the_postal_address():
    with_page = read(render(replace(GIVEN, way_out="https://mail.acme.test/u/token")))
    assert with_page["List-Unsubscribe"].startswith("<https://mail.acme.test/u/token>")
    assert "mailto:grace@ourhouse.test" in with_page["List-Unsubscribe"]
    assert with_page["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    body = with_page.get_content()
    assert "Acme, 1 Ember Lane · Porto" in body and "Unsubscribe: https://mail.acme.test/u/token" in body
    without = read(render(GIVEN))
    assert without["List-Unsubscribe"] == "<mailto:grace@ourhouse.test?subject=unsubscribe>"
    assert without["List-Unsubscribe-Post"] is None


def test_a_text_that_places_the_link_itself_gets_no_second_one():
    given = replace(GIVEN, text="Hi\n\nNo more mail: {{unsubscribe_url}}", way_out="https://mail.acme.test/u/token")
    assert read(render(given)).get_content().count("https://mail.acme.test/u/token") == 1


def test_html_that_says_nothing_for_a_lead_is_no_part_of_its_mail():
    given = replace(GIVEN, html="{% if company %}<p>Hello {{company}}</p>{% endif %}")
    result = render(given)
    assert read(result).get_content_type() == "text/plain" and not result.words.has_html and result.html == ""
    assert read(render(replace(given, values={"first_name": "Ada", "company": "Engines"}))).get_content_type() == "multipart/alternative"


def test_missing_values_are_all_named_and_nothing_is_rendered():
    result = render(replace(GIVEN, subject="{{company}}", text="{{first_name}} {{title}}", values={}))
    assert isinstance(result, CannotRender)
    assert (result.reason, result.names) == (Reason.NEEDS_ATTENTION_VARIABLE, ("company", "first_name", "title"))


@pytest.mark.parametrize("address", ["", "nobody", "a b@buyer.test", "ada@buyer.test\r\nBcc: x@y.test", "ada@buyer"])
def test_an_unusable_address_waits_for_a_person(address):
    result = render(replace(GIVEN, to_address=address))
    assert isinstance(result, CannotRender) and result.reason is Reason.NEEDS_ATTENTION_ADDRESS


@pytest.mark.parametrize("value", ["Ada\r\nBcc: x@y.test", "=?utf-8?q?x?=", "Ada\u2028Bcc: x", "{{ company }}", "{a|b}"])
def test_no_value_reaches_a_header_or_the_template(value):
    mail = read(render(replace(GIVEN, values={"first_name": value})))
    assert mail["Bcc"] is None and len(mail.get_all("Subject")) == 1


def test_a_follow_up_answers_the_newest_and_refers_to_all():
    thread = Thread("Hello Ada", ("<one@ourhouse.test>", "<two@provider.test>"))
    mail = read(render(replace(GIVEN, subject="", thread=thread)))
    assert mail["Subject"] == "Re: Hello Ada"
    assert mail["In-Reply-To"] == "<two@provider.test>"
    assert mail["References"].split() == ["<one@ourhouse.test>", "<two@provider.test>"]
    own = read(render(replace(GIVEN, thread=thread)))
    assert (own["Subject"], own["In-Reply-To"]) == ("Hello Ada", None)


def test_an_answer_of_a_person_is_sent_as_it_was_written():
    mail = read(render(replace(GIVEN, personal=True, subject="Re: x", text="{{first_name}} {a|b}", values={})))
    assert mail.get_content().splitlines() == ["{{first_name}} {a|b}"]
    assert mail["List-Unsubscribe"] is None and mail["List-Id"] is None


def test_the_way_out_works_without_any_row(app):
    client = factories.make_client()
    box, lead = factories.make_mailbox(client), factories.make_lead(client)
    campaign = factories.make_campaign(client, mailboxes=(box,))
    walk = factories.make_enrollment(campaign, lead, box)
    row = factories.make_delivery(walk, lead, box)
    with transaction():
        given = gather(plain_connection(), [row.id], datetime.now(UTC), House("https://out.acme.test/", True))[row.id]
    way = open_unsubscribe_token(given.way_out.removeprefix("https://out.acme.test/u/"))
    assert (way.client_id, way.email, way.delivery_id, way.campaign_id) == (client.id, lead.email_key, row.id, campaign.id)


def test_the_second_step_goes_into_the_thread_of_the_first(story, engine, mail):
    tale = story()
    with engine():
        until(lambda: statuses().get("sent") == 1)
        walk, first = fresh(tale.enrollments[0]), fresh(tale.deliveries[0])
        step = db.session.get(Step, walk.next_step_id)
        walk.status = "in_flight"
        db.session.commit()
        second = factories.make_delivery(walk, tale.leads[0], tale.mailbox, step_id=step.id)
        until(lambda: statuses().get("sent") == 2)
    head = message_from_bytes(bytes(fresh(second).mime), policy=policy.default)
    assert head["Subject"] == f"Re: Hello {tale.leads[0].first_name}"
    assert head["In-Reply-To"] == head["References"] == first.message_id
    assert fresh(second).conversation_id == fresh(first).conversation_id
    assert fresh(tale.enrollments[0]).status == "finished"
    assert len(mail.accepted()) == 2
