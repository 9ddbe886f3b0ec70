"""The composition root: ``create_app`` binds settings, extensions, tools, channels and blueprints, and nothing else."""

from __future__ import annotations

from flask import Flask
from sqlalchemy import event

from app.core import config, crypto, db, tokens
from app.core.bell import Bell, use_bell
from app.core.clock import use_clock
from app.core.config import Settings
from app.core.extensions import db as database
from app.core.extensions import migrate


def create_app(settings: Settings | None = None) -> Flask:
    """The application for one process. ``settings`` default to the environment; opens no connection by itself."""
    import app.models  # noqa: F401  fills the metadata

    settings = settings or config.load_settings()
    flask_app = Flask("app", static_folder="static", template_folder="templates")
    flask_app.config.update(flask_config(settings))
    flask_app.extensions["settings"] = settings
    bind_tools(settings)
    database.init_app(flask_app)
    migrate.init_app(flask_app, database, directory="migrations")
    with flask_app.app_context():
        event.listen(database.engine, "connect", db.take_role)
        event.listen(database.engine, "engine_disposed", db.close_alone)
    _bind_edges(flask_app, settings)
    return flask_app


def bind_tools(settings: Settings) -> None:
    """Bind the process-wide tools (vault, tokens, bell, clock); also used by processes without Flask."""
    crypto.use_vault(crypto.Vault(settings.encryption_keys))
    tokens.use_sealed_tokens(tokens.SealedTokens(settings.secret_key))
    use_bell(Bell(settings.redis_url, settings.instance_id))
    use_clock(config.libpq_url(settings.database_url) if settings.rehearsal else None)


def flask_config(settings: Settings) -> dict[str, object]:
    """Flask's own configuration, derived from ours."""
    return {
        "SECRET_KEY": settings.secret_key,
        "SQLALCHEMY_DATABASE_URI": config.sqlalchemy_url(settings.database_url),
        # hide_parameters: an error's text ends up in logs, and the values of a row do not belong there
        "SQLALCHEMY_ENGINE_OPTIONS": {"pool_pre_ping": True, "pool_size": 5, "max_overflow": 20, "hide_parameters": True},
        "MAX_CONTENT_LENGTH": settings.max_upload_mb * 1024 * 1024,
        "MAX_FORM_MEMORY_SIZE": 2 * 1024 * 1024,
        "JSON_SORT_KEYS": False,
    }


def _bind_edges(flask_app: Flask, settings: Settings) -> None:
    from app import blueprints, cli

    blueprints.register(flask_app, settings)
    cli.register(flask_app)
