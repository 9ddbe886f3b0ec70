"""Between the first proof (password, link) and the session: the second factor, where somebody has one."""

from __future__ import annotations

from flask import Blueprint, Response, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.utils import redirect

from app.blueprints import sessions
from app.blueprints.access import keep_changes, public
from app.blueprints.auth_paths import safe_next
from app.blueprints.htmx import after_post, page_or_fragment
from app.core.errors import TooMany, Unauthenticated
from app.models import User
from app.services import audit, login_attempts, second_factor

blueprint = Blueprint("admission", __name__)


def admit(user: User, target: str) -> Response:
    """Log ``user`` in and go to ``target``, or ask for their code first."""
    if second_factor.of(user.id) is None:
        audit.record("user.login", "user", user.id, user_id=user.id)
        return sessions.start_page_session(after_post(target), user)
    answer = after_post(url_for("admission.ask", next=target if target != "/" else None))
    sessions.set_cookie(answer, "attempt", login_attempts.begin(user), int(login_attempts.LIFE.total_seconds()))
    return answer


def _token() -> str:
    return request.cookies.get(sessions.cookie_name("attempt"), "")[:200]


@blueprint.get("/login/code")
@public
def ask() -> ResponseReturnValue:
    target = request.args.get("next")
    if not login_attempts.alive(_token()):
        return redirect(url_for("auth.log_in", next=target))
    return page_or_fragment("auth/code.html", message=None)


@blueprint.post("/login/code")
@public
def answer() -> ResponseReturnValue:
    try:
        user, how = login_attempts.finish(_token(), request.form.get("otp", ""), sessions.caller())
    except login_attempts.AttemptOver as over:
        keep_changes()
        return sessions.drop_cookie(page_or_fragment("auth/login.html", status=over.status, values={}, message=over.message), "attempt")
    except (Unauthenticated, TooMany) as refusal:
        keep_changes()
        page = page_or_fragment("auth/code.html", status=refusal.status, message=refusal.message)
        if isinstance(refusal, TooMany):
            page.headers["Retry-After"] = str(refusal.retry_after_s)
        return page
    audit.record("user.login", "user", user.id, user_id=user.id, after={"second_factor": how})
    return sessions.drop_cookie(sessions.start_page_session(after_post(safe_next(request.args.get("next"))), user), "attempt")
