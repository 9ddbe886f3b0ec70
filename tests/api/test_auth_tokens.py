"""Tokens of the API: how long they live, what ends them, and what is not one."""

from __future__ import annotations

import base64
import hmac
import json
from datetime import timedelta

import jwt as pyjwt
import pytest
from flask import Flask
from flask_jwt_extended import create_access_token
from sqlalchemy import update

from app.blueprints import sessions
from app.core.clock import machine_now
from app.core.extensions import db
from app.models import LoginThrottle, User, UserSession
from tests.api.api_client import ApiClient
from tests.conftest import SECRET
from tests.factories import make_client, make_user, save
from tests.web.page_client import PageClient

PASSWORD = "a lantern by the river"


@pytest.fixture
def person(app: Flask) -> User:
    return make_user(make_client(), password=PASSWORD)


def logged_in(api: ApiClient, user: User) -> dict[str, str]:
    answer = api.post("/api/auth/login", {"email": user.email, "password": PASSWORD})
    assert answer.status == 200, answer.text
    return dict(answer.json)


def test_a_login_gives_tokens_that_open_me(app: Flask, person: User) -> None:
    api = ApiClient(app)
    tokens = logged_in(api, person)
    assert tokens["expires_in"] == 900 and tokens["user"]["email"] == person.email
    api.token = tokens["access_token"]
    me = api.get("/api/me").json
    assert (
        me["email"] == person.email
        and me["clients"][0]["role"] == "admin"
        and "inbox.read" in me["clients"][0]["permissions"]
    )


def test_a_refresh_token_works_once_and_its_second_use_ends_the_login(app: Flask, person: User) -> None:
    api = ApiClient(app)
    tokens = logged_in(api, person)
    fresh = api.post("/api/auth/refresh", {"refresh_token": tokens["refresh_token"]})
    assert fresh.status == 200
    assert api.post("/api/auth/refresh", {"refresh_token": tokens["refresh_token"]}).status == 401
    api.token = fresh.json["access_token"]
    assert api.get("/api/me").status == 401, "the family is revoked"
    assert api.post("/api/auth/refresh", {"refresh_token": fresh.json["refresh_token"]}).status == 401


def test_a_logout_ends_the_access_token_at_once(app: Flask, person: User) -> None:
    api = ApiClient(app).log_in(person)
    assert api.post("/api/auth/logout").status == 204
    assert api.get("/api/me").status == 401


def test_a_disabled_user_is_out_at_once(app: Flask, person: User) -> None:
    api = ApiClient(app).log_in(person)
    person.disabled_at = machine_now()
    save(person)
    assert api.get("/api/me").status == 401


def test_the_page_cookie_opens_nothing_below_api(app: Flask, person: User) -> None:
    page = PageClient(app).log_in(person)
    assert page.get("/profile").status == 200
    assert page.get("/api/me").status == 401


def test_a_bearer_token_opens_no_page(app: Flask, person: User) -> None:
    api = ApiClient(app).log_in(person)
    assert api.get("/profile").status == 302


@pytest.mark.parametrize(
    "attack",
    ["none", "other key", "flipped", "refresh as access", "page as access", "expired", "other audience", "no sid"],
)
def test_what_is_not_our_access_token_opens_nothing(app: Flask, person: User, attack: str) -> None:
    api = ApiClient(app)
    tokens = logged_in(api, person)
    good = tokens["access_token"]
    claims = pyjwt.decode(good, options={"verify_signature": False})
    key = api.app.config["JWT_SECRET_KEY"]
    with api.app.app_context():
        page_token = create_access_token(str(person.id), additional_claims={"sid": claims["sid"], "for": "page"})
    forged = {
        "none": pyjwt.encode(claims, None, algorithm="none"),
        "other key": pyjwt.encode(claims, "x" * 40, algorithm="HS256"),
        "flipped": good[:-3] + ("A" if good[-3] != "A" else "B") + good[-2:],
        "refresh as access": tokens["refresh_token"],
        "page as access": page_token,
        "expired": pyjwt.encode({**claims, "exp": claims["iat"] - 60}, key, algorithm="HS256"),
        "other audience": pyjwt.encode({**claims, "aud": "elsewhere"}, key, algorithm="HS256"),
        "no sid": pyjwt.encode(
            {name: value for name, value in claims.items() if name != "sid"}, key, algorithm="HS256"
        ),
    }
    api.token = forged[attack]
    assert api.get("/api/me").status == 401
    api.token = good
    assert api.get("/api/me").status == 200


