"""The two kinds of token: a page's HttpOnly cookie and an API's Bearer, both naming a session that the ledger can end.

The cookie's token lives as long as the session may (7 days) and is never rotated, so parallel fragments cannot lose it; being idle
for 8 hours ends the session in the ledger. A cookie is never read below /api and a Bearer never on a page.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
from typing import Any
from urllib.parse import urlsplit

from flask import Flask, Response, current_app, g, request
from flask_jwt_extended import create_access_token, create_refresh_token, decode_token
from flask_jwt_extended.exceptions import JWTExtendedException
from jwt import PyJWTError

from app.core.config import Settings
from app.core.errors import Forbidden, Unauthenticated
from app.core.extensions import jwt
from app.domain.permissions import Permission  # noqa: F401  re-exported for views
from app.models import User
from app.services import access, api_keys, audit, auth
from app.services.auth import Caller
from app.strings import t

ACCESS_SECONDS = 15 * 60
#: The whole header of every token, and what its body must say.
HEADER = {"alg": "HS256", "typ": "JWT"}
REQUIRED_CLAIMS = {"iss", "aud", "exp", "iat", "jti", "sub", "type"}
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
CSRF_TEXT = t("errors.csrf")


def bind(app: Flask, settings: Settings) -> None:
    """Configure the tokens: one algorithm, our issuer and audience, a key of their own."""
    key = hmac.new(settings.secret_key.encode(), b"emberpost tokens", hashlib.sha256).hexdigest()
    app.config.update(
        JWT_SECRET_KEY=key,
        JWT_ALGORITHM="HS256",
        JWT_DECODE_ALGORITHMS=["HS256"],
        JWT_ENCODE_ISSUER=f"emberpost-{settings.instance_id}",
        JWT_DECODE_ISSUER=f"emberpost-{settings.instance_id}",
        JWT_ENCODE_AUDIENCE="emberpost",
        JWT_DECODE_AUDIENCE="emberpost",
        JWT_DECODE_LEEWAY=5,
        JWT_ACCESS_TOKEN_EXPIRES=ACCESS_SECONDS,
        JWT_REFRESH_TOKEN_EXPIRES=auth.API_LIFE,
    )
    jwt.init_app(app)


def settings() -> Settings:
    found: Settings = current_app.extensions["settings"]
    return found


def cookie_name(kind: str = "session") -> str:
    """Two instances on one host keep apart; behind https the browser itself guards host and path."""
    name = f"emberpost-{settings().instance_id}-{kind}"
    return f"__Host-{name}" if settings().behind_https else name


def set_cookie(answer: Response, kind: str, value: str, max_age: int | None = None, *, http_only: bool = True) -> None:
    answer.set_cookie(
        cookie_name(kind),
        value,
        max_age=max_age,
        path="/",
        secure=settings().behind_https,
        httponly=http_only,
        samesite="Lax",
    )


def drop_cookie(answer: Response, kind: str) -> Response:
    """End a cookie. With the marks it was set with: a browser heeds nothing about a ``__Host-`` cookie without Secure."""
    answer.delete_cookie(cookie_name(kind), path="/", secure=settings().behind_https, httponly=True, samesite="Lax")
    return answer


def caller() -> Caller:
    return Caller(address=request.remote_addr or "", agent=request.user_agent.string)


# Pages


def start_page_session(answer: Response, user: User) -> Response:
    """Log ``user`` in on this browser: always a new session, and an older one of this cookie is ended."""
    old = _page_claims()
    if old and (found := auth.session_user(old["sid"], "page")):
        auth.end_session(found[1].id, found[0].id)
    _row, secret = auth.open_session(user, "page", caller())
    token = create_access_token(
        str(user.id), additional_claims={"sid": secret, "for": "page"}, expires_delta=auth.PAGE_LIFE
    )
    set_cookie(answer, "session", token, int(auth.PAGE_LIFE.total_seconds()))
    return drop_cookie(answer, "guest")


def forget_page_session(answer: Response) -> Response:
    """The browser forgets as well: drafts of answers, and pictures and files of mails that it may keep for minutes."""
    answer.headers["Clear-Site-Data"] = '"cache", "storage"'
    return drop_cookie(answer, "session")


def _page_claims() -> dict[str, Any] | None:
    return _claims(request.cookies.get(cookie_name(), ""), "page", "access")


def _claims(token: str, purpose: str, kind: str) -> dict[str, Any] | None:
    """The token's claims if it is ours, unexpired, and made for ``purpose``; None for anything else."""
    if not token or len(token) > 4096 or not _plainly_ours(token):
        return None
    try:
        claims: dict[str, Any] = decode_token(token)
    except (PyJWTError, JWTExtendedException, ValueError, TypeError, KeyError, UnicodeError):
        return None
    good = claims.get("for") == purpose and claims.get("type") == kind and isinstance(claims.get("sid"), str)
    return claims if good else None


