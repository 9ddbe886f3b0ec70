"""The start of a campaign: what is checked before it, its button, and what cannot be started, paused or resumed."""

TEXTS = {
    "checks.no_message": "There is no message yet. Write the first one.",
    "checks.no_subject": "The first message has no subject.",
    "checks.texts_good": ("1 message, all texts can be used.", "{n} messages, all texts can be used."),
    "checks.no_text": "Message {number} has no text.",
    "checks.text_wrong": "Message {number}, {name}, line {line}, column {column}: {said}",
    "checks.no_mailbox": "No mailbox is chosen. Choose at least one.",
    "checks.none_active": "None of the chosen mailboxes is active. Verify or resume one.",
    "checks.mailboxes": "{active} of {chosen} chosen mailboxes can send.",
    "checks.mailbox_connecting": "{address} is not verified yet; its leads wait.",
    "checks.mailbox_paused": "{address} is paused; its leads wait.",
    "checks.mailbox_auth_failed": "{address} cannot log in; its leads wait.",
    "checks.mailbox_waits": "{address} {status}; its leads wait.",
    "checks.never_open": "The campaign's hours never open. Paint at least one window.",
    "checks.the_campaign": "The campaign",
    "checks.never_open_together": "{address} is never open at the campaign's hours: nothing could leave through it.",
    "checks.nobody": "Nobody would be written to. Add leads.",
    "checks.leads_start": ("1 lead starts.", "{n} leads start."),
    "checks.too_slow": (
        "In the next {days} days {sent} of {planned} messages can leave; follow-ups will come later than their delays. "
        "Raise the caps or choose more mailboxes to be faster."
    ),
    "checks.no_postal": "The client has no postal address; the law asks for one in every message.",
    "checks.way_out": "Every message carries a link to unsubscribe.",
    "checks.no_public_address": "This installation has no public address: messages can be left by mail and by answering only, not by a link.",
    "checks.value_missing": "A value for the text is missing ({names}).",
    "checks.later_value_missing": "A value for a later message is missing ({names}): it starts, and stops before that message.",
    "checks.button": ("Start: 1 lead", "Start: {n} leads"),
    "checks.button_first": ("Start: 1 lead, first mail {at:%a %H:%M}", "Start: {n} leads, first mail {at:%a %H:%M}"),
    "checks.only_draft_starts": "Only a draft can be started; this campaign is {status}.",
    "checks.cannot_start": "The campaign cannot start yet.",
    "checks.only_running_pauses": "Only a running campaign can be paused; this one is {status}.",
    "checks.only_paused_resumes": "Only a paused campaign can be resumed; this one is {status}.",
    "checks.stopped_already": "This campaign is stopped already. Duplicate it to start again.",
}
