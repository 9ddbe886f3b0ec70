"""A campaign's rehearsal walks the product's own road in a throw-away database: as foretold, by every rule, and nobody's rows change."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest
from flask import Flask

from app.core.db import Scope, transaction
from app.core.errors import Conflict
from app.core.extensions import db
from app.domain.working_time import local_date
from app.models import Campaign, CampaignRehearsal, Client, Mailbox, Suppression
from app.services import forecast, rehearsals
from app.services.rehearsing import road, throw_away
from app.services.rehearsing.report import Ending, Rehearsal
from app.services.rehearsing.road import Wish
from app.services.rehearsing.whole import rehearse
from jobs import rehearsing
from tests.api.api_client import ApiClient
from tests.factories import (
    WEEKDAYS_9_TO_17,
    make_campaign,
    make_client,
    make_enrollment,
    make_lead,
    make_mailbox,
    make_user,
    save,
)
from tests.services.test_people_commands import said
from tests.web.page_client import PageClient

pytestmark = pytest.mark.slow  # the file takes long together

ZONE = "Europe/Berlin"
SUNDAY = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
CLOSED = date(2026, 11, 25)  # the Wednesday of that week
GAPS = {"one@ourhouse.test": 1500, "two@ourhouse.test": 900}
CAPS = {"one@ourhouse.test": 4, "two@ourhouse.test": 3}


def draft() -> Campaign:
    """Three steps through two senders with caps and gaps, thirteen leads of whom one may not be written to, a closed Wednesday."""
    client = make_client(timezone=ZONE)
    senders: tuple[Mailbox, ...] = tuple(
        make_mailbox(client, email=address, daily_cap=CAPS[address], min_gap_s=gap, timezone=ZONE) for address, gap in GAPS.items()
    )
    campaign = make_campaign(
        client, mailboxes=senders, steps=3, status="draft", timezone=ZONE, windows=WEEKDAYS_9_TO_17, weekend={"mode": "closed"},
        closed_days=[CLOSED.isoformat()],
    )  # fmt: skip
    for number in range(13):
        lead = make_lead(client)
        make_enrollment(campaign, lead, senders[number % 2])
    save(Suppression(client_id=client.id, email=lead.email, email_key=lead.email_key, reason="manual", source="person", at=SUNDAY))
    return campaign


def run(app: Flask, campaign: Campaign, **wish: Any) -> Rehearsal:
    return rehearse(app.extensions["settings"], campaign.id, Wish(SUNDAY, **wish))


def fingerprints(url: str) -> dict[str, str]:
    """A sum over every row of every table."""
    with psycopg.connect(url) as connection:
        names = [row[0] for row in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")]
        return {
            name: hashlib.sha256(repr(connection.execute(f'SELECT t::text FROM "{name}" t ORDER BY 1').fetchall()).encode()).hexdigest()
            for name in names
        }


def databases(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        return {row[0] for row in connection.execute("SELECT datname FROM pg_database WHERE starts_with(datname, %s)", (throw_away.PREFIX,))}


def test_a_rehearsal_does_what_the_forecast_promises_obeys_every_rule_and_changes_nothing(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = draft()
    scope = Scope(client_id=campaign.client_id, client_ids=(campaign.client_id,))
    with transaction(scope):
        foretold = forecast.forecast(campaign.client_id, campaign.id, days=20, now=SUNDAY)
    url = app.extensions["settings"].database_url
    before, standing = fingerprints(url), databases(url)
    sent: list[Any] = []
    report = road.Road._days
    monkeypatch.setattr(road.Road, "_days", lambda self, own: sent.extend(own) or report(self, own))
    found = run(app, campaign)
    assert fingerprints(url) == before and databases(url) == standing

    assert (found.ending, found.messages, len(sent)) == (Ending.FINISHED, 36, 36)
    assert found.finished_at == max(row.sent_at for row in sent)
    rehearsed = {(line.sender, day.date): line.messages for day in found.days for line in day.senders}
    promised = {(line.address, day): count for line in foretold.senders for day, count in zip(foretold.days, line.per_day, strict=True) if count}
    # from the second week on the tick's order among leads that became due together may differ from the forecaster's
    rehearsed, promised = ({key: count for key, count in one.items() if key[1] < date(2026, 11, 30)} for one in (rehearsed, promised))
    assert min(row.sent_at for row in sent) == foretold.first_at
    assert rehearsed == promised and any(day.waiting for day in found.days)
    addresses = dict(zip(sorted({row.sender_id for row in sent}), GAPS, strict=True))
    for sender, address in addresses.items():
        times = [row.sent_at for row in sent if row.sender_id == sender]
        assert all(later - earlier >= timedelta(seconds=GAPS[address]) for earlier, later in pairwise(times))
        assert max(Counter(local_date(ZONE, at) for at in times).values()) <= CAPS[address]
    for row in sent:
        at = row.sent_at.astimezone(ZoneInfo(ZONE))
        assert at.weekday() < 5 and at.date() != CLOSED and time(9) <= at.time() < time(17), at
    ends = {(one.status, one.reason): one.leads for one in found.people}
    assert ends == {("finished", "finished"): 12, ("skipped", "suppressed_client"): 1}
    sunday, monday, *_ = json.loads(json.dumps(found.as_json()))["days"]
    assert sunday["senders"] == [] and {one["reason"] for one in sunday["waiting"]} == {"weekend"}, "started at the weekend: it says so"
    assert monday["senders"][0]["messages"] == 4


def test_with_answers_fewer_messages_leave_the_same_for_the_same_seed(app: Flask) -> None:
    campaign = draft()
    first, again = (run(app, campaign, replies_percent=30, seed=7) for _ in range(2))
    assert first == again
    assert any(one.status == "replied" for one in first.people) and first.messages < 36


def test_the_command_tells_it_and_refuses_in_one_sentence(app: Flask) -> None:
    campaign = draft()
    code, output = said(app, "simulate", str(campaign.id), "--at", "2026-11-22T12:00", "--days", "3")
    assert code == 0, output
    assert "Mon 23 Nov\n      4  one@ourhouse.test  09:00-10:15\n      3  two@ourhouse.test  09:00-09:30\n" in output
    assert "The mailbox has reached its messages for today. (sender_day_cap)" in output
    assert "The rehearsal ended at its last day; the campaign goes on." in output
    code, output = said(app, "simulate", "999999")
    assert code == 1 and "There is no such campaign." in output


def test_a_login_that_may_make_no_database_is_told_what_to_run(app: Flask, servers: tuple[str, str], tmp_path: Path) -> None:
    name = f"plain_{tmp_path.parent.name.replace('-', '_')}"
    with psycopg.connect(servers[0], autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'plain'")
        try:
            url = psycopg.conninfo.make_conninfo(app.extensions["settings"].database_url, user=name, password="plain")
            with pytest.raises(Conflict, match=f"ALTER ROLE {name} CREATEDB"), psycopg.connect(url, autocommit=True) as plain:
                throw_away._check_allowed(plain)
        finally:
            admin.execute(f"DROP ROLE {name}")


def test_what_a_killed_run_left_goes_with_the_next_and_what_another_run_uses_stays(app: Flask) -> None:
    url = app.extensions["settings"].database_url
    with psycopg.connect(url, autocommit=True) as other:
        prefix = throw_away._prefix(other)
        left, used = prefix + "left", prefix + "used"
        for name in (left, used):
            other.execute(f'CREATE DATABASE "{name}" TEMPLATE template0')
        other.execute("SELECT pg_advisory_lock(%s)", (throw_away._key(used),))
        with throw_away.throw_away_database(url):
            assert left not in databases(url) and used in databases(url)
        throw_away._drop(other, used)
        assert not {left, used} & databases(url)


def test_whoever_may_draft_asks_by_page_or_program_and_everybody_reads_the_report(app: Flask) -> None:
    campaign = draft()
    client = db.session.get_one(Client, campaign.client_id)
    agent, here = PageClient(app).log_in(make_user(client, "agent")), f"/c/{client.slug}/campaigns/{campaign.id}"
    assert "not been rehearsed" in agent.get(f"{here}/rehearsal").text
    assert agent.post(f"{here}/rehearse", {}).status == 303
    assert "is under way" in agent.get(f"{here}/rehearsal").text
    api = ApiClient(app).log_in(make_user(client, "admin"))
    again = api.post(f"/api/campaigns/{campaign.id}/rehearsals", {})
    assert (again.status, again.json["code"]) == (409, "rehearsal_running")
    asked = api.get(f"/api/campaigns/{campaign.id}/rehearsals").json["items"][0]
    rehearsing.run(asked["id"])
    rehearsing.run(asked["id"])  # a job that comes twice finds it done
    told = api.get(f"/api/campaigns/{campaign.id}/rehearsals").json["items"][0]
    assert (told["status"], told["error"], told["report"]["messages"]) == ("done", "", 36)
    viewer = PageClient(app).log_in(make_user(client, "viewer"))
    page = viewer.get(f"{here}/rehearsal").text
    assert "36 messages" in page and "one@ourhouse.test" in page and "do-not-contact list" in page and 'class="series-0"' in page
    assert viewer.post(f"{here}/rehearse", {}).status == 403


def test_a_rehearsal_that_cannot_start_says_why_and_a_lost_one_is_not_waited_for(app: Flask) -> None:
    client = make_client()
    campaign = make_campaign(client, status="draft")
    with transaction(Scope(client_id=client.id, client_ids=(client.id,))):
        row = rehearsals.ask(client.id, campaign.id, by=None)
    rehearsing.run(row.id)
    failed = rehearsals.newest(client.id, campaign.id)[0]
    assert failed.status == "failed" and failed.error.startswith("The campaign cannot start yet. ")
    db.session.rollback()
    save(CampaignRehearsal(client_id=client.id, campaign_id=campaign.id, days=1, replies_percent=0, seed=1, created_at=SUNDAY - timedelta(days=30)))
    assert (rehearsals.newest(client.id, campaign.id)[0].error, db.session.query(CampaignRehearsal).count()) == (rehearsals.LOST, 2)
