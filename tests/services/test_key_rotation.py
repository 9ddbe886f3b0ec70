"""Rotating the key of stored secrets: online, resumable, nothing lost, a concurrent change wins."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask
from sqlalchemy import text

from app.core.crypto import Vault, use_vault, vault
from app.core.db import transaction
from app.core.extensions import db
from app.models import Mailbox
from app.services import key_rotation, webhooks
from app.services.mailbox_secrets import SECRET_COLUMNS
from tests.conftest import KEYS
from tests.factories import make_client, make_mailbox, make_user
from tests.second_factors import PASSWORD, code, half_way, with_app

NEWER = "k2:" + "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="


@pytest.fixture
def two_keys(app: Flask) -> Iterator[None]:
    client = make_client()
    for number in range(5):
        make_mailbox(client, password=f"password {number}")
    old = vault()
    use_vault(Vault(f"{NEWER},{KEYS}"))
    yield
    use_vault(old)


def test_every_secret_opens_with_the_new_key_alone_afterwards(app: Flask, two_keys: None) -> None:
    assert key_rotation.old_secrets() == 10
    result = app.test_cli_runner().invoke(args=["keys", "rotate"])
    assert result.exit_code == 0 and "10 secrets sealed with key k2; 0 are left" in result.output
    use_vault(Vault(NEWER))
    db.session.expire_all()
    opened = [vault().open(row.smtp_secret or "", f"mailboxes.smtp_secret:{row.id}") for row in db.session.query(Mailbox).order_by(Mailbox.id)]
    assert opened == [f"password {number}" for number in range(5)]


def test_an_interrupted_rotation_goes_on_where_it_was(two_keys: None) -> None:
    with transaction():
        first = key_rotation.rotate_batch("smtp_secret", 0, limit=2)
    assert (first.sealed, first.next_id is not None) == (2, True)
    with transaction():  # begun again from the start: what is done is passed over
        again = key_rotation.rotate_batch("smtp_secret", 0, limit=100)
    assert (again.sealed, again.next_id) == (3, None)


def test_a_secret_that_no_key_opens_is_named_and_left_as_it_is(app: Flask, two_keys: None) -> None:
    db.session.execute(text("UPDATE mailboxes SET imap_secret = smtp_secret WHERE id = (SELECT min(id) FROM mailboxes)"))
    db.session.commit()
    result = app.test_cli_runner().invoke(args=["keys", "rotate"])
    assert result.exit_code == 1 and "mailboxes.imap_secret:" in result.output and "1 are left" in result.output
    assert set(SECRET_COLUMNS) == {"smtp_secret", "imap_secret", "oauth_refresh_secret"}


def test_the_secret_of_a_second_factor_is_sealed_anew_and_its_codes_go_on_fitting(app: Flask, two_keys: None) -> None:
    both = vault()
    use_vault(Vault(KEYS))
    user = make_user(make_client(), password=PASSWORD)
    with_app(app, user)
    use_vault(both)
    assert key_rotation.old_secrets() == 11
    assert app.test_cli_runner().invoke(args=["keys", "rotate"]).exit_code == 0
    use_vault(Vault(NEWER))
    page = half_way(app, user)
    assert page.post("/login/code", {"otp": code(user)}).status == 303


def test_secrets_of_webhook_sources_are_sealed_anew_as_well(app: Flask, two_keys: None) -> None:
    both = vault()
    use_vault(Vault(KEYS))
    with transaction():
        source, secret = webhooks.add("Carrier", "standard_webhooks", by=None)
        source_id = source.id
    use_vault(both)
    assert key_rotation.old_secrets() == 11
    assert app.test_cli_runner().invoke(args=["keys", "rotate"]).exit_code == 0
    use_vault(Vault(NEWER))
    with transaction():
        assert webhooks.reveal(webhooks.get(source_id), by=None) == secret
