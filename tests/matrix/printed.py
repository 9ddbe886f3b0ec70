"""The list of addresses in docs/permissions.md: ``python -m tests.matrix.printed`` writes it anew, a test compares it.

Whoever makes a permission weaker beside its route has to say so here as well, where it is read.
"""

from __future__ import annotations

from flask import Flask

from app.blueprints.access import Access
from tests.conftest import ROOT, settings_for

PAGE = ROOT / "docs" / "permissions.md"
HEAD = "## Which address asks for what"
INTRODUCTION = """
Made from the routes by `python -m tests.matrix.printed` and compared with them by `tests/matrix/test_permission_table.py`. *A login*: whoever is logged in, about themselves;
*everybody*: no login is asked for; *itself*: the address looks at a token of its own (a stream at the login, a way out and a webhook at what stands in the path).

| address | asks for |
|---|---|
"""


def _asked(access: Access) -> str:
    if access.permission is not None:
        return f"`{access.permission}`"
    return {"signed_in": "a login", "public": "everybody", "unguarded": "itself"}[access.kind]


def section(app: Flask) -> str:
    """The whole section as it should stand there."""
    lines = []
    for rule in app.url_map.iter_rules():
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            access = app.view_functions[rule.endpoint].access  # type: ignore[attr-defined]
            lines.append((rule.rule, method, f"| `{method} {rule.rule}` | {_asked(access)} |"))
    return HEAD + "\n" + INTRODUCTION + "\n".join(line for _rule, _method, line in sorted(lines)) + "\n"


def kept() -> str:
    """The section as it stands there."""
    return HEAD + PAGE.read_text().partition(HEAD)[2]


def write(app: Flask) -> None:
    PAGE.write_text(PAGE.read_text().partition(HEAD)[0].rstrip() + "\n\n" + section(app))


if __name__ == "__main__":
    from app import create_app

    write(create_app(settings_for("postgresql://nobody@127.0.0.1:1/none", "redis://127.0.0.1:1/0")))
