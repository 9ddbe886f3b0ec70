"""The demo's texts in the product's own language: they compile, and exactly the nameless leads cannot be written to."""

from __future__ import annotations

from app.domain.personalisation import MissingVariable, compile_template, render
from sandbox.demo_world import demo_campaign, demo_leads

SENDER = {"sender_name": "Ada Lindner", "unsubscribe_url": "http://127.0.0.1/u/x"}


def test_every_named_lead_gets_every_step_and_the_two_nameless_ones_wait() -> None:
    steps = demo_campaign()["steps"]
    nameless = 0
    for seed, lead in enumerate(demo_leads()):
        values = {**{key: value for key, value in lead.items() if isinstance(value, str)}, **lead["custom"], **SENDER}
        try:
            texts = [render(compile_template(step["text"], "text"), values, seed) for step in steps]
            subject = render(compile_template(steps[0]["subject"], "subject"), values, seed)
        except MissingVariable as missing:
            nameless += 1
            assert missing.names == ("first_name",)
            continue
        assert lead["first_name"] in subject
        assert all("{" not in text and "http://127.0.0.1/u/x" in text for text in texts)
    assert nameless == 2