def signed(header: object, claims: object, key: bytes, digest: str = "sha256") -> str:
    """A token with any header at all, signed with ``key``."""

    def part(raw: bytes) -> str:
        return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

    head = ".".join(part(raw if isinstance(raw, bytes) else json.dumps(raw).encode()) for raw in (header, claims))
    return f"{head}.{part(hmac.digest(key, head.encode(), digest))}"


PLAIN = {"alg": "HS256", "typ": "JWT"}
#: What JSON Web Tokens were attacked by, each signed with our own key where a header could make us look elsewhere for one.
HEADERS = {
    "none": {"alg": "none", "typ": "JWT"}, "None": {"alg": "None", "typ": "JWT"}, "no algorithm": {"typ": "JWT"}, "two": {"alg": ["HS256"], "typ": "JWT"},
    "RS256": {"alg": "RS256", "typ": "JWT"}, "HS384": {"alg": "HS384", "typ": "JWT"}, "ES256": {"alg": "ES256", "typ": "JWT"},
    "kid to a file": {**PLAIN, "kid": "../../../../dev/null"}, "kid as SQL": {**PLAIN, "kid": "x' UNION SELECT 'key' --"}, "kid as address": {**PLAIN, "kid": "http://evil.test/k"},
    "jku": {**PLAIN, "jku": "https://evil.test/jwks.json"}, "x5u": {**PLAIN, "x5u": "https://evil.test/x.pem"},
    "jwk": {**PLAIN, "jwk": {"kty": "oct", "k": "AAAA"}}, "x5c": {**PLAIN, "x5c": ["AAAA"]}, "crit": {**PLAIN, "crit": ["exp"]}, "b64": {**PLAIN, "b64": False},
    "other typ": {"alg": "HS256", "typ": "at+jwt"}, "typ JWE": {"alg": "HS256", "typ": "JWE"}, "no typ": {"alg": "HS256"}, "zip": {**PLAIN, "zip": "DEF"},
    "no object": ["HS256"], "deep": b"[" * 3_000, "no JSON": b"\xff\xfe",
}  # fmt: skip


def test_no_header_but_our_own_is_ever_read(app: Flask, person: User) -> None:
    api = ApiClient(app)
    claims = pyjwt.decode(logged_in(api, person)["access_token"], options={"verify_signature": False})
    key = api.app.config["JWT_SECRET_KEY"].encode()
    api.token = signed(PLAIN, claims, key)
    assert api.get("/api/me").status == 200, "the tool makes good tokens"
    for name, header in HEADERS.items():
        api.token = signed(header, claims, key)
        assert api.get("/api/me").status == 401, name
    for name, other in {"empty key": b"", "public": b"emberpost", "the secret itself": SECRET.encode()}.items():
        api.token = signed(PLAIN, claims, other)
        assert api.get("/api/me").status == 401, name


def test_no_claim_may_be_missing_or_another(app: Flask, person: User) -> None:
    api = ApiClient(app)
    claims = pyjwt.decode(logged_in(api, person)["access_token"], options={"verify_signature": False})
    key = api.app.config["JWT_SECRET_KEY"].encode()
    for name in claims.keys() - {"fresh", "nbf", "csrf"}:
        api.token = signed(PLAIN, {other: value for other, value in claims.items() if other != name}, key)
        assert api.get("/api/me").status == 401, f"without {name}"
    now = claims["iat"]
    changes = [
        {"iss": "another"}, {"aud": ["elsewhere"]}, {"type": "refresh"}, {"for": "page"}, {"exp": now - 6}, {"exp": "never"}, {"exp": None},
        {"nbf": now + 3_600}, {"iat": now + 3_600}, {"sub": "0"}, {"sub": None}, {"sid": "' OR 1=1 --"}, {"sid": None}, {"sid": ["x"]}, {"jti": None},
    ]  # fmt: skip
    for change in changes:
        api.token = signed(PLAIN, {**claims, **change}, key)
        assert api.get("/api/me").status == 401, change


