"""A client that a public generator makes from the description drives the product over a socket, as any outsider's would.

The same by hand: ``openapi-python-client generate --url http://127.0.0.1:8000/openapi.json`` (docs/api.md).
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from werkzeug.serving import make_server

import app.blueprints.stream  # noqa: F401  its operation is described too
from app.blueprints.api.openapi import build
from app.core.db import JOBS_ROLE, WEB_ROLE, use_database_role
from tests import factories as make
from tests.web.page_client import web_app

PACKAGE = "client_of_emberpost"
CONFIG = f"package_name_override: {PACKAGE}\npost_hooks: []\n"


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The generated package, imported; a function per operation: ``generated("leads.leads_create").sync_detailed``."""
    folder = tmp_path_factory.mktemp("generated")
    (folder / "openapi.json").write_text(json.dumps(build()))
    (folder / "config.yml").write_text(CONFIG)
    program = Path(sys.executable).parent / "openapi-python-client"
    words = (program, "generate", "--path", "openapi.json", "--config", "config.yml", "--meta", "none", "--output-path", PACKAGE, "--fail-on-warning")
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    sys.path.insert(0, str(folder))
    yield lambda name: importlib.import_module(f"{PACKAGE}.{name}")
    sys.path.remove(str(folder))
    for name in [name for name in sys.modules if name.split(".")[0] == PACKAGE]:
        del sys.modules[name]


@contextmanager
def served(app: Flask) -> Iterator[str]:
    """The product behind a real socket, its connections the web role's."""
    web = web_app(app)
    use_database_role(WEB_ROLE)
    server = make_server("127.0.0.1", 0, web, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        use_database_role(JOBS_ROLE)


@pytest.mark.slow
def test_a_generated_client_logs_in_builds_a_campaign_launches_it_and_reads_where_it_stands(app: Flask, generated: Any) -> None:
    client = make.make_client()
    make.make_user(client, email="ann@company.test", password="a long and quiet password")
    mailbox = make.make_mailbox(client).id
    api, models, connect = (lambda name: generated(f"api.{name}").sync), generated("models"), generated("client")
    with served(app) as address:
        anybody = connect.Client(base_url=address, raise_on_unexpected_status=True)
        login = api("auth.auth_login")(client=anybody, body=models.Login(email="ann@company.test", password="a long and quiet password"))
        assert login.user.email == "ann@company.test"
        mine = connect.AuthenticatedClient(base_url=address, token=login.access_token, raise_on_unexpected_status=True)
        made = api("campaigns.campaigns_create")(client=mine, body=models.NewCampaignOfClient.from_dict({
            "name": "Spring", "timezone": "UTC", "mailbox_ids": [mailbox],
            "windows": [{"weekday": day, "from": "00:00", "to": "24:00"} for day in range(7)],
            "steps": [{"channel": "email", "delay": {"value": 0, "unit": "days"}, "subject": "Hello {{ first_name }}",
                       "text": "Hi {{ first_name }}.\n\n{{ unsubscribe_url }}"}],
        }))  # fmt: skip
        assert (made.status, made.steps[0].delay.unit, made.mailbox_ids) == ("draft", "days", [mailbox])
        people = [
            api("leads.leads_create")(client=mine, body=models.NewLeadOfClient(email=f"{name}@nordlicht.test", first_name=name), idempotency_key=name)
            for name in ("ola", "nina", "ola")
        ]
        assert people[0].id == people[2].id != people[1].id, "the same key gives the same answer"
        listed = api("leads.leads_list_leads")(client=mine, limit=1)
        assert [lead.email for lead in listed.items] == ["nina@nordlicht.test"] and listed.next_cursor
        enrolled = api("campaigns.campaigns_add_leads")(row_id=made.id, client=mine, body=models.LeadsToAdd(lead_ids=[lead.id for lead in people[:2]]))
        assert enrolled.enrolled == 2
        assert api("campaigns.campaigns_start")(row_id=made.id, client=mine).status == "running"
        again = api("campaigns.campaigns_start")(row_id=made.id, client=mine)
        assert (type(again).__name__, again.code) == ("Error", "conflict")
        stands = api("campaigns.campaigns_status")(row_id=made.id, client=mine)
        assert (stands.leads, stands.sent, stands.status) == (2, 0, "running")
        refused = api("leads.leads_show")(row_id=people[0].id, client=connect.AuthenticatedClient(base_url=address, token="nobody.knows.this"))
        assert refused.code == "unauthenticated"
