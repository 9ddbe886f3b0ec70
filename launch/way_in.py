"""How a person gets in after the start: the demo admin's one-time link, or the link that claims an empty instance.

Runs in a short-lived child with the product's environment. `login.txt` in the data folder (mode 0600) is written when the
rehearsal's client is made: `e-mail: …` and `password: …`, one a line.
"""

import os
from pathlib import Path

LOGIN = "login.txt"


def sentence(url: str, data: Path, *, rehearsal: bool) -> str:
    """The lines to print below `ready:`."""
    from app import create_app
    from app.core.db import WEB_ROLE, transaction, use_database_role

    use_database_role(WEB_ROLE)
    with create_app().app_context(), transaction():
        return demo_way(url, data) if rehearsal else real_way(url)


def demo_way(url: str, data: Path) -> str:
    from app.services import auth, people

    known = dict(line.split(": ", 1) for line in (data / LOGIN).read_text().splitlines() if ": " in line)
    link = auth.make_one_time_link(people.find_user(known["e-mail"]), "login")
    return f"sign in, works once: {url.rstrip('/')}{link}\n(later with {known['e-mail']} and the password in {data / LOGIN})\n"


def real_way(url: str) -> str:
    from app.core.extensions import db
    from app.models import Instance
    from app.services import auth, people

    if db.session.get_one(Instance, 1).claimed_at is not None:
        return f"log in: {url}login\n"
    email, password = os.environ.get("EMBERPOST_ADMIN_EMAIL"), os.environ.get("EMBERPOST_ADMIN_PASSWORD")
    if email and password:
        people.claim_instance(email, email.partition("@")[0], password)
        return f"claimed for {email}; log in: {url}login\n"
    return f"nobody owns this instance yet; claim it, works once: {url.rstrip('/')}{auth.make_one_time_link(None, 'claim')}\n"
