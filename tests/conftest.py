"""Real servers for every test: one PostgreSQL and one Redis, a migrated template, a clone of it per worker, emptied between tests.

``app`` is the product bound to this worker's database, emptied before each test. ``database_url`` / ``redis_url`` are the same
for tests that run processes of their own. Factories stand in tests/factories.py.
"""

from __future__ import annotations

import gc
import hashlib
import os
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import psycopg
import pytest
from flask import Flask

from launch import again
from launch.test import LANES, files_with
from tests.clean_database import CleanDatabase
from tests.kept_connections import keep, let_go

ROOT = Path(__file__).resolve().parent.parent
SECRET = "0123456789abcdef0123456789abcdef01234567"
KEYS = "k1:MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """A whole run asks a handful of failures once more (launch/again.py)."""
    again.note(report)


def pytest_sessionfinish() -> None:
    let_go()


@cache
def _files_with(mark: str) -> set[Path]:
    return set(files_with(mark, ROOT / "tests"))


def pytest_itemcollected(item: pytest.Item) -> None:
    """A lane of the whole run reads only the files that name its mark: a test that has it from anywhere else would never be run."""
    for mark in LANES & {mark.name for mark in item.iter_markers()}:
        if item.path.is_relative_to(ROOT) and item.path not in _files_with(mark):
            raise pytest.UsageError(f"{item.nodeid} has the mark {mark}, but its file does not say mark.{mark}: write it there")


def pytest_collection_finish() -> None:
    """A million objects of libraries and tests stay until the end: they are not looked through again for litter with every few requests."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long begins early, dealt to the workers like cards, each beginning at another place: a long test that begins last
    is waited for by all, and what computes runs better beside what waits.

    Each worker is first given an equal stretch of the list, and takes from the others' ends when it has none left.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if workers == 1:
        return
    long = [item for item in items if any(item.get_closest_marker(mark) for mark in ("slow", "thorough"))]
    known = set(long)
    short = [item for item in items if item not in known]
    stretch = -(-len(items) // workers)
    dealt: list[pytest.Item] = []
    for worker in range(workers):
        mine = long[worker::workers]
        first = len(mine) * worker // workers
        room = max(0, stretch - len(mine))
        dealt += [*mine[first:], *mine[:first], *short[:room]]
        short = short[room:]
    items[:] = dealt + short


@pytest.fixture(scope="session")
def servers() -> Iterator[tuple[str, str]]:
    """(PostgreSQL url of the maintenance database, Redis url): given by bin/test, else started here without fsync."""
    database, redis = os.environ.get("TEST_DATABASE_URL"), os.environ.get("TEST_REDIS_URL")
    if database and redis:
        yield database, redis
        return
    from launch.servers import running_pair

    with tempfile.TemporaryDirectory(prefix="emberpost-test-") as folder, running_pair(folder, sync=False) as pair:
        yield pair.database_url, pair.redis_url


def _named(url: str, name: str) -> str:
    return url.rsplit("/", 1)[0] + "/" + name


def _migrations_digest() -> str:
    digest = hashlib.sha256()
    for path in sorted((ROOT / "migrations").rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _make_template(admin: psycopg.Connection[tuple[object, ...]], url: str, name: str, redis_url: str) -> None:
    """Migrate ``name`` once per version of the migrations; other workers wait on the advisory lock."""
    admin.execute("SELECT pg_advisory_lock(4711)")
    try:
        if admin.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone():
            return
        making = name + "_making"
        admin.execute(f'DROP DATABASE IF EXISTS "{making}"')
        admin.execute(f'CREATE DATABASE "{making}"')
        from flask_migrate import upgrade

        from app import create_app

        with create_app(settings_for(_named(url, making), redis_url)).app_context():
            upgrade(directory=str(ROOT / "migrations"))
        admin.execute(f'ALTER DATABASE "{making}" RENAME TO "{name}"')
    finally:
        admin.execute("SELECT pg_advisory_unlock(4711)")


def settings_for(database_url: str, redis_url: str, **changes: object):  # type: ignore[no-untyped-def]
    """Settings as the tests use them; ``changes`` override any field."""
    from app.core.config import Settings

    values: dict[str, object] = {
        "database_url": database_url,
        "redis_url": redis_url,
        "secret_key": SECRET,
        "encryption_keys": KEYS,
        "instance_id": "test" + os.environ.get("TEST_LANE", "") + os.environ.get("PYTEST_XDIST_WORKER", ""),
        "allow_targets": "127.0.0.0/8",
    }
    return Settings(**{**values, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def template(servers: tuple[str, str]) -> str:
    name = "emberpost_template_" + _migrations_digest()
    with psycopg.connect(servers[0], autocommit=True) as admin:
        _make_template(admin, servers[0], name, servers[1])
    return name


@pytest.fixture(scope="session")
def worker_database(servers: tuple[str, str]) -> str:
    """Name of this worker's database; ``database_url`` empties it for every test."""
    return f"emberpost_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{os.getpid()}"


@pytest.fixture(scope="session")
def _clean_database(servers: tuple[str, str], template: str, worker_database: str) -> Iterator[CleanDatabase]:
    clean = CleanDatabase(servers[0], worker_database, template)
    yield clean
    clean.drop()


@pytest.fixture
def database_url(_clean_database: CleanDatabase) -> str:
    """This worker's database with nothing in it but what the migrations put there."""
    _clean_database.empty()
    return _clean_database.url


@pytest.fixture
def redis_url(servers: tuple[str, str]) -> str:
    return servers[1]


@pytest.fixture(scope="session")
def _app(servers: tuple[str, str], worker_database: str) -> Flask:
    from app import create_app
    from app.core.extensions import db

    flask_app = create_app(settings_for(_named(servers[0], worker_database), servers[1]))
    flask_app.testing = True
    with flask_app.app_context():
        keep(db.engine)
    _without_rate_limit()
    _hash_quickly()
    return flask_app


def _without_rate_limit() -> None:
    """Tests send thousands of requests a minute as one person; the limit has tests of its own (tests/api/test_rate_limit.py)."""
    from dataclasses import replace

    from app.services import settings

    known = dict(settings.DEFINITIONS)
    settings.DEFINITIONS = known | {"api_minute_limit": replace(known["api_minute_limit"], default=None)}


def _hash_quickly() -> None:
    """Passwords of tests need no 64 MiB each; what the product itself takes is proved in tests/services/test_guessing.py."""
    from argon2 import PasswordHasher

    from app.services import passwords

    passwords._hasher = PasswordHasher(time_cost=1, memory_cost=8_192, parallelism=1)
    passwords._nobody.clear()


def _forget_redis() -> None:
    """What Redis remembers of a client is another client's now: ids begin anew with each test."""
    from app.core.bell import bell

    known = bell().connection.keys(f"{bell().prefix}lead-work:*")
    if known:
        bell().connection.delete(*known)


@pytest.fixture
def app(_app: Flask, database_url: str) -> Iterator[Flask]:
    """The product on a fresh database, inside an application context, as the jobs role until a request says otherwise.

    Requests made with ``app.test_client()`` go over connections of the web role only if the process says so: tests of the
    second wall use ``web_role``.
    """
    from app import bind_tools
    from app.core.db import JOBS_ROLE, NOBODY, close_alone, enter_scope, use_database_role
    from app.core.extensions import db

    with _app.app_context():
        enter_scope(NOBODY)  # an earlier test's person is nobody here
        db.session.remove()
    bind_tools(_app.extensions["settings"])
    _forget_redis()
    use_database_role(JOBS_ROLE)
    with _app.app_context():
        yield _app
        db.session.remove()
        close_alone()


@pytest.fixture
def web_role(app: Flask) -> Iterator[Flask]:
    """The product whose connections are the web role's: what pages and API really run as."""
    from app.core.db import JOBS_ROLE, WEB_ROLE, use_database_role
    from app.core.extensions import db

    use_database_role(WEB_ROLE)
    db.session.remove()
    db.engine.dispose()
    yield app
    db.session.remove()
    use_database_role(JOBS_ROLE)
    db.engine.dispose()
