"""Guessing at logins: it waits, tells nothing about who exists, keeps nobody out, and one code proves one person once."""

from __future__ import annotations

import importlib.util
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from argon2 import PasswordHasher
from flask import Flask
from sqlalchemy import update
from zxcvbn.frequency_lists import FREQUENCY_LISTS

from app.core.clock import machine_now
from app.core.db import transaction
from app.core.errors import ProductError, TooMany, Unauthenticated
from app.core.extensions import db
from app.models import LoginThrottle, User
from app.services import auth, passwords, second_factor
from tests.api.test_auth_tokens import as_owner
from tests.factories import make_client, make_user
from tests.second_factors import PASSWORD, code, next_step, with_app
from tests.web.page_client import as_web, web_app

HOME, STRANGER = auth.Caller("10.1.2.3", "home"), auth.Caller("203.0.113.9", "far")


def tried(app: Flask, email: str, password: str, caller: auth.Caller = HOME) -> str:
    """The outcome of one try: ``in``, or the code of the refusal; its count is kept as the edge keeps it."""
    product = web_app(app)

    def attempt() -> str:
        with product.app_context(), transaction():
            try:
                user = auth.log_in(email, password, caller)
            except ProductError as refusal:
                return refusal.code
            auth.open_session(user, "page", caller)
            return "in"

    return str(as_web(attempt))


def test_a_network_that_tries_account_after_account_waits_and_others_do_not(app: Flask) -> None:
    make_user(make_client(), password=PASSWORD, email="ada@house.test")
    for number in range(4):
        assert tried(app, f"user{number}@house.test", "guess guess guess", STRANGER) == "wrong_login"
    as_owner(update(LoginThrottle).where(LoginThrottle.key == "network:203.0.113.0/24").values(failures=50))
    assert tried(app, "another@house.test", "guess guess guess", STRANGER) == "wrong_login"
    neighbour = auth.Caller("203.0.113.200", "same prefix")
    assert tried(app, "ada@house.test", PASSWORD, neighbour) == "too_many_requests"
    assert tried(app, "ada@house.test", PASSWORD) == "in"
    as_owner(update(LoginThrottle).values(blocked_until=machine_now()))
    assert tried(app, "ada@house.test", PASSWORD, neighbour) == "in", "nothing is locked for good"


def guessed_long(app: Flask, caller: auth.Caller) -> None:
    """Ten wrong guesses at ada, and an eleventh: half a minute and more to wait."""
    assert tried(app, "ada@house.test", "guess guess guess", caller) == "wrong_login"
    as_owner(update(LoginThrottle).where(LoginThrottle.failures == 1).values(failures=10))
    assert tried(app, "ada@house.test", "guess guess guess", caller) == "wrong_login"


def test_a_stranger_who_guesses_all_day_does_not_keep_out_who_logged_in_from_home_before(app: Flask) -> None:
    make_user(make_client(), password=PASSWORD, email="ada@house.test")
    assert tried(app, "ada@house.test", PASSWORD, HOME) == "in"
    guessed_long(app, STRANGER)
    assert tried(app, "ada@house.test", PASSWORD, STRANGER) == "too_many_requests"
    assert tried(app, "ada@house.test", PASSWORD, auth.Caller("10.1.2.77", "home")) == "in"
    guessed_long(app, HOME)
    assert tried(app, "ada@house.test", PASSWORD, HOME) == "too_many_requests", "home may not guess either"


