"""Mailboxes: adding them, verifying them against real servers, changing, pausing and removing them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import inspect, text

from app.core import clock
from app.core.crypto import vault
from app.core.db import Scope, transaction
from app.core.errors import Conflict, Invalid, NotFound, TooMany
from app.core.extensions import db
from app.models import Mailbox
from app.queries import mailboxes as queries
from app.services import mailbox_verification, mailboxes
from app.services.mailbox_targets import Targets
from app.services.outbox import switches
from jobs.mailboxes import sweep, verify
from sandbox.mail.server import MailConfig, RunningMailServer
from tests.conftest import settings_for
from tests.factories import make_campaign, make_client, make_mailbox, make_user

PASSWORD = "a password with ünicode"


@pytest.fixture
def mail() -> Iterator[RunningMailServer]:
    with RunningMailServer(MailConfig()) as running:
        running.add_account("ada@ours.test", PASSWORD)
        yield running


@pytest.fixture
def targets() -> Targets:
    return Targets.of(settings_for("postgresql://", "redis://"))


def values(mail: RunningMailServer | None = None, **more: Any) -> dict[str, Any]:
    ports = (mail.ports.smtp, mail.ports.imap) if mail else (2525, 1143)
    return {
        "email": "ada@ours.test", "display_name": "Ada", "smtp_host": "127.0.0.1", "smtp_port": ports[0], "smtp_security": "none",
        "smtp_password": PASSWORD, "imap_host": "127.0.0.1", "imap_port": str(ports[1]), "imap_security": "none", **more,
    }  # fmt: skip


def add(targets: Targets, given: dict[str, Any], client_id: int | None = None) -> Mailbox:
    with transaction():
        return mailboxes.create(client_id or make_client_id(), given, targets)


def make_client_id() -> int:
    client = make_client(timezone="Europe/Lisbon")
    return client.id


def fresh(mailbox: Mailbox) -> Mailbox:
    db.session.rollback()
    if mailbox in db.session:
        db.session.refresh(mailbox)
        return mailbox
    return db.session.get_one(Mailbox, inspect(mailbox).identity[0])


@pytest.fixture
def client_id(app: Flask) -> int:
    return make_client_id()


def test_a_new_mailbox_is_connecting_with_its_password_sealed_for_its_row(app: Flask, client_id: int, targets: Targets) -> None:
    mailbox = add(targets, values(), client_id)
    assert (mailbox.status, mailbox.timezone) == ("connecting", "Europe/Lisbon")
    assert (mailbox.imap_user, mailbox.smtp_user) == ("ada@ours.test", "ada@ours.test")
    assert mailbox.smtp_secret and PASSWORD not in mailbox.smtp_secret
    assert vault().open(mailbox.smtp_secret, f"mailboxes.smtp_secret:{mailbox.id}") == PASSWORD
    assert vault().open(mailbox.imap_secret or "", f"mailboxes.imap_secret:{mailbox.id}") == PASSWORD
    trail = db.session.execute(text("SELECT after::text FROM audit_entries WHERE action = 'mailbox.create'")).scalar_one()
    assert PASSWORD not in trail and "127.0.0.1" in trail


def test_a_known_provider_needs_only_address_and_password(app: Flask, client_id: int, targets: Targets) -> None:
    mailbox = add(targets, {"email": "Ada@Gmail.com", "smtp_password": "x"}, client_id)
    assert (mailbox.provider, mailbox.smtp_host, mailbox.smtp_port, mailbox.imap_host) == ("gmail", "smtp.gmail.com", 465, "imap.gmail.com")
    assert (mailbox.save_to_sent, mailbox.address_key) == ("provider", "ada@gmail.com")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"email": "nobody"}, "email"),
        ({"email": ""}, "email"),
        ({"smtp_host": "10.1.2.3"}, "smtp_host"),
        ({"smtp_host": "169.254.169.254"}, "smtp_host"),
        ({"imap_host": "0x7f.1"}, "imap_host"),
        ({"smtp_host": "user@127.0.0.1"}, "smtp_host"),
        ({"smtp_host": "", "email": "a@unknown.test"}, "smtp_host"),
        ({"smtp_port": 0}, "smtp_port"),
        ({"smtp_port": "many"}, "smtp_port"),
        ({"smtp_port": True}, "smtp_port"),
        ({"imap_port": 65_536}, "imap_port"),
        ({"smtp_security": "ssl"}, "smtp_security"),
        ({"timezone": "Mars/Olympus"}, "timezone"),
        ({"daily_cap": -1}, "daily_cap"),
        ({"min_gap_s": "1.5"}, "min_gap_s"),
        ({"display_name": "Ada\r\nBcc: x@y.z"}, "display_name"),
        ({"display_name": "x" * 400}, "display_name"),
        ({"display_name": 5}, "display_name"),
        ({"save_to_sent": "perhaps"}, "save_to_sent"),
        ({"smtp_password": ""}, "smtp_password"),
        ({"smtp_host": "8.8.8.8", "smtp_port": 587, "smtp_security": "none"}, "smtp_security"),
        ({"smtp_host": "8.8.8.8", "smtp_port": 2525, "smtp_security": "tls"}, "smtp_port"),
    ],
)
def test_what_does_not_fit_is_refused_at_its_field(
    app: Flask, client_id: int, targets: Targets, change: dict[str, Any], field: str
) -> None:
    with pytest.raises(Invalid) as refused:
        add(targets, values(**change), client_id)
    assert field in refused.value.details
    assert db.session.query(Mailbox).count() == 0


def test_an_address_belongs_to_one_mailbox_of_the_whole_instance(app: Flask, client_id: int, targets: Targets) -> None:
    add(targets, values(), client_id)
    with pytest.raises(Invalid) as refused:
        add(targets, values(email="ADA@ours.test"), make_client_id())
    assert "email" in refused.value.details


def test_verifying_a_good_mailbox_makes_it_active_and_learns_how_sent_is_kept(
    app: Flask, client_id: int, targets: Targets, mail: RunningMailServer
) -> None:
    mailbox = add(targets, values(mail), client_id)
    assert verify(client_id, [mailbox.id]) == 1
    fresh(mailbox)
    assert (mailbox.status, mailbox.verify_result["state"], mailbox.save_to_sent) == ("active", "done", "append")
    assert mailbox.verified_at is not None and mailbox.verify_result["smtp"]["ok"] and mailbox.verify_result["imap"]["ok"]


def test_a_wrong_password_is_named_and_a_corrected_one_makes_it_active(
    app: Flask, client_id: int, targets: Targets, mail: RunningMailServer
) -> None:
    mailbox = add(targets, values(mail, smtp_password="wrong"), client_id)
    assert verify(client_id, [mailbox.id]) == 0
    fresh(mailbox)
    assert (mailbox.status, mailbox.verify_result["smtp"]["cause"]) == ("auth_failed", "wrong_password")
    with transaction():
        mailboxes.update(mailbox, {"smtp_password": PASSWORD, "imap_password": PASSWORD}, targets)
    assert fresh(mailbox).status == "connecting"
    assert verify(client_id, [mailbox.id]) == 1
    assert fresh(mailbox).status == "active"


def test_a_server_that_does_not_listen_is_named_refused(app: Flask, client_id: int, targets: Targets) -> None:
    mailbox = add(targets, values(smtp_port=9, imap_port=9), client_id)
    verify(client_id, [mailbox.id])
    assert fresh(mailbox).verify_result["smtp"] == {"ok": False, "cause": "refused", "phase": "connect", "said": ""}


def test_a_result_found_with_older_settings_is_not_recorded(app: Flask, client_id: int, targets: Targets, mail: RunningMailServer) -> None:
    from app.channels.verify import CheckResult, VerifyResult

    mailbox = add(targets, values(mail), client_id)
    with transaction():
        case = mailbox_verification.begin(client_id, mailbox.id)
        assert case is not None
    with transaction():
        mailboxes.update(mailbox, {"smtp_password": "another"}, targets)
    with transaction():
        assert mailbox_verification.record(case, VerifyResult(CheckResult(True), CheckResult(True))) is None
    assert fresh(mailbox).status == "connecting"


def test_the_sweep_finds_a_mailbox_whose_verification_was_lost(
    app: Flask, client_id: int, targets: Targets, mail: RunningMailServer
) -> None:
    mailbox = add(targets, values(mail), client_id)
    assert sweep() == 0  # it may still be in the queue
    with transaction() as session:
        session.execute(text("UPDATE senders SET status_since = clock_timestamp() - interval '2 minutes'"))
    assert sweep() == 1
    assert fresh(mailbox).status == "active"


def test_an_eleventh_test_within_a_minute_is_refused(app: Flask, client_id: int) -> None:
    user = make_user()
    user_id = user.id
    with transaction():
        for _ in range(10):
            mailbox_verification.count_test(client_id, user_id, [1])
    with transaction(), pytest.raises(TooMany):
        mailbox_verification.count_test(client_id, user_id, [1])
    db.session.execute(text("SELECT 1"))


@pytest.mark.parametrize("change", [mailboxes.stop, mailboxes.pause])
def test_a_mailbox_tells_its_stop_in_product_time_like_every_other(app: Flask, monkeypatch: pytest.MonkeyPatch, change: Callable[[Mailbox], Mailbox]) -> None:
    """A rehearsal's clock runs ahead of the machine's."""
    client = make_client()
    mailbox, ahead = make_mailbox(client), datetime(2036, 3, 3, 9, 0, tzinfo=UTC)
    with monkeypatch.context() as rehearsal:
        rehearsal.setattr(clock, "now", lambda: ahead)
        with transaction(Scope(client_id=client.id, client_ids=(client.id,))):
            change(mailbox)
            assert switches.state("sender", mailbox.id).stopped_at == ahead
            assert queries.line(client.id, mailbox.id, ahead).status_since == ahead
    assert fresh(mailbox).stands_since == ahead and fresh(mailbox).status_since < ahead


def test_pausing_and_resuming_counts_the_epoch_and_keeps_a_proven_login(app: Flask, client_id: int, targets: Targets) -> None:
    mailbox = make_mailbox(make_client(), verified_at=None)
    epoch = mailbox.status_epoch
    with transaction():
        mailboxes.pause(mailbox)
    assert (fresh(mailbox).status, mailbox.status_reason) == ("paused", "paused_by_person")
    with transaction():
        mailboxes.resume(mailbox)
    assert fresh(mailbox).status == "connecting"  # nobody ever logged in with it
    with transaction():
        mailboxes.stop(mailbox)
    assert (fresh(mailbox).status, mailbox.status_reason, mailbox.status_epoch) == ("paused", "stopped", epoch + 3)


def test_changing_a_name_or_cap_keeps_it_active_and_a_new_server_does_not(app: Flask, targets: Targets) -> None:
    mailbox = make_mailbox(make_client())
    with transaction():
        mailboxes.update(mailbox, {"display_name": "New name", "daily_cap": "12", "smtp_password": ""}, targets)
    assert (fresh(mailbox).status, mailbox.daily_cap, mailbox.display_name) == ("active", 12, "New name")
    with transaction():
        mailboxes.update(mailbox, {"imap_port": 1144}, targets)
    assert fresh(mailbox).status == "connecting"
    with transaction(), pytest.raises(Invalid):
        mailboxes.update(mailbox, {"imap_host": "192.168.1.1"}, targets)


def test_a_provider_that_takes_so_many_a_minute_wants_them_apart(app: Flask, client_id: int, targets: Targets) -> None:
    """Outlook takes thirty messages a minute of a mailbox."""
    given = {"email": "ada@outlook.com", "smtp_password": PASSWORD, "min_gap_s": 1}
    with pytest.raises(Invalid) as refused, transaction():
        mailboxes.create(client_id, given, targets)
    assert "30 messages a minute" in refused.value.details["min_gap_s"][0]
    mailbox = add(targets, {**given, "min_gap_s": 2}, client_id)
    with pytest.raises(Invalid), transaction():
        mailboxes.update(mailbox, {"min_gap_s": 0}, targets)


def test_a_mailbox_that_a_campaign_uses_is_removed_only_when_confirmed(app: Flask, targets: Targets) -> None:
    client = make_client()
    mailbox = make_mailbox(client)
    campaign = make_campaign(client, mailboxes=(mailbox,))
    with pytest.raises(Conflict) as refused, transaction():
        mailboxes.remove(mailbox)
    assert refused.value.details == {"campaign_ids": [campaign.id]}
    with transaction():
        mailboxes.remove(mailbox, although_used=True)
    fresh(mailbox)
    assert mailbox.deleted_at is not None and mailbox.smtp_secret is None and mailbox.status == "paused"
    with pytest.raises(NotFound):
        mailboxes.find(client.id, mailbox.id)
    again = add(targets, values(email=mailbox.address), client.id)
    assert again.id != mailbox.id


def test_a_strangers_mailbox_is_not_found(app: Flask) -> None:
    mailbox = make_mailbox(make_client())
    with pytest.raises(NotFound):
        mailboxes.find(make_client_id(), mailbox.id)


def test_a_page_may_add_a_mailbox_behind_the_second_wall(web_role: Flask, targets: Targets) -> None:
    from app.core.db import JOBS_ROLE, WEB_ROLE, use_database_role

    use_database_role(JOBS_ROLE)
    db.engine.dispose()
    user_id = make_user().id
    client_id = make_client_id()
    db.session.remove()
    use_database_role(WEB_ROLE)
    db.engine.dispose()
    with transaction(Scope(user_id=user_id, client_id=client_id, client_ids=(client_id,))):
        mailbox = mailboxes.create(client_id, values(), targets)
        assert mailboxes.find(client_id, mailbox.id) is mailbox
