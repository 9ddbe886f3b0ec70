"""Thirty-five faults put into the product from outside, one at a time: the matrix, asked about the routes they touch, notices them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from flask import Flask, g, request
from sqlalchemy import event, select

from app.blueprints import access as guards
from app.blueprints import htmx, sessions
from app.blueprints.api import core as api_core
from app.core import db as core_db
from app.core.errors import Forbidden, Invalid, NotFound
from app.core.extensions import db
from app.domain.permissions import Permission
from app.models import Campaign, Conversation, Lead, UserSession
from app.queries import thread as threads
from app.services import access, api_keys, auth, campaign_leads
from app.services.inbox import triage
from tests.matrix.asking import Matrix
from tests.matrix.house import BOTH, ROWS_ALONE, SCOPE_ALONE, standing
from tests.matrix.room import ScopePatch
from tests.matrix.routes import cases

pytestmark = pytest.mark.thorough
Seed = Callable[[pytest.MonkeyPatch, Matrix], Any]


@dataclass(frozen=True)
class Fault:
    """``seed`` puts it in and may give back what takes it out again; ``touches``: the names of the cases it shows in."""

    name: str
    walls: str
    touches: tuple[str, ...]
    seed: Seed


def _every_role_may(patch: pytest.MonkeyPatch, _matrix: Matrix) -> None:
    patch.setattr(access.Viewer, "may", lambda *_all: True)


def _weaker_guard(endpoint: str, permission: Permission) -> Seed:
    def seed(patch: pytest.MonkeyPatch, matrix: Matrix) -> None:
        view = matrix.room.app.view_functions[endpoint]
        weaker = guards._guarded(view.__wrapped__, dataclasses.replace(view.access, permission=permission))  # type: ignore[attr-defined]
        patch.setitem(matrix.room.app.view_functions, endpoint, weaker)

    return seed


def _unguarded(endpoint: str) -> Seed:
    def seed(patch: pytest.MonkeyPatch, matrix: Matrix) -> None:
        view = matrix.room.app.view_functions[endpoint].__wrapped__  # type: ignore[attr-defined]
        patch.setitem(matrix.room.app.view_functions, endpoint, guards._guarded(view, guards.Access("signed_in")))

    return seed


def _api_asks_no_permission(patch: pytest.MonkeyPatch, _matrix: Matrix) -> None:
    def sit_down(seat: Any, _operation: Any) -> None:
        access.enter_client(g.viewer, seat, None)
        g.client, g.role = seat, seat.role

    patch.setattr(api_core, "_sit_down", sit_down)


def _anybody_is_operator(patch: pytest.MonkeyPatch, _matrix: Matrix) -> None:
    patch.setattr(api_core, "_need_operator", lambda _permission: None)


def _pages_ask_no_operator(patch: pytest.MonkeyPatch, _matrix: Matrix) -> None:
    enter = guards._enter
    patch.setattr(guards, "_enter", lambda declared, slug: enter(declared, slug) if slug is not None else None)


def _ended_sessions_go_on(patch: pytest.MonkeyPatch, _matrix: Matrix) -> None:
    def session_user(secret: str, kind: str) -> Any:
        wanted = select(UserSession, auth.User).join(auth.User, auth.User.id == UserSession.user_id)
        return db.session.execute(wanted.where(UserSession.token_hash == auth.token_hash(secret), UserSession.kind == kind)).first()

    patch.setattr(auth, "session_user", session_user)


def _keys_never_end(_patch: pytest.MonkeyPatch, matrix: Matrix) -> Callable[[], None]:
    return _in_database(
        matrix,
        "CREATE OR REPLACE FUNCTION emberpost_api_key(hash text) RETURNS TABLE (id bigint, client_id bigint, user_id bigint, scope text, prefix text)"
        " LANGUAGE sql SECURITY DEFINER AS $$ SELECT id, client_id, user_id, scope, prefix FROM api_keys WHERE secret_hash = hash $$",
    )


def _reading_keys_write(patch: pytest.MonkeyPatch, _matrix: Matrix) -> None:
    patch.setattr(api_keys, "replace", lambda found, **values: dataclasses.replace(found, **{k: v for k, v in values.items() if k != "role"}))


def _keys_manage_people(patch: pytest.MonkeyPatch, _matrix: Matrix) -> None:
    patch.setattr(access, "NEVER_BY_KEY", frozenset())


def _cookies_open_the_api(patch: pytest.MonkeyPatch, _matrix: Matrix) -> None:
    patch.setattr(sessions, "viewer_of_bearer", lambda *, required: access.viewer_of(db.session.scalars(select(auth.User)).first(), 0))


def _any_address_is_the_first_seat(patch: pytest.MonkeyPatch, _matrix: Matrix) -> None:
    patch.setattr(access.Viewer, "seat", lambda viewer, **_named: next(iter(viewer.seats), None))


def _own_forgets_the_client(patch: pytest.MonkeyPatch, _matrix: Matrix) -> None:
    def own(model: Any, row_id: int, *_clients: int) -> Any:
        row = db.session.get(model, row_id)
        if row is None:
            raise NotFound
        return row

    patch.setattr(guards, "own", own)


def _own_shows_what_was_deleted(patch: pytest.MonkeyPatch, _matrix: Matrix) -> None:
    def own(model: Any, row_id: int, *clients: int) -> Any:
        row = db.session.scalar(select(model).where(model.id == row_id, model.client_id.in_(clients)))
        if row is None:
            raise NotFound
        return row

    patch.setattr(api_core, "own", own)


def _without_a_login_one_is_somebody(patch: pytest.MonkeyPatch, matrix: Matrix) -> None:
    """Whoever brings no token at all comes in as the admin of our client; everybody else as ever."""
    known, admin = sessions.viewer_of_bearer, _admin_of(matrix)

    def viewer_of_bearer(*, required: bool) -> Any:
        nothing = "Authorization" not in request.headers
        return access.viewer_of(db.session.get_one(auth.User, admin), 0) if nothing else known(required=required)

    patch.setattr(sessions, "viewer_of_bearer", viewer_of_bearer)


def _admin_of(matrix: Matrix) -> int:
    with psycopg.connect(matrix.app.extensions["settings"].database_url) as connection:
        ours = matrix.worlds["ours"].client.id
        row = connection.execute("SELECT user_id FROM memberships WHERE client_id = %s AND role = 'admin'", (ours,)).fetchone()
    assert row is not None
    return int(row[0])


def _agents_give_to_anybody(patch: pytest.MonkeyPatch, _matrix: Matrix) -> None:
    """One role, one id of several: seen only by whoever asks as an agent and changes nothing but the person."""
    known = triage.assign

    def assign(client_id: int, ids: Any, user_id: int | None) -> Any:
        if g.role != "agent" or user_id is None:
            return known(client_id, ids, user_id)
        if db.session.get(auth.User, user_id) is None:
            raise Invalid.field("user_id", "Choose somebody of this client who may answer.")
        db.session.get_one(Conversation, ids[0]).assignee_id = user_id
        db.session.flush()
        return list(ids)

    patch.setattr(triage, "assign", assign)


def _parts_tell_more(patch: pytest.MonkeyPatch, matrix: Matrix) -> None:
    render = htmx.render_block
    patch.setattr(htmx, "render_block", lambda *words, **values: render(*words, **values) + matrix.worlds["theirs"].word)


def _says_that_it_is_somebody_elses(patch: pytest.MonkeyPatch, _matrix: Matrix) -> None:
    own = api_core.own

    def telling(model: Any, row_id: int, *clients: int) -> Any:
        try:
            return own(model, row_id, *clients)
        except NotFound:
            if db.session.scalar(select(model.id).where(model.id == row_id)) is not None:
                raise Forbidden("This belongs to another client.") from None
            raise

    patch.setattr(api_core, "own", telling)


def _says_it_in_the_words(patch: pytest.MonkeyPatch, _matrix: Matrix) -> None:
    own = api_core.own

    def telling(model: Any, row_id: int, *clients: int) -> Any:
        try:
            return own(model, row_id, *clients)
        except NotFound:
            if db.session.scalar(select(model.id).where(model.id == row_id)) is not None:
                raise NotFound("You may not see this.") from None
            raise

    patch.setattr(api_core, "own", telling)


def _forgets_scope_of(table: str) -> Seed:
    """The client is left out of every statement about ``table``: a filter that somebody dropped."""

    def seed(_patch: pytest.MonkeyPatch, matrix: Matrix) -> Callable[[], None]:
        whole = ScopePatch()

        def dropping(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> tuple[str, Any]:
            about = f"FROM {table}" in statement or f"UPDATE {table}" in statement
            return whole(connection, cursor, statement, parameters, context, many) if about else (statement, parameters)

        event.listen(matrix.room.engine, "before_cursor_execute", dropping, retval=True)
        return lambda: event.remove(matrix.room.engine, "before_cursor_execute", dropping)

    return seed


def _without_row_security(table: str) -> Seed:
    def seed(_patch: pytest.MonkeyPatch, matrix: Matrix) -> Callable[[], None]:
        off, on = f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY", f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY"
        _run(matrix, off)
        return lambda: _run(matrix, on)

    return seed


def _scope_of_everybody(patch: pytest.MonkeyPatch, matrix: Matrix) -> None:
    write, both = core_db._write_scope, tuple(matrix.worlds[name].client.id for name in ("ours", "theirs"))
    patch.setattr(core_db, "_write_scope", lambda connection, scope: write(connection, dataclasses.replace(scope, client_ids=both)))


def _any_import_will_do(patch: pytest.MonkeyPatch, _matrix: Matrix) -> None:
    patch.setattr(campaign_leads, "_import_exists", lambda _client, number: number < 44_000_000)


def _enrolls_by_id_alone(patch: pytest.MonkeyPatch, _matrix: Matrix) -> None:
    """A lead named in a body is put into the campaign whoever it belongs to."""

    def add(client_id: int, campaign_id: int, *, lead_ids: Any = None, **_more: Any) -> Any:
        for number in lead_ids or ():
            if (lead := db.session.get(Lead, number)) is not None:
                lead.title = f"in campaign {db.session.get_one(Campaign, campaign_id).id}"
        db.session.flush()
        return type("Done", (), {"enrolled": 1, "skipped": {}})()

    patch.setattr(campaign_leads, "add_leads", add)


def _raw_source_of_anybody(patch: pytest.MonkeyPatch, matrix: Matrix) -> None:
    """The page loads its own message, then shows the bytes of the newest one there is."""
    patch.setattr(threads, "raw_source", lambda _client, _message: matrix.worlds["theirs"].word.encode())


def _header_with_a_name(patch: pytest.MonkeyPatch, matrix: Matrix) -> None:
    def telling(answer: Any) -> Any:
        answer.headers["X-Client"] = matrix.worlds["theirs"].house
        return answer

    patch.setitem(matrix.room.app.after_request_funcs, None, [telling, *matrix.room.app.after_request_funcs[None]])


def _run(matrix: Matrix, statement: str) -> None:
    with psycopg.connect(matrix.app.extensions["settings"].database_url, autocommit=True) as connection:
        connection.execute(statement)


def _in_database(matrix: Matrix, statement: str) -> Callable[[], None]:
    with psycopg.connect(matrix.app.extensions["settings"].database_url, autocommit=True) as connection:
        row = connection.execute("SELECT pg_get_functiondef('emberpost_api_key'::regproc)").fetchone()
        assert row is not None
        connection.execute(statement)
    return lambda: _run(matrix, row[0])


FAULTS = (
    Fault("every role may do everything", BOTH, ("leads.export", "api.campaigns_pause"), _every_role_may),
    Fault("the export asks for reading only", BOTH, ("leads.export",), _weaker_guard("leads.export", Permission.LEADS_READ)),
    Fault("the trail asks for being logged in only", BOTH, ("trail.instance",), _unguarded("trail.instance")),
    Fault("the API asks for a client, not for a permission", BOTH, ("api.campaigns_pause",), _api_asks_no_permission),
    Fault("the API takes anybody for an operator", BOTH, ("api.webhooks_list_sources",), _anybody_is_operator),
    Fault("operators' pages open for everybody", BOTH, ("sources.index",), _pages_ask_no_operator),
    Fault("ended and timed-out logins go on", BOTH, ("leads.index",), _ended_sessions_go_on),
    Fault("keys never end", BOTH, ("api.leads_list_leads",), _keys_never_end),
    Fault("a key to read writes", BOTH, ("api.leads_create",), _reading_keys_write),
    Fault("keys manage people", BOTH, ("api.members_list_members", "api.members_invite"), _keys_manage_people),
    Fault("the API lets in whoever comes", BOTH, ("api.me_me",), _cookies_open_the_api),
    Fault("any address leads to the first client", BOTH, ("leads.index",), _any_address_is_the_first_seat),
    Fault("a header names the other client", BOTH, ("leads.index",), _header_with_a_name),
    Fault("the raw source is somebody else's", BOTH, ("mail_frame.source",), _raw_source_of_anybody),
    Fault("a fragment tells more than its page", BOTH, ("leads.index",), _parts_tell_more),
    Fault("an agent gives a conversation to anybody", BOTH, ("inbox_actions.assign",), _agents_give_to_anybody),
    Fault("an agent gives a conversation to anybody, with the scope alone", SCOPE_ALONE, ("inbox_actions.assign",), _agents_give_to_anybody),
    Fault("what was deleted is read by the API, with the scope alone", SCOPE_ALONE, ("api.campaigns_show",), _own_shows_what_was_deleted),
    Fault("nobody is an admin of the API, with the scope alone", SCOPE_ALONE, ("api.leads_show",), _without_a_login_one_is_somebody),
    Fault("what was deleted is read by the API, with row-level security alone", ROWS_ALONE, ("api.campaigns_show",), _own_shows_what_was_deleted),
    Fault("nobody is an admin of the API, with row-level security alone", ROWS_ALONE, ("api.leads_show",), _without_a_login_one_is_somebody),
    Fault("rows are loaded by id alone", SCOPE_ALONE, ("leads.show",), _own_forgets_the_client),
    Fault("403 for a stranger's, 404 for none", SCOPE_ALONE, ("api.leads_show",), _says_that_it_is_somebody_elses),
    Fault("other words for a stranger's than for none", SCOPE_ALONE, ("api.leads_show",), _says_it_in_the_words),
    Fault("the list of leads drops its filter", SCOPE_ALONE, ("leads.index",), _forgets_scope_of("leads")),
    Fault("the list of mailboxes drops its filter", SCOPE_ALONE, ("api.mailboxes_list_mailboxes",), _forgets_scope_of("senders")),
    Fault("the list of suppressions drops its filter", SCOPE_ALONE, ("suppressions.index",), _forgets_scope_of("suppressions")),
    Fault("messages are read by id alone", SCOPE_ALONE, ("deliveries.show",), _forgets_scope_of("deliveries")),
    Fault("many conversations change by id alone", SCOPE_ALONE, ("inbox_actions.many",), _forgets_scope_of("conversations")),
    Fault("an import of anybody is taken from a body", SCOPE_ALONE, ("campaigns.add_people", "api.campaigns_add_leads"), _any_import_will_do),
    Fault("a lead of anybody is taken from a body", SCOPE_ALONE, ("api.campaigns_add_leads",), _enrolls_by_id_alone),
    Fault("leads have no row-level security", ROWS_ALONE, ("leads.show",), _without_row_security("leads")),
    Fault("campaigns have no row-level security", ROWS_ALONE, ("campaigns.show",), _without_row_security("campaigns")),
    Fault("suppressions have no row-level security", ROWS_ALONE, ("suppressions.index",), _without_row_security("suppressions")),
    Fault("the database is told of everybody's clients", ROWS_ALONE, ("leads.index",), _scope_of_everybody),
)


def noticed(matrix: Matrix, fault: Fault) -> str:
    """The first sentence the matrix says about the fault; empty: it went unnoticed."""
    with pytest.MonkeyPatch.context() as patch:
        undo = fault.seed(patch, matrix)
        try:
            for case in cases(matrix.app):
                if case.name in fault.touches:
                    for caller in matrix.callers.values():
                        if case.realm in caller.realms and (said := next(matrix.look(case, caller), "")):
                            return said
            return ""
        finally:
            if undo is not None:
                undo()


@pytest.mark.parametrize("walls", [BOTH, ROWS_ALONE, SCOPE_ALONE])
def test_seeded_faults_are_noticed_and_without_one_nothing_is_said(app: Flask, database_url: str, walls: str) -> None:
    """At least 19 of 20 is asked for; today it is every one."""
    faults = [fault for fault in FAULTS if fault.walls == walls]
    with standing(app, database_url, walls) as matrix:
        nothing = Fault("nothing", walls, tuple(name for fault in faults for name in fault.touches), lambda _patch, _matrix: None)
        assert noticed(matrix, nothing) == ""
        missed = [fault.name for fault in faults if not noticed(matrix, fault)]
    assert not missed


def test_at_least_twenty_faults_are_seeded() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 20
