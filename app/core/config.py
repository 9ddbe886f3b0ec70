"""Settings from the environment: one frozen object, read once, with the fix in every error.

Secrets, URLs, private targets and process sizes live here; caps, hours and presets live in the table ``settings``.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any


class SettingsError(Exception):
    """A setting is missing or wrong; the message names it and says what to write."""


@dataclass(frozen=True)
class Settings:
    """All that comes from the environment. ``doc`` of each field is printed into docs/settings.md by a test."""

    database_url: str = field(metadata={"env": "DATABASE_URL", "doc": "PostgreSQL 15 or newer, e.g. postgresql://user@host/emberpost"})
    redis_url: str = field(metadata={"env": "REDIS_URL", "doc": "Redis 6.2+ or Valkey, e.g. redis://127.0.0.1:6379/0; only a bell, may be lost"})
    secret_key: str = field(metadata={"env": "EMBERPOST_SECRET_KEY", "doc": "at least 32 random characters; signs sessions and tokens"})
    encryption_keys: str = field(metadata={"env": "EMBERPOST_ENCRYPTION_KEYS", "doc": "id:base64 of 32 bytes, comma separated, newest first; encrypts stored passwords"})
    instance_id: str = field(default="main", metadata={"env": "EMBERPOST_INSTANCE_ID", "doc": "letters and digits; part of the cookie name and of every Redis key"})
    mode: str = field(default="real", metadata={"env": "EMBERPOST_MODE", "doc": "real or rehearsal; stored at the first start and never changed after"})
    data_dir: str = field(default="var", metadata={"env": "EMBERPOST_DATA", "doc": "folder for caches and generated files; nothing durable but what bin/run starts itself"})
    public_url: str = field(default="", metadata={"env": "EMBERPOST_PUBLIC_URL", "doc": "https address under which leads reach the way out; empty: only mailto and answers"})
    timezone: str = field(default="Asia/Kolkata", metadata={"env": "EMBERPOST_TIMEZONE", "doc": "default time zone of new clients"})
    allow_targets: str = field(default="", metadata={"env": "EMBERPOST_ALLOW_TARGETS", "doc": "private networks that mailboxes may be in: network[:ports],…"})
    ehlo_name: str = field(default="", metadata={"env": "EMBERPOST_EHLO_NAME", "doc": "name we greet mail servers with; empty: this machine's full name"})
    admin_email: str = field(default="", metadata={"env": "EMBERPOST_ADMIN_EMAIL", "doc": "claims a new instance without the one-time link, together with the password"})
    admin_password: str = field(default="", metadata={"env": "EMBERPOST_ADMIN_PASSWORD", "doc": "see EMBERPOST_ADMIN_EMAIL; at least 12 characters"})
    host: str = field(default="127.0.0.1", metadata={"env": "EMBERPOST_HOST", "doc": "address the pages listen on; beyond loopback https is required"})
    port: int = field(default=8000, metadata={"env": "EMBERPOST_PORT", "doc": "port the pages listen on"})
    behind_https: bool = field(default=False, metadata={"env": "EMBERPOST_BEHIND_HTTPS", "doc": "1 behind a TLS reverse proxy: Secure cookies, HSTS, X-Forwarded-* of one proxy believed"})
    drain_seconds: int = field(default=660, metadata={"env": "EMBERPOST_DRAIN_SECONDS", "doc": "how long a stopping sender waits for answers to what is past its permit"})
    dispatch_slots: int = field(default=500, metadata={"env": "EMBERPOST_DISPATCH_SLOTS", "doc": "sessions with mail servers per sending process"})
    dispatch_batch: int = field(default=400, metadata={"env": "EMBERPOST_DISPATCH_BATCH", "doc": "rows per claim"})
    read_connections: int = field(default=200, metadata={"env": "EMBERPOST_READ_CONNECTIONS", "doc": "IMAP connections per reading process"})
    web_threads: int = field(default=16, metadata={"env": "EMBERPOST_WEB_THREADS", "doc": "threads per web process"})
    stream_limit: int = field(default=150, metadata={"env": "EMBERPOST_STREAM_LIMIT", "doc": "open live streams per process; above it 503 and polling"})
    lease_seconds: int = field(default=60, metadata={"env": "EMBERPOST_LEASE_SECONDS", "doc": "how long a claimed message belongs to a process that stopped renewing it"})
    max_upload_mb: int = field(default=30, metadata={"env": "EMBERPOST_MAX_UPLOAD_MB", "doc": "largest upload of a list or attachments"})
    failpoints: str = field(default="", metadata={"env": "EMBERPOST_FAILPOINTS", "doc": "tests only: names of failpoints; refused outside a rehearsal"})

    @property
    def rehearsal(self) -> bool:
        return self.mode == "rehearsal"


def _convert(name: str, kind: Any, raw: str) -> Any:
    if kind == "int":
        try:
            return int(raw)
        except ValueError:
            raise SettingsError(f"{name} must be a whole number, not {raw!r}.") from None
    if kind == "bool":
        return raw.strip().lower() in {"1", "true", "yes", "on"}
    return raw.strip()


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the environment. Raises SettingsError naming the first setting that is missing or wrong."""
    env = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    for item in fields(Settings):
        name = item.metadata["env"]
        raw = env.get(name, "")
        if raw == "":
            if name in {"DATABASE_URL", "REDIS_URL", "EMBERPOST_SECRET_KEY", "EMBERPOST_ENCRYPTION_KEYS"}:
                raise SettingsError(f"{name} is not set: {item.metadata['doc']}. See .env.example, or use bin/run.")
            continue
        values[item.name] = _convert(name, item.type, raw)
    settings = Settings(**values)
    _check(settings)
    return settings


SAMPLE_SECRETS = frozenset({"change-me", "changeme", "secret", "dev", "please-change-this-secret-key-now"})


def _check(settings: Settings) -> None:
    if len(settings.secret_key) < 32 or settings.secret_key in SAMPLE_SECRETS:
        raise SettingsError("EMBERPOST_SECRET_KEY must be at least 32 random characters: `openssl rand -hex 32`.")
    if settings.mode not in {"real", "rehearsal"}:
        raise SettingsError("EMBERPOST_MODE must be real or rehearsal.")
    if settings.failpoints and not settings.rehearsal:
        raise SettingsError("EMBERPOST_FAILPOINTS is for tests: it needs EMBERPOST_MODE=rehearsal.")
    if not settings.instance_id.isalnum():
        raise SettingsError("EMBERPOST_INSTANCE_ID may hold letters and digits only.")


_HOST_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+")


def greeting_name(settings: Settings) -> str:
    """The name we greet mail servers with: the setting, else this machine's full name, never ``localhost``.

    A machine without a full name greets with its address as a literal, which RFC 5321 4.1.4 asks for then.
    """
    if settings.ehlo_name:
        return settings.ehlo_name
    name = socket.getfqdn()
    if _HOST_NAME.fullmatch(name) and not name.lower().startswith("localhost") and not name.lower().endswith(".arpa"):
        return name
    try:
        address = socket.gethostbyname(socket.gethostname())
    except OSError:
        address = "127.0.0.1"
    return f"[{address}]"


def sqlalchemy_url(url: str) -> str:
    """The same database under SQLAlchemy's name for psycopg 3."""
    for prefix in ("postgresql://", "postgres://"):
        if url.startswith(prefix):
            return "postgresql+psycopg://" + url[len(prefix) :]
    return url


def libpq_url(url: str) -> str:
    """The same database for psycopg itself."""
    return url.replace("postgresql+psycopg://", "postgresql://", 1)
