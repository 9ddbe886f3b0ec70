"""The rehearsal's client, made once through the product's own services: people, mailboxes, leads, a running campaign.

Runs in a short-lived child after the world is up. The admin's random password is written into `<data>/login.txt` (mode 0600);
no default password exists. One mailbox has a wrong password, two leads lack a first name, one address bounces, two
rows of the imported list cannot be taken: on purpose.
"""

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

ADMIN = ("admin@emberdemo.test", "Ada Lindner")
AGENT = ("agent@emberdemo.test", "Tom Okafor")
LOGIN = "login.txt"
Result = TypeVar("Result")


def seed() -> int:
    """Make the demo client unless it is there already. Exit code for the child: 0."""
    from app import create_app
    from app.core.db import WEB_ROLE, use_database_role

    use_database_role(WEB_ROLE)
    application = create_app()
    with application.app_context():
        if not _there():
            _make(application.extensions["settings"])
    return 0


def _there() -> bool:
    from sqlalchemy import select

    from app.core.db import transaction
    from app.core.extensions import db
    from app.models import User

    with transaction():
        return db.session.scalar(select(User.id).where(User.email_key == ADMIN[0])) is not None


def _write_login(password: str) -> None:
    path = Path(os.environ["EMBERPOST_DATA"]) / LOGIN
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(f"e-mail: {ADMIN[0]}\npassword: {password}\n")


def _make(settings: Any) -> None:
    from app.core.db import Scope

    password = secrets.token_urlsafe(18)
    _write_login(password)
    client_id, user_id = _in(None, lambda: _people(password))
    inside = Scope(user_id=user_id, client_id=client_id, client_ids=(client_id,))
    mailboxes = _in(inside, lambda: _mailboxes(client_id, settings))
    _verify(client_id, mailboxes)
    import_id = _in(inside, lambda: _leads(client_id, user_id))
    _in(inside, lambda: _campaigns(client_id, user_id, mailboxes, import_id))


def _in(scope: Any, work: Callable[[], Result]) -> Result:
    from app.core.db import transaction

    with transaction(scope):
        return work()


def _people(password: str) -> tuple[int, int]:
    """The operator who is also the client's admin, and an agent to assign conversations to."""
    from app.domain.statuses import Role
    from app.services import clients, people
    from sandbox.demo_world import DEMO_ZONE, demo_client

    admin = people.claim_instance(ADMIN[0], ADMIN[1], password, DEMO_ZONE)
    client = clients.create_client(demo_client(), admin)
    agent = people.create_user(AGENT[0], AGENT[1], secrets.token_urlsafe(18), timezone=DEMO_ZONE)
    people.grant(agent, client, Role.AGENT)
    return client.id, admin.id


def _mailboxes(client_id: int, settings: Any) -> list[int]:
    from app.services import mailboxes
    from app.services.mailbox_targets import Targets
    from sandbox.demo_world import demo_mailboxes

    targets = Targets.of(settings)
    smtp, imap = int(os.environ["EMBERPOST_WORLD_SMTP_PORT"]), int(os.environ["EMBERPOST_WORLD_IMAP_PORT"])
    return [mailboxes.create(client_id, values, targets, verify=False).id for values in demo_mailboxes(smtp, imap)]


def _verify(client_id: int, mailbox_ids: list[int]) -> None:
    """Log in to all of them now, as the button does: so the campaign's launch finds them active (but for one)."""
    from app.core.db import JOBS_ROLE, WEB_ROLE, use_database_role
    from app.core.extensions import db
    from jobs.mailboxes import verify

    for role in (JOBS_ROLE, WEB_ROLE):
        use_database_role(role)
        db.session.remove()
        db.engine.dispose()
        if role == JOBS_ROLE:
            verify(client_id, mailbox_ids)


def _leads(client_id: int, user_id: int) -> int:
    """The people come as a list in a file, like anybody's; the import's number."""
    from app.services import importing
    from sandbox.demo_world import demo_csv

    row = importing.upload(client_id, "autumn-list.csv", demo_csv(), by=user_id)
    importing.start(row, dry_run=False, enqueue=False, by=user_id)
    importing.run_now(row, allow_reserved=True)
    return row.id


def _campaigns(client_id: int, user_id: int, mailboxes: list[int], import_id: int) -> None:
    """One that runs, and a draft from a starter sequence to play with."""
    from app.services import campaign_leads, campaign_steps, campaigns, launch
    from sandbox.demo_world import demo_campaign

    running = campaigns.create(client_id, demo_campaign(mailboxes), by=user_id)
    campaign_leads.add_leads(client_id, running.id, import_id=import_id, by=user_id)
    launch.start(client_id, running.id, by=user_id)
    draft = campaigns.create(client_id, {"name": "Winter ideas (draft)", "mailbox_ids": mailboxes[:2]}, by=user_id)
    campaign_steps.use_starter(client_id, draft.id, _first_starter(), by=user_id)


def _first_starter() -> str:
    from app.domain.starter_sequences import STARTER_SEQUENCES

    return next(iter(STARTER_SEQUENCES)).key
