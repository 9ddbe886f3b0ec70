"""Steps of a campaign: what they must be, and sequences to begin with."""

TEXTS = {
    "sequences.same_number": "Two steps have the same number.",
    "sequences.same_place": "Two steps follow the same step on the same branch.",
    "sequences.hangs_on_nothing": "A step hangs on nothing; move it behind another one.",
    "sequences.cap_range": "A whole number from 1 to {limit}, or nothing for no limit.",
    "sequences.mailboxes_shape": "The mailboxes are a list of their numbers.",
    "sequences.no_such_mailbox": "There is no mailbox {number} in this client.",
    "sequences.steps_shape": "The steps are a list.",
    "sequences.most_steps": "At most {limit} steps.",
    "sequences.step_shape": "A step is {channel, delay: {value, unit}, subject, text, html}.",
    "sequences.channel_choice": "The channel is email.",
    "sequences.delay_shape": "The delay is {value, unit}.",
    "sequences.unit_choice": "The unit is working_days, days, hours or minutes.",
    "sequences.delay_range": "A whole number from 0 to {limit}.",
    "sequences.keep_order": "The campaign has started: its steps keep their order.",
    "sequences.not_behind_itself": "A step cannot follow itself.",
    "sequences.only_step": "This is the only step of a started campaign. Stop the campaign instead.",
    "sequences.one_by_one": "The campaign has started: its steps can only be edited one by one.",
    "sequences.confirm_insertion": (
        "1 lead would never get this step. Confirm to go on.", "{n} leads would never get this step. Confirm to go on.",
    ),
    "sequences.confirm_removal": ("1 lead would lose this step. Confirm to go on.", "{n} leads would lose this step. Confirm to go on."),
    # Sequences to begin with
    "sequences.first_contact": "First contact",
    "sequences.first_contact_text": "Four short mails to people who do not know you yet, over eighteen working days.",
    "sequences.after_an_event": "After an event",
    "sequences.after_an_event_text": "Three mails to people you met or who were at the same event.",
    "sequences.gone_quiet": "Contacts gone quiet",
    "sequences.gone_quiet_text": "Three mails to people you once spoke with.",
}