def _plainly_ours(token: str) -> bool:
    """Written exactly as we write tokens: three canonical parts, a header that names nothing but our algorithm, every claim.

    So there is no key to be looked up (kid, jku, x5u, jwk), nothing to be negotiated, and no second spelling of one token.
    """
    parts = token.split(".")
    if len(parts) != 3 or not all(re.fullmatch(r"[A-Za-z0-9_-]+", part) for part in parts):
        return False
    try:
        raw = [base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in parts]
        header, body = json.loads(raw[0]), json.loads(raw[1])
    except (ValueError, RecursionError):
        return False
    canonical = all(base64.urlsafe_b64encode(one).rstrip(b"=").decode() == part for one, part in zip(raw, parts, strict=True))
    said = {name for name, value in body.items() if value is not None} if isinstance(body, dict) else set()
    return canonical and header == HEADER and said >= REQUIRED_CLAIMS


def viewer_of_cookie() -> access.Viewer | None:
    audit.caller_address.set(request.remote_addr or "")
    claims = _page_claims()
    found = auth.session_user(claims["sid"], "page") if claims else None
    if claims is None or found is None or str(found[1].id) != claims["sub"]:
        return None
    g.csrf = claims["csrf"]
    return access.viewer_of(found[1], found[0].id)


# Forgery: a token in every form or header, and the browser's own word on where a request comes from


def csrf_token() -> str:
    """The token of this session; for somebody not logged in one bound to a cookie of its own (set by ``guest_cookie``)."""
    if g.get("csrf"):
        return str(g.csrf)
    if "guest" not in g:
        g.guest = request.cookies.get(cookie_name("guest")) or secrets.token_urlsafe(24)
    return hmac.new(settings().secret_key.encode(), b"guest form" + g.guest.encode(), hashlib.sha256).hexdigest()


def guest_cookie(answer: Response) -> Response:
    """After the request: whoever was given a guest's form also gets its cookie."""
    guest = g.pop("guest", None)
    if guest and request.cookies.get(cookie_name("guest")) != guest:
        set_cookie(answer, "guest", guest)
    return answer


def check_same_origin() -> None:
    """Raises Forbidden for a changing request that another site made."""
    if request.method in SAFE_METHODS:
        return
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None and site not in {"same-origin", "none"}:
        raise Forbidden(CSRF_TEXT, code="csrf")
    origin = request.headers.get("Origin")
    if origin is not None and urlsplit(origin).netloc != request.host:
        raise Forbidden(CSRF_TEXT, code="csrf")


def check_csrf() -> None:
    """Raises Forbidden for a changing request without the token of this session."""
    if request.method in SAFE_METHODS:
        return
    given = request.headers.get("X-CSRF-Token") or request.form.get("csrf_token", "")
    if not hmac.compare_digest(given.encode("utf-8", "replace"), csrf_token().encode()):
        raise Forbidden(CSRF_TEXT, code="csrf")


# API


def start_api_session(user: User) -> dict[str, Any]:
    """A new API login: ``{access_token, refresh_token, expires_in}``."""
    row, secret = auth.open_session(user, "api", caller())
    return _pair(user, secret, auth.set_refresh(row))


def refresh_api_session(token: str) -> tuple[dict[str, Any], User]:
    """The next pair for a refresh token. Raises Unauthenticated."""
    claims = _claims(token, "api", "refresh")
    if claims is None:
        raise Unauthenticated(t("api.refresh_not_valid"), code="session_over")
    _row, user, fresh = auth.rotate_refresh(claims["sid"], str(claims.get("rid", "")))
    return _pair(user, claims["sid"], fresh), user


def _pair(user: User, secret: str, refresh_id: str) -> dict[str, Any]:
    access_token = create_access_token(str(user.id), additional_claims={"sid": secret, "for": "api"})
    refresh_token = create_refresh_token(
        str(user.id), additional_claims={"sid": secret, "for": "api", "rid": refresh_id}
    )
    return {"access_token": access_token, "refresh_token": refresh_token, "expires_in": ACCESS_SECONDS}


def viewer_of_bearer(*, required: bool) -> access.Viewer | None:
    """Whoever the Authorization header names. Raises Unauthenticated when ``required`` and nobody."""
    audit.caller_address.set(request.remote_addr or "")
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() == "bearer" and (by_key := api_keys.viewer_of_key(token.strip())) is not None:
        return by_key
    claims = _claims(token.strip(), "api", "access") if kind.lower() == "bearer" else None
    found = auth.session_user(claims["sid"], "api") if claims else None
    if claims is not None and found is not None and str(found[1].id) == claims["sub"]:
        return access.viewer_of(found[1], found[0].id)
    if required:
        raise Unauthenticated(t("api.need_token"))
    return None
