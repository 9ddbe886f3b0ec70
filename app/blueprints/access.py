"""Who may call a route: declared beside it, checked before it, inside the request's one transaction.

Every view says exactly one of::

    @blueprint.get("/")                       # Blueprint("leads", __name__, url_prefix="/c/<slug>/leads")
    @requires(Permission.LEADS_READ)          # a role in the client of the path; g.client, g.viewer and g.role are set
    def index() -> ResponseReturnValue: ...   # <slug> is taken out of the arguments and put back by url_for()

    @signed_in      anybody who is logged in (``@requires`` on a path without <slug>: operators' permissions)
    @public         everybody; a cookie is still read, so that g.viewer is set when there is one
    @unguarded      no transaction and no session at all (static files, streams): the view opens its own

``create_app`` refuses to start with a route that says none of them. The transaction is opened before the view, committed after it
(before the response is sent), rolled back on any exception and on any answer of 400 or more, unless the view called
``keep_changes()``. Views never commit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar

from flask import Flask, Response, g, make_response, request

from app.core.db import NOBODY, rollback, transaction
from app.core.errors import NotFound, ProductError, Unauthenticated
from app.domain.permissions import OPERATOR_PERMISSIONS, Permission
from app.services.access import Row, Viewer, enter_client, own
from app.strings import t

View = TypeVar("View", bound=Callable[..., Any])


@dataclass(frozen=True)
class Access:
    """What a route declares. ``kind``: client, signed_in, public, unguarded; ``realm``: page (cookie) or api (Bearer)."""

    kind: str
    permission: Permission | None = None
    realm: str = "page"


def declare(access: Access) -> Callable[[View], View]:
    def mark(view: View) -> View:
        view.access = access  # type: ignore[attr-defined]
        return view

    return mark


def requires(permission: Permission) -> Callable[[View], View]:
    """The permission in the client of the path, or an operator's permission on a path without a client."""
    return declare(Access("client", permission))


def signed_in(view: View) -> View:
    return declare(Access("signed_in"))(view)


def public(view: View) -> View:
    return declare(Access("public"))(view)


def unguarded(view: View) -> View:
    return declare(Access("unguarded"))(view)


def keep_changes() -> None:
    """Commit although the answer will be 400 or more (a failed login counts its failure)."""
    g.keep_changes = True


def viewer() -> Viewer:
    """The signed-in person. Raises Unauthenticated without one."""
    found: Viewer | None = g.get("viewer")
    if found is None:
        raise Unauthenticated(t("auth.log_in_first"))
    return found


def load(model: type[Row], row_id: int) -> Row:
    """A row of the client of this page, or NotFound (the same for missing and for strangers')."""
    return own(model, row_id, g.client.id)


def seal(app: Flask) -> None:
    """Wrap every view with its declared guard. Raises RuntimeError naming the routes that declare nothing."""
    declared: dict[str, Any] = {name: getattr(view, "access", None) for name, view in app.view_functions.items()}
    missing = sorted(name for name, access in declared.items() if access is None)
    if missing:
        raise RuntimeError(
            f"routes without a declared permission: {', '.join(missing)}. "
            "Write @requires(…), @signed_in, @public or @unguarded under the route (app/blueprints/access.py)."
        )
    for name, view in app.view_functions.items():
        if not getattr(view, "sealed", False):
            app.view_functions[name] = _guarded(view, declared[name])


def forget_request() -> None:
    """Nothing of an earlier request on the same context may be seen by this one."""
    for name in ("viewer", "client", "role", "keep_changes", "csrf", "in_error"):
        g.pop(name, None)
    g.viewer = g.client = g.role = None


def _guarded(view: Callable[..., Any], access: Access) -> Callable[..., Any]:
    @wraps(view)
    def guarded(**values: Any) -> Any:
        forget_request()
        if access.kind == "unguarded":
            return view(**values)
        with transaction(NOBODY):
            _admit(access)
            answer = _answer(view, values)
            if answer.status_code >= 400 and not g.get("keep_changes"):
                rollback()
        return answer

    guarded.sealed = True  # type: ignore[attr-defined]
    guarded.access = access  # type: ignore[attr-defined]
    return guarded


def _answer(view: Callable[..., Any], values: dict[str, Any]) -> Response:
    """A refusal whose changes are kept becomes an answer here, inside the transaction."""
    try:
        return make_response(view(**values))
    except ProductError as refusal:
        if not g.get("keep_changes"):
            raise
        from app.blueprints import errors

        return errors.refused(refusal)


def _admit(access: Access) -> None:
    from app.blueprints import sessions

    if access.realm == "api":
        g.viewer = sessions.viewer_of_bearer(required=access.kind != "public")
    else:
        g.viewer = sessions.viewer_of_cookie()
        sessions.check_same_origin()
        if access.kind != "public" and g.viewer is None:
            raise Unauthenticated(t("auth.log_in_first"))
        sessions.check_csrf()
    slug = g.get("slug")
    if access.kind == "client" and access.realm == "page":
        _enter(access, slug)


def _enter(access: Access, slug: str | None) -> None:
    found = viewer()
    if slug is None:
        if access.permission not in OPERATOR_PERMISSIONS:
            raise RuntimeError(f"{request.endpoint}: {access.permission} needs a client in the path")
        if not found.is_operator:
            raise NotFound
        return
    seat = found.seat(slug=slug)
    if seat is None:
        raise NotFound
    enter_client(found, seat, access.permission)
    g.client, g.role = seat, seat.role
