"""Operator verbs about people: make a user, give a seat, reset a password, hand out links that work once."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

import click
from flask import current_app
from flask.cli import with_appcontext
from sqlalchemy import select

from app.core.db import JOBS_ROLE, NOBODY, WEB_ROLE, transaction, use_database_role
from app.core.errors import NotFound, ProductError
from app.core.extensions import db
from app.domain.statuses import Role
from app.models import Client, Instance
from app.services import audit, auth, people, second_factor
from app.services.instance import ensure_instance

#: Who it was is known only to the machine: the trail says at least from where.
BY = {"by": "command line"}


def in_transaction(role: str) -> Callable[[Callable[..., str]], Callable[..., None]]:
    """Run the verb in one transaction as ``role``; a refusal becomes one sentence and exit code 1."""

    def wrap(verb: Callable[..., str]) -> Callable[..., None]:
        @wraps(verb)
        def run(**options: Any) -> None:
            use_database_role(role)
            try:
                with transaction(NOBODY):
                    said = verb(**options)
            except ProductError as refusal:
                fields = [
                    f"{name}: {' '.join(found)}" for name, found in refusal.details.items() if isinstance(found, list)
                ]
                raise click.ClickException(" ".join(fields) or refusal.message) from None
            click.echo(said)

        return run

    return wrap


def _absolute(path: str) -> str:
    settings = current_app.extensions["settings"]
    return (settings.public_url.rstrip("/") or f"http://{settings.host}:{settings.port}") + path


@click.command("create-user")
@click.argument("email")
@click.option("--name", default=None, help="Shown to colleagues; default: the part before the @.")
@click.option("--operator", is_flag=True, help="May make clients, stop the instance, see the doctor.")
@click.option(
    "--password-stdin", is_flag=True, help="Read the password from standard input; else a link to set one is printed."
)
@with_appcontext
@in_transaction(WEB_ROLE)
def create_user(email: str, name: str | None, operator: bool, password_stdin: bool) -> str:
    """Make a user and print how they get in."""
    password = sys.stdin.readline().rstrip("\n") if password_stdin else None
    user = people.create_user(email, name or email.partition("@")[0], password, operator=operator)
    audit.record("user.create", "user", user.id, after={"email": user.email, "operator": operator, **BY})
    if password_stdin:
        return f"{user.email} can log in."
    return f"{user.email} sets a password here (works once, 72 hours):\n{_absolute(auth.make_one_time_link(user, 'invite'))}"


@click.command("reset-password")
@click.argument("email")
@click.option("--random", "at_random", is_flag=True, help="Set a random password and print it, instead of a link.")
@with_appcontext
@in_transaction(WEB_ROLE)
def reset_password(email: str, at_random: bool) -> str:
    """Let somebody choose a new password; with --random also ends every session now."""
    user = people.find_user(email)
    if not at_random:
        auth.end_links(user.id, "reset")
        audit.record("user.reset_link", "user", user.id, after=BY)
        return f"{user.email} chooses a new password here (works once, 30 minutes):\n{_absolute(auth.make_one_time_link(user, 'reset'))}"
    password = secrets.token_urlsafe(18)
    auth.set_password(user, password)
    audit.record("user.password", "user", user.id, after=BY)
    return f"New password of {user.email}: {password}"


@click.command("grant")
@click.argument("email")
@click.argument("client")
@click.argument("role", type=click.Choice([role.value for role in Role]))
@with_appcontext
@in_transaction(JOBS_ROLE)
def grant(email: str, client: str, role: str) -> str:
    """Give a user a role in the client with this short name."""
    found = db.session.scalar(select(Client).where(Client.slug == client, Client.deleted_at.is_(None)))
    if found is None:
        raise NotFound(f"No client has the short name {client}.")
    user = people.find_user(email)
    people.grant(user, found, Role(role))
    return f"{user.email} is {role} of {found.name}."


@click.command("remove-second-factor")
@click.argument("email")
@with_appcontext
@in_transaction(WEB_ROLE)
def remove_second_factor(email: str) -> str:
    """For somebody who lost phone and recovery codes: the next login asks for the password alone; every session ends now."""
    user = people.find_user(email)
    second_factor.reset(user)
    return f"{user.email} has no second factor any more. Clients that ask for one open once it is set up again."


@click.command("login-link")
@click.argument("email")
@with_appcontext
@in_transaction(WEB_ROLE)
def login_link(email: str) -> str:
    """Print a link that signs somebody in once (24 hours)."""
    user = people.find_user(email)
    audit.record("user.login_link_made", "user", user.id, after=BY)
    return _absolute(auth.make_one_time_link(user, "login"))


@click.command("claim-link")
@with_appcontext
@in_transaction(WEB_ROLE)
def claim_link() -> str:
    """Print the link that makes this instance somebody's, or claim it for EMBERPOST_ADMIN_EMAIL at once."""
    settings = current_app.extensions["settings"]
    row: Instance = ensure_instance(settings)
    if row.claimed_at is not None:
        return "This instance is claimed."
    if settings.admin_email and settings.admin_password:
        user = people.claim_instance(
            settings.admin_email, settings.admin_email.partition("@")[0], settings.admin_password
        )
        return f"Claimed by {user.email}."
    return _absolute(auth.make_one_time_link(None, "claim"))


commands = [create_user, reset_password, remove_second_factor, grant, login_link, claim_link]