def test_a_token_is_over_with_its_time_and_five_seconds_for_clocks_that_differ(app: Flask, person: User) -> None:
    api = ApiClient(app)
    claims = pyjwt.decode(logged_in(api, person)["access_token"], options={"verify_signature": False})
    key, now = api.app.config["JWT_SECRET_KEY"].encode(), int(machine_now().timestamp())
    for past, status in ((0, 200), (-600, 200), (60, 401), (10, 401)):
        api.token = signed(PLAIN, {**claims, "exp": now - past}, key)
        assert api.get("/api/me").status == status, past


def test_ten_thousand_changed_bits_and_spellings_are_no_token(app: Flask, person: User) -> None:
    """At the function that all doors use: a request for each would take minutes."""
    api = ApiClient(app)
    good = logged_in(api, person)["access_token"]
    bits = len(good) * 8
    chosen = [number * 7919 % bits for number in range(10_000)]
    spellings = [
        good + "=", good + ".", "." + good, good + ".x", good.replace(".", "..", 1), good.rsplit(".", 1)[0] + ".",
        good[:-1], good + "A", " " + good, good + "\n",
    ]  # fmt: skip
    changed = [_flipped(good, bit) for bit in sorted(set(chosen))] + spellings
    assert len(changed) > 3_000
    with api.app.app_context():
        assert sessions._claims(good, "api", "access")
        assert [token for token in changed if sessions._claims(token, "api", "access")] == []


def _flipped(token: str, bit: int) -> str:
    raw = bytearray(token.encode())
    raw[bit // 8] ^= 1 << bit % 8
    return raw.decode("latin-1")


def test_a_token_of_one_user_with_the_session_of_another_opens_nothing(app: Flask, person: User) -> None:
    api = ApiClient(app)
    claims = pyjwt.decode(logged_in(api, person)["access_token"], options={"verify_signature": False})
    other = make_user(make_client())
    api.token = pyjwt.encode({**claims, "sub": str(other.id)}, api.app.config["JWT_SECRET_KEY"], algorithm="HS256")
    assert api.get("/api/me").status == 401


def test_an_api_session_ends_after_thirty_days(app: Flask, person: User) -> None:
    api = ApiClient(app).log_in(person)
    sessions_are(expires_at=machine_now() - timedelta(seconds=1))
    assert api.get("/api/me").status == 401


def test_wrong_password_and_unknown_address_are_refused_with_the_same_words(app: Flask, person: User) -> None:
    api = ApiClient(app)
    wrong = api.post("/api/auth/login", {"email": person.email, "password": "not this one at all"})
    unknown = api.post("/api/auth/login", {"email": "nobody@house.test", "password": "not this one at all"})
    assert (wrong.status, wrong.json) == (unknown.status, unknown.json) == (401, wrong.json)


def test_guessing_waits_longer_and_longer_and_the_right_password_waits_too(app: Flask, person: User) -> None:
    api = ApiClient(app)
    for _ in range(5):
        assert api.post("/api/auth/login", {"email": person.email, "password": "guess guess guess"}).status == 401
    waiting = api.post("/api/auth/login", {"email": person.email.upper(), "password": PASSWORD})
    assert waiting.status == 429 and waiting.headers["Retry-After"] and waiting.code == "too_many_requests"
    as_owner(update(LoginThrottle).values(blocked_until=machine_now()))
    assert api.post("/api/auth/login", {"email": person.email, "password": PASSWORD}).status == 200


def test_tokens_say_nothing_secret(app: Flask, person: User) -> None:
    middle = logged_in(ApiClient(app), person)["access_token"].split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(middle + "=="))
    assert person.email not in json.dumps(claims) and "argon2" not in json.dumps(claims)


def sessions_are(**values: object) -> None:
    as_owner(update(UserSession).values(**values))


def as_owner(statement: object) -> None:
    from sqlalchemy import text

    db.session.execute(text("SET LOCAL ROLE emberpost_owner"))
    db.session.execute(statement)  # type: ignore[call-overload]
    db.session.commit()