def test_every_refused_login_costs_one_verification_of_the_same_kind(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    client = make_client()
    make_user(client, email="real@house.test", password_hash=passwords.hash_password(PASSWORD))
    make_user(client, email="off@house.test", password_hash=passwords.hash_password(PASSWORD), disabled_at=machine_now())
    make_user(client, email="invited@house.test")
    tried(app, "warm@house.test", "guess guess guess")
    asked: list[str] = []

    class Counting:
        def __init__(self, real: Any) -> None:
            self.real = real

        def verify(self, stored: str, password: str) -> bool:
            asked.append("$".join(stored.split("$")[:4]))
            return bool(self.real.verify(stored, password))

        def __getattr__(self, name: str) -> Any:
            return getattr(self.real, name)

    monkeypatch.setattr(passwords, "_hasher", Counting(passwords._hasher))
    for email in ("real@house.test", "nobody@house.test", "off@house.test", "invited@house.test"):
        assert tried(app, email, "guess guess guess") == "wrong_login"
    assert tried(app, "off@house.test", PASSWORD) == "wrong_login"
    assert len(asked) == 5 and len(set(asked)) == 1, asked


@pytest.mark.slow
def test_a_refused_login_takes_the_same_time_for_an_address_that_nobody_has(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Medians of interleaved tries at full strength; without the verification for nobody they would differ tenfold."""
    monkeypatch.setattr(passwords, "_hasher", passwords.at_full_strength())
    monkeypatch.setattr(passwords, "_nobody", [])
    client, spent = make_client(), {"somebody": [0.0], "nobody": [0.0]}
    hashed = passwords.hash_password(PASSWORD)
    for number in range(7):
        make_user(client, email=f"somebody{number}@house.test", password_hash=hashed)
    tried(app, "warm@house.test", "guess guess guess")
    for number in range(7):
        for kind in ("somebody", "nobody") if number % 2 else ("nobody", "somebody"):
            begun = time.perf_counter()
            assert tried(app, f"{kind}{number}@house.test", "guess guess guess") == "wrong_login"
            spent[kind].append(time.perf_counter() - begun)
    one, other = (statistics.median(spent[kind][1:]) for kind in ("somebody", "nobody"))
    assert 0.5 < one / other < 2, spent


def test_the_product_hashes_with_argon2id_64_mib_and_three_passes_and_hashes_anew_what_is_weaker(app: Flask) -> None:
    found = importlib.util.find_spec("app.services.passwords")
    assert found is not None and found.loader is not None
    untouched = importlib.util.module_from_spec(found)  # the suite's own is quick
    found.loader.exec_module(untouched)
    assert untouched.hash_password(PASSWORD).startswith("$argon2id$v=19$m=65536,t=3,p=1$")
    user = make_user(make_client(), password_hash=PasswordHasher(time_cost=1, memory_cost=4_096, parallelism=1).hash(PASSWORD))
    assert untouched.outdated(user.password_hash)
    user_id = user.id
    assert tried(app, user.email, PASSWORD) == "in"
    db.session.rollback()
    db.session.expire_all()
    assert "m=8192" in str(db.session.get_one(User, user_id).password_hash)


def together(app: Flask, count: int, action: Callable[[], str]) -> list[str]:
    """The outcomes of the same action begun by many at once, each in a transaction of its own."""
    product, gate = web_app(app), Barrier(count)

    def one() -> str:
        with product.app_context():
            gate.wait(30)
            with transaction():
                try:
                    return action()
                except (Unauthenticated, TooMany) as refusal:
                    return refusal.code

    def all_of_them() -> list[str]:
        with ThreadPoolExecutor(count) as threads:
            return [found.result() for found in [threads.submit(one) for _ in range(count)]]

    found: list[str] = as_web(all_of_them)
    return found


@pytest.mark.parametrize("kind", ["app", "recovery"])
def test_of_many_who_use_one_code_at_once_exactly_one_gets_in(app: Flask, kind: str) -> None:
    user = make_user(make_client(), password=PASSWORD)
    known = with_app(app, user)
    user_id, typed = user.id, code(user) if kind == "app" else known[0]
    outcomes = together(app, 6, lambda: second_factor.prove(db.session.get_one(User, user_id), typed, HOME))
    assert sorted(outcomes) == sorted([kind] + ["wrong_second_factor"] * 5)
    if kind == "app":
        next_step()  # an hour later the same six digits are another step's, and fit nothing now
        assert together(app, 1, lambda: second_factor.prove(db.session.get_one(User, user_id), "000000", HOME)) == ["wrong_second_factor"]


@pytest.mark.parametrize(
    "password",
    [
        "password1234", "P@ssw0rd1234!", "qwertyuiop12", "1q2w3e4r5t6y", "123qweasdzxc", "iloveyouforever", "manchesterunited", "liverpool1892",
        "abcdefghijkl", "112233445566", "aaaaaaaaaaaaaaaa", "Emberpost2026!", "justinbieber", "qazwsxedcrfv", "letmein-letmein", "grace.hopper1",
        "hopper@navy.test", "Summer2026!!!!"[:12],
    ],
)  # fmt: skip
def test_what_guessers_try_first_is_no_password(password: str) -> None:
    with pytest.raises(ProductError) as refused:
        passwords.check_password(password, "Grace Hopper", "hopper@navy.test")
    assert "too easy to guess" in refused.value.details["password"][0]


@pytest.mark.slow
def test_every_leaked_password_of_the_shipped_list_is_refused() -> None:
    leaked = [word for word in FREQUENCY_LISTS["passwords"] if len(word) >= passwords.SHORTEST]
    assert len(FREQUENCY_LISTS["passwords"]) == 30_000 and len(leaked) > 200
    for password in [*leaked, *(word.title() for word in leaked), *(word + "1!" for word in leaked)]:
        with pytest.raises(ProductError):
            passwords.check_password(password)


def test_long_sentences_and_random_ones_are_and_a_long_one_is_judged_quickly() -> None:
    for good in ("four quiet herons wade", "a lantern by the river", "kX9#vLq2!mZw", "grey-otters-count-seven-stones" * 8, "🔥 ночь улица фонарь"):
        passwords.check_password(good, "Grace Hopper", "hopper@navy.test")
    begun = time.perf_counter()
    passwords._easily_found("@4$5!1|0" * 32, ("Grace Hopper",))
    assert time.perf_counter() - begun < 20
