"""What to send to a route so that it does its work: THE FILE TO EDIT WHEN A NEW ROUTE LANDS.

The path fills itself: ``<int:lead_id>`` is ``world.ids["lead_id"]``, ``/api/…/<int:row_id>`` the model of the operation. So do the ids and
the plain fields of the API's schemas. What stands here is the rest: forms, query parameters, and rows that have to be in another state.

    "leads.bulk": Fill(form={"action": "add", "ids": [Id("free_lead_id")], "to": Id("campaign_id")}),
    "campaigns.use_starter": Fill(use={"campaign_id": "draft_id"}, form={"key": "first-contact"}),  # a draft instead of a running one
    "mailboxes.act:resume": …                                                                  # one word of <any(…):action>

``Id(name)`` is a row of the caller's own world (tests/matrix/world.py, ``ids``); the matrix also puts the other client's there, one that
was deleted, and one that never was. A new kind of row: make it in ``world.py`` and give its id a name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.matrix.world import World


@dataclass(frozen=True)
class Id:
    name: str


@dataclass(frozen=True)
class Text:
    """A text that depends on the world: ``Text(lambda world: world.word)``."""

    of: Callable[[World], Any]


@dataclass(frozen=True)
class Fill:
    """``use``: another row under that name. ``answers``: what its own strongest caller gets, if not a success. ``silent``: why it writes nothing."""

    use: dict[str, str] = field(default_factory=dict)
    form: dict[str, Any] | None = None
    query: dict[str, Any] = field(default_factory=dict)
    json: dict[str, Any] = field(default_factory=dict)
    without: tuple[str, ...] = ()  # fields of the schema to leave out
    files: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    answers: frozenset[int] = frozenset()
    by_key: frozenset[int] = frozenset()  # what an API key gets, if not the same as a person
    silent: str = ""
    also: str = ""  # a further permission that the view asks for, with this body
    path: dict[str, Any] = field(default_factory=dict)  # values of the path that are no ids
    more: tuple[Fill, ...] = ()  # the same route once more, with another body


DRAFT = {"campaign_id": "draft_id", "step_id": "draft_step_id"}
PAUSED = {"campaign_id": "paused_id", "step_id": "paused_step_id"}
#: The id parameters of all schemas of the API, by name. An unknown ``*_id`` or ``*_ids`` fails.
API_IDS = {
    "lead_id": "lead_id", "lead_ids": "lead_id", "mailbox_id": "mailbox_id", "mailbox_ids": "mailbox_id", "campaign_id": "campaign_id",
    "import_id": "import_id", "step_id": "step_id", "enrollment_id": "enrollment_id", "user_id": "user_id", "message_id": "message_id",
    "source_id": "source_id", "client_id": "client_id", "kept_files": "answer_file_id", "after": "step_id",
}  # fmt: skip
#: Numbers that pages read from forms and addresses and that are no ids of anybody's rows: places in a list, amounts, versions.
NUMBERS = {"before", "hours", "older", "n", "since", "cap_version", "hours_version", "days", "cursor", "weekend_percent"}
#: Where such a name is an id elsewhere, or the reverse: (route, name).
NOT_AN_ID = {("campaigns.add", "after"), ("members.logins", "after")}
#: Which row ``<int:row_id>`` is, where the operation names no model.
BARE_ROWS = {"webhooks": "source_id", "arrivals": "arrival_id"}
ROW_OF_MODEL = {
    "Mailbox": "mailbox_id", "Lead": "lead_id", "Campaign": "campaign_id", "Step": "step_id", "Enrollment": "enrollment_id", "Delivery": "delivery_id",
    "Conversation": "conversation_id", "Message": "message_id", "Attachment": "file_id", "Suppression": "suppression_id",
    "LeadImport": "import_id", "Client": "client_id", "Membership": "member_id", "ApiKey": "key_id", "OutgoingEndpoint": "endpoint_id", "OutgoingCall": "call_id",
}  # fmt: skip
#: Plain values by name, for schemas; anything else is made from its type.
SAMPLES: dict[str, Any] = {
    "email": "someone@else.test", "timezone": "UTC", "slug": "a-slug", "content": "aGVsbG8=", "language": "en", "country": "PT",
    "linkedin_url": "https://www.linkedin.com/in/somebody", "custom": {"note": "new"}, "windows": [{"weekday": 0, "from": "09:00", "to": "17:00"}],
    "closed_days": ["2027-01-01"], "weekend": {"mode": "closed"}, "holidays_country": "PT", "delay": {"value": 1, "unit": "days"},
    "text": "Hello {{first_name}}\n\n{{unsubscribe_url}}", "html": "", "subject": "Hello", "smtp_port": 1, "imap_port": 1, "emails": ["one@else.test"],
    "smtp_security": "none", "imap_security": "none", "until": "2027-01-04T09:00:00Z", "since": "2020-01-01T00:00:00Z", "versions": {},
    "own_hours": [{"weekday": 0, "from": "09:00", "to": "17:00"}], "retention_days": 730, "secret": "a-secret-of-twenty-four-or-more", "header": "X-Secret", "name": "Somebody", "reason": "because", "limit": 5,
    "url": "http://127.0.0.1:9/new", "events": ["reply.received"],
}  # fmt: skip

SCHEDULE = {"timezone": "UTC", "weekend": "closed", **{f"day-{day}": "9-17" for day in range(7)}, "daily_cap": "5", "daily_new_leads": "", "senders": [Id("mailbox_id")]}
STEP = {"subject": "Hello", "text": "Hello\n{{unsubscribe_url}}", "html": "", "delay_value": "1", "delay_unit": "days"}
CAMPAIGN_NAME = {kind: Text(lambda world, kind=kind: f"{world.word} {kind}") for kind in ("campaign", "draft", "paused")}

#: Where a token is the right itself: one of our own world's, whoever asks.
TOKENS: dict[str, Fill] = {
    "public.leave": Fill(path={"token": Text(lambda world: world.extra["way out"])}),
    "public.left": Fill(path={"token": Text(lambda world: world.extra["way out"])}),
    "webhooks.receive": Fill(path={"token": Text(lambda world: world.extra["webhook"])}, silent="keeps arrivals over a connection of its own"),
    "auth.show_link": Fill(path={"token": Text(lambda world: world.extra["link"])}),
    "auth.use_link": Fill(path={"token": Text(lambda world: world.extra["link"])}),
    "auth.show_claim": Fill(path={"token": "no-such-token"}, silent="claimed"),
    "auth.claim": Fill(path={"token": "no-such-token"}, silent="claimed"),
    "static": Fill(path={"filename": "ember.svg"}),
}  # fmt: skip
PAGES: dict[str, Fill] = {
    # people and the house
    "auth.try_log_in": Fill(form={"email": "nobody@house.test", "password": "not this one at all"}, answers=frozenset({401, 422, 429})),
    "admission.answer": Fill(form={"otp": "123456"}, silent="no login waits for a code"),
    "members.change_login": Fill(form={"timezone": "Europe/Lisbon", "language": "en"}),
    "ops.turn_schedule:start": Fill(silent="it is not paused"),
    "second_factor.begin": Fill(form={"password": "none"}, answers=frozenset({422})),
    "second_factor.new_codes": Fill(form={"otp": "123456"}, answers=frozenset({409})),
    "second_factor.confirm": Fill(form={"otp": "123456"}, answers=frozenset({409})),
    "second_factor.turn_off": Fill(form={"otp": "123456"}, answers=frozenset({409})),
    "sources.change:end_old": Fill(silent="there is no old one"),
    "auth.log_out": Fill(answers=frozenset({303, 204})),
    "auth.save_profile": Fill(form={"name": "Somebody", "timezone": "UTC", "theme": "dark"}),
    "auth.save_password": Fill(form={"current_password": "wrong wrong wrong", "new_password": "a long new passphrase"}, answers=frozenset({403, 422}), silent="refused"),
    "pages.make_client": Fill(form={"name": "New", "slug": "new-one", "email": "office@new.test", "postal_address": "1 Lane", "timezone": "UTC", "language": "en"}),
    "members.invite": Fill(form={"email": "new@house.test", "name": "New", "role": "viewer", "timezone": "UTC"}),
    "members.change_role": Fill(form={"role": "viewer"}),
    "members.act:reset_factor": Fill(answers=frozenset({409})),
    "members.add_login": Fill(form={"email": "fresh@house.test", "name": "Fresh"}),
    "settings.save": Fill(form={"name": "Ours", "email": "office@ours.test", "postal_address": "1 Lane", "timezone": "UTC", "country": "PT", "language": "en",
                                "retention_days": "730", "client_hour_cap": "100", "hours_0": "09:00-17:00"}),
    "settings.save_installation": Fill(form={"instance_minute_cap": "100", "instance_hour_cap": "1000", "bulk_ready_domains": ""}),
    "api_keys.create": Fill(form={"name": "A key", "scope": "read", "days": ""}),
    "trail.client": Fill(query={"by": Id("user_id")}),
    "trail.instance": Fill(query={"by": Id("user_id")}),
    "suppressions.add": Fill(form={"addresses": "new@gone.test", "reason": "manual", "note": ""}),
    "suppressions.remove": Fill(form={"reason": "asked for it"}),
    "suppressions.add_everywhere": Fill(form={"addresses": "new@gone.test", "reason": "asked"}),
    "outgoing.add": Fill(form={"url": "http://127.0.0.1:9/new", "description": "New", "events": ["reply.received"]}),
    "outgoing.save": Fill(form={"url": "http://127.0.0.1:9/other", "description": "Other", "events": ["reply.received"]}),
    "outgoing.act:on": Fill(use={"endpoint_id": "off_endpoint_id"}),
    # operators
    "ops.replay": Fill(form={"ids": [Id("arrival_id")]}),
    "arrivals.index": Fill(query={"source": Id("source_id")}),
    "arrivals.replay": Fill(form={"ids": [Id("arrival_id")], "source": Id("source_id")}),
    "arrivals.let_be": Fill(form={"ids": [Id("arrival_id")]}),
    "sources.add": Fill(form={"name": "New", "verifier": "static_header", "header": "X-Secret", "secret": "a-secret-of-twenty-four-or-more"}),
    "sources.change:rename": Fill(form={"name": "Other"}),
    "sources.change:secret": Fill(form={"secret": "another-secret-of-twenty-four"}),
    # leads and imports
    "leads.index": Fill(query={"campaign": Id("campaign_id"), "import": Id("import_id")}),
    "leads.export": Fill(query={"campaign": Id("campaign_id"), "import": Id("import_id")}),
    "leads.create": Fill(form={"email": "new@buyer.test", "first_name": "New"}),
    "leads.save": Fill(form={"email": "changed@buyer.test", "first_name": "Changed"}),
    "leads.remove": Fill(use={"lead_id": "free_lead_id"}),
    "leads.bulk": Fill(
        form={"action": "add", "ids": [Id("free_lead_id")], "to": Id("campaign_id"), "campaign": "", "import": ""}, also="campaigns.enroll"
    ),
    "imports.create": Fill(form={}, files={"file": (b"email,first_name\na@buyer.test,A\n", "new.csv")}),
    "imports.sheet": Fill(use={"import_id": "fresh_import_id"}, form={"sheet": ""}),
    "imports.start": Fill(use={"import_id": "fresh_import_id"}, form={"mapped": "1", "field-0": "email", "field-1": "first_name", "existing": "update"}),
    "imports.add": Fill(form={"campaign": Id("campaign_id")}),
    # campaigns
    "campaigns.create": Fill(form={"name": "New"}),
    "campaigns.rename": Fill(use=DRAFT, form={"name": "Renamed"}),
    "campaigns.stop": Fill(form={"typed": CAMPAIGN_NAME["campaign"]}),
    "campaigns.remove": Fill(use=DRAFT, form={"typed": CAMPAIGN_NAME["draft"]}),
    "campaigns.resume": Fill(use=PAUSED),
    "campaigns.start": Fill(use=DRAFT),
    "campaigns.save_schedule": Fill(use=DRAFT, form=SCHEDULE),
    "campaigns.steps": Fill(use=DRAFT, query={"step": Id("draft_step_id"), "lead": Id("draft_lead_id")}),
    "campaigns.step_html": Fill(use=DRAFT, query={"lead": Id("draft_lead_id")}),
    "campaigns.add_step": Fill(use=DRAFT, form={"after": Id("draft_step_id"), "lead": Id("draft_lead_id")}),
    "campaigns.save_step": Fill(use=DRAFT, form={**STEP, "lead": Id("draft_lead_id")}),
    "campaigns.move_step": Fill(use=DRAFT, form={"lead": Id("draft_lead_id")}),
    "campaigns.move_step:up": Fill(use={**DRAFT, "step_id": "draft_last_step_id"}, form={"lead": Id("draft_lead_id")}),
    "campaigns.preview_step": Fill(use=DRAFT, form={**STEP, "lead": Id("draft_lead_id")}, silent="only shows"),
    "campaigns.remove_step": Fill(use={**DRAFT, "step_id": "draft_last_step_id"}, form={"confirmed": "1", "lead": Id("draft_lead_id")}),
    "campaigns.test_step": Fill(use=DRAFT, form={**STEP, "lead": Id("draft_lead_id")}),
    "campaigns.use_starter": Fill(use=DRAFT, form={"key": "first-contact", "lead": Id("draft_lead_id")}),
    "campaigns.add": Fill(query={"after": "0"}),
    "campaigns.add_people": Fill(form={"action": "ticked", "ids": [Id("free_lead_id")]}),
    "campaigns.bulk": Fill(use=PAUSED, form={"action": "assign", "ids": [Id("lead_id")], "sender": Id("mailbox_id")}, also="campaigns.enroll"),
    "campaigns.fix": Fill(form={"value-title": "Boss"}),
    "stops.turn_client": Fill(form={"reason": "because"}),
    "stops.turn_client:release": Fill(silent="it is not stopped"),
    "stops.turn_mailbox:release": Fill(use={"mailbox_id": "paused_mailbox_id"}),
    "stops.turn_campaign:release": Fill(use=PAUSED),
    "stops.turn_instance:release": Fill(silent="it is not stopped"),
    # mailboxes
    "mailboxes.servers": Fill(query={"email": ""}),
    "mailboxes.create": Fill(form={"email": "new@ourhouse.test", "display_name": "New", "timezone": "UTC", "daily_cap": "5", "min_gap_s": "60", "smtp_host": "127.0.0.1",
                                   "smtp_port": "1", "smtp_security": "none", "smtp_user": "u", "smtp_password": "secret secret", "imap_host": "127.0.0.1",
                                   "imap_port": "1", "imap_security": "none", "imap_user": "u", "imap_password": "secret secret"}),
    "mailboxes.save": Fill(form={"display_name": "Changed", "timezone": "UTC", "daily_cap": "5", "min_gap_s": "60"}),
    "mailboxes.older": Fill(form={"days": "10"}),
    "mailboxes.bulk": Fill(form={"action": "pause", "ids": [Id("mailbox_id")]}),
    "mailboxes.remove": Fill(use={"mailbox_id": "spare_mailbox_id"}, form={"typed": Text(lambda world: f"spare-sender@{world.name}-{world.word.lower()}.test")}),
    "mailboxes.add_many": Fill(form={"lines": "", "action": "look"}, silent="only reads what was typed", answers=frozenset({422})),
    # messages and the inbox
    "deliveries.decide": Fill(use={"delivery_id": "unsure_delivery_id"}, form={"outcome": "was_sent"}),
    "inbox.index": Fill(query={"mailbox": Id("mailbox_id"), "campaign": Id("campaign_id")}, more=(Fill(query={"part": "list", "mailbox": Id("mailbox_id"), "campaign": Id("campaign_id")}),)),
    "inbox.conversation": Fill(query={"mailbox": Id("mailbox_id"), "campaign": Id("campaign_id"), "undone": Id("answer_id")},
                               more=(Fill(query={"part": "thread", "mailbox": Id("mailbox_id"), "campaign": Id("campaign_id"), "undone": Id("answer_id")}),)),
    "inbox_actions.unread": Fill(use={"conversation_id": "read_conversation_id"}),
    "inbox_actions.reopen": Fill(use={"conversation_id": "closed_conversation_id"}),
    "inbox_actions.assign": Fill(form={"user_id": Id("user_id")}),
    "inbox_actions.snooze": Fill(form={"preset": "tomorrow"}),
    "inbox_actions.many": Fill(form={"do": "assign", "ids": [Id("conversation_id")], "user_id": Id("user_id")}),
    "inbox_actions.match": Fill(form={"message_id": Id("message_id"), "lead_id": Id("lead_id")}),
    "inbox_actions.send": Fill(form={"nonce": "one", "text": "Hello", "kept": [Id("answer_file_id")]}),
    "inbox_actions.undo": Fill(use={"message_id": "answer_id"}),
    "mail_frame.remote": Fill(path={"token": "no-such-token"}, answers=frozenset({404})),
}  # fmt: skip

PERSON = frozenset({403})  # what an API key hears where a person has to be logged in
NONE_SET_UP = frozenset({409})
API: dict[str, Fill] = {
    "api.me_change_me": Fill(by_key=PERSON),
    "api.me_end_sessions": Fill(by_key=PERSON),
    "api.me_list_sessions": Fill(by_key=PERSON),
    "api.me_end_session": Fill(by_key=PERSON),
    "api.me_change_password": Fill(by_key=PERSON, answers=frozenset({422}), silent="has no password"),
    "api.second_factor_show": Fill(by_key=PERSON),
    "api.second_factor_begin": Fill(by_key=PERSON, answers=frozenset({422}), silent="has no password"),
    "api.second_factor_confirm": Fill(by_key=PERSON, answers=NONE_SET_UP),
    "api.second_factor_recovery_codes": Fill(by_key=PERSON, answers=NONE_SET_UP),
    "api.second_factor_remove": Fill(by_key=PERSON, answers=NONE_SET_UP),
    "api.second_factor_reset": Fill(answers=NONE_SET_UP),
    "api.one_time_links_claim": Fill(silent="claimed"),
    "api.one_time_links_use_link": Fill(silent="no such token"),
    "api.campaign_more_add_candidates": Fill(json={"q": ""}),
    "api.campaign_more_use_starter": Fill(use=DRAFT, json={"key": "first-contact"}),
    "api.campaign_more_move_step": Fill(use={"step_id": "draft_last_step_id"}, json={"after": None}),
    "api.campaign_more_assign_sender": Fill(use=PAUSED),
    "api.inbox_more_act_on_conversations": Fill(json={"action": "assign"}, without=("until",)),
    "api.mailbox_more_act_on_mailboxes": Fill(json={"action": "pause"}, without=("all",)),
    "api.mailbox_more_add_many": Fill(json={"dry_run": True, "lines": "x"}, silent="only reads", answers=frozenset({200, 422})),
    "api.mailbox_more_suggest_servers": Fill(answers=frozenset({422})),  # with an address it asks servers elsewhere
    "api.suppression_more_import_suppressions": Fill(files={"file": (b"email\nnew@gone.test\n", "list.csv")}, form={"reason": "import"}),
    "api.lead_actions_act_on_leads": Fill(json={"action": "add", "lead_ids": [Id("free_lead_id")]}, without=("filter",), also="campaigns.enroll", more=(
        Fill(json={"action": "add", "filter": {"import_id": Id("import_id")}}, without=("lead_ids",), also="campaigns.enroll"),
    )),
    "api.import_steps_upload": Fill(files={"file": (b"email,first_name\na@buyer.test,A\n", "new.csv")}, form={}),
    "api.import_steps_start": Fill(use={"import_id": "fresh_import_id"}, json={"mapping": {"email": "email"}, "existing": "update", "dry_run": True}, without=("sheet",)),
    "api.webhooks_end_old_secrets": Fill(silent="there is no old one"),
    "api.switches_release_client": Fill(silent="it is not stopped"),
    "api.switches_release_instance": Fill(silent="it is not stopped"),
    "api.original_names_start_scheduler": Fill(silent="it is not paused"),
    "api.original_names_bootstrap_migrations": Fill(silent="nothing is pending"),
    "api.auth_logout": Fill(by_key=PERSON),
    "api.webhooks_add_source": Fill(json={"verifier": "static_header"}),
    "api.settings_change_client_settings": Fill(json={"default_windows": [{"weekday": 0, "from": "09:00", "to": "17:00"}], "client_hour_cap": 50}),
    "api.switches_release_campaign_switch": Fill(use=PAUSED),
    "api.switches_release_mailbox_switch": Fill(use={"mailbox_id": "paused_mailbox_id"}),
    "api.settings_change_instance_settings": Fill(json={"bulk_ready_domains": ["bulk.test"]}),
    "api.auth_login": Fill(json={"email": "nobody@house.test", "password": "not this one at all"}, answers=frozenset({401, 429})),
    "api.auth_refresh": Fill(json={"refresh_token": "none"}, answers=frozenset({401})),
    "api.campaigns_change": Fill(use=DRAFT, without=("version",)),
    "api.campaigns_remove": Fill(use=DRAFT),
    "api.campaigns_start": Fill(use=DRAFT),
    "api.campaigns_resume": Fill(use=PAUSED),
    "api.campaigns_add_leads": Fill(
        json={"lead_ids": [Id("free_lead_id")]}, without=("import_id",), more=(Fill(without=("lead_ids",)),)
    ),
    "api.campaigns_act_on_leads": Fill(json={"action": "pause"}),
    "api.campaigns_preview": Fill(silent="only shows"),
    "api.campaigns_add_step": Fill(use=DRAFT, json={"after": Id("draft_step_id")}),
    "api.campaigns_change_step": Fill(use=DRAFT, without=("version",)),
    "api.leads_change": Fill(without=("version",)),
    "api.mailboxes_change": Fill(without=("version",)),
    "api.clients_change": Fill(without=("version",)),
    "api.campaigns_remove_step": Fill(use={"step_id": "draft_last_step_id"}, query={"confirmed": "true"}),
    "api.deliveries_resolve": Fill(use={"delivery_id": "unsure_delivery_id"}, json={"outcome": "was_sent"}),
    "api.imports_create": Fill(files={"file": (b"email,first_name\na@buyer.test,A\n", "new.csv")}, form={"mapping": '{"email": "email"}'}),
    "api.inbox_unread": Fill(use={"conversation_id": "read_conversation_id"}),
    "api.inbox_reopen": Fill(use={"conversation_id": "closed_conversation_id"}),
    "api.inbox_undo": Fill(use={"message_id": "answer_id"}),
    "api.leads_remove": Fill(use={"lead_id": "free_lead_id"}),
    "api.mailboxes_remove": Fill(use={"mailbox_id": "spare_mailbox_id"}, query={"although_used": "true"}),
    "api.suppressions_remove": Fill(query={"reason": "asked for it"}),
    "api.suppressions_add": Fill(without=("emails",), json={"reason": "manual"}),
}  # fmt: skip
#: Routes that are another's under a second name.
SAME_AS = {"original.original_names_send_campaign": "api.campaigns_start"}
FILLS = {**TOKENS, **PAGES, **API}
