"""The table of kinds (``domain.kind_rules``) inside statements: what a message must heed is a condition on its kind, written out.

A join with the table would look at each of its rows for each message: that was a third of what a claim cost.
"""

from __future__ import annotations

import re
from functools import cache

from app.domain.kind_rules import KIND_RULES

_ASKED = re.compile(r"\{is (\w+)\}")


@cache
def _condition(rule: str) -> str:
    kinds = [str(kind) for kind, rules in KIND_RULES.items() if getattr(rules, rule)]
    return f"(d.kind IN ({', '.join(map(repr, kinds))}))" if kinds else "false"


@cache
def with_rules(statement: str) -> str:
    """Put what the table of kinds says where the statement asks for ``{is <rule>}`` of the delivery ``d``. Constants of our own only."""
    return _ASKED.sub(lambda match: _condition(match[1]), statement)
