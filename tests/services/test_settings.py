"""Settings in the ledger: read, changed, versioned, and heeded at once by the process that changed them."""

from __future__ import annotations

import time

import pytest
from flask import Flask
from sqlalchemy import text

from app.core.db import transaction
from app.core.errors import Conflict, Invalid
from app.core.extensions import db
from app.services import settings
from tests.factories import make_client


@pytest.fixture(autouse=True)
def _nothing_remembered() -> None:
    settings.forget_copies()


def test_a_setting_nobody_set_has_its_default_and_version_nought(app: Flask) -> None:
    client_id = make_client().id
    assert settings.get("client", client_id, "client_hour_cap") is None
    assert settings.current("client", client_id, "default_windows").version == 0
    assert settings.get("client", client_id, "default_windows")[0] == {"weekday": 0, "from": "09:00", "to": "17:00"}


def test_a_change_is_read_at_once_versioned_and_kept_in_the_trail(app: Flask) -> None:
    client_id = make_client().id
    assert settings.get("client", client_id, "client_hour_cap") is None
    with transaction():
        assert settings.change("client", client_id, {"client_hour_cap": "120"}) == ["client_hour_cap"]
    assert settings.get("client", client_id, "client_hour_cap") == 120
    with transaction():
        assert settings.change("client", client_id, {"client_hour_cap": "120"}) == []
        settings.change("client", client_id, {"client_hour_cap": ""})
    assert settings.current("client", client_id, "client_hour_cap") == settings.Value(None, 2)
    trail = db.session.execute(text("SELECT before->>'value', after->>'value' FROM audit_entries ORDER BY id")).all()
    assert [tuple(row) for row in trail] == [(None, "120"), ("120", None)]


def test_two_people_who_change_the_same_setting_do_not_overwrite_each_other(app: Flask) -> None:
    with transaction():
        settings.change("instance", 0, {"instance_hour_cap": 100}, versions={"instance_hour_cap": 0})
    with transaction(), pytest.raises(Conflict):
        settings.change("instance", 0, {"instance_hour_cap": 200}, versions={"instance_hour_cap": 0})
    assert settings.current("instance", 0, "instance_hour_cap").value == 100


@pytest.mark.parametrize(("key", "value"), [("instance_hour_cap", "-1"), ("instance_hour_cap", "0"), ("instance_hour_cap", True),
                                            ("bulk_ready_domains", "nodot"), ("client_hour_cap", 5), ("unheard_of", 1)])  # fmt: skip
def test_what_does_not_fit_is_refused_at_its_field(app: Flask, key: str, value: object) -> None:
    with transaction(), pytest.raises(Invalid) as refused:
        settings.change("instance", 0, {key: value})
    assert key in refused.value.details


def test_the_sending_road_reads_the_caps_that_are_set_here(app: Flask) -> None:
    from app.services.outbox.counters import house_caps
    from app.services.outbox.plain import plain_connection

    client_id = make_client().id
    with transaction():
        settings.change("instance", 0, {"instance_minute_cap": 7, "bulk_ready_domains": "Acme.test, b.test"})
        settings.change("client", client_id, {"client_hour_cap": 9})
    caps = house_caps(plain_connection())
    assert (caps.instance.instance_minute, caps.instance.instance_hour) == (7, None)
    assert caps.client_hour == {client_id: 9} and caps.bulk_ready == {"acme.test", "b.test"}


def test_a_new_campaign_begins_with_the_clients_usual_hours(app: Flask) -> None:
    from app.services import campaigns

    client_id = make_client().id
    with transaction():
        settings.change("client", client_id, {"default_windows": [{"weekday": 2, "from": "10:00", "to": "11:00"}]})
    with transaction():
        campaign = campaigns.create(client_id, {"name": "Wednesdays"}, by=None)
        assert campaign.windows == [{"weekday": 2, "from": "10:00", "to": "11:00"}]


def test_what_another_process_changed_holds_here_within_two_seconds(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """No bell is needed for it: a copy is never older than a second."""
    with transaction():
        settings.change("instance", 0, {"instance_hour_cap": 500})
    assert settings.get("instance", 0, "instance_hour_cap") == 500
    db.session.execute(text("UPDATE settings SET value = '600' WHERE key = 'instance_hour_cap'"))
    db.session.commit()
    assert settings.get("instance", 0, "instance_hour_cap") == 500, "its own copy"
    later = time.monotonic() + settings.COPY_SECONDS + 0.01
    monkeypatch.setattr(settings.time, "monotonic", lambda: later)
    assert settings.get("instance", 0, "instance_hour_cap") == 600 and settings.COPY_SECONDS < 2
