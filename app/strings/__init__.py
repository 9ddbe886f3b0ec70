"""All words of the pages in one catalogue: ``t("frame.inbox")``, ``t("leads.count", n=3)``. The lowest layer: it imports nothing of ours.

Each module of this package is one surface or subject and exposes ``TEXTS``; its keys begin with the module's name. A text is a string
with ``{named}`` places, or a pair (one, many) chosen by the value ``n``. Numbers of a rule are values: the rule has them, the text does not.
A text with places writes its own braces twice; one without places is said as it stands.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import Any

Text = str | tuple[str, str]


def _collect() -> dict[str, Text]:
    catalogue: dict[str, Text] = {}
    for module in pkgutil.iter_modules(__path__):
        texts: dict[str, Text] = import_module(f"{__name__}.{module.name}").TEXTS
        wrong = [key for key in texts if not key.startswith(f"{module.name}.")]
        if wrong:
            raise RuntimeError(f"texts of {module.name} must begin with {module.name!r}: {', '.join(wrong)}")
        catalogue.update(texts)
    return catalogue


CATALOGUE: dict[str, Text] = _collect()


def t(key: str, /, **values: Any) -> str:
    """The text of ``key``. Raises KeyError for an unknown key or a missing value, so that no page shows either to a person."""
    text = CATALOGUE[key]
    if isinstance(text, tuple):
        text = text[0 if values.get("n") == 1 else 1]
    return text.format(**values) if values else text


__all__ = ["CATALOGUE", "t"]
