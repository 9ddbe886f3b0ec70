"""The public page that leads out of every campaign."""

TEXTS = {
    "leave.title": "Stop these messages",
    "leave.question": "Shall {client} stop writing to {email}?",
    "leave.question_plain": "Shall we stop writing to {email}?",
    "leave.act": "Stop all messages",
    "leave.done_title": "You will not hear from us again",
    "leave.done": "{client} will not write to {email} any more. This took effect at once.",
    "leave.done_plain": "Nobody here will write to {email} any more. This took effect at once.",
    "leave.unknown_title": "This link is not complete",
    "leave.unknown": "Some mail programs cut long links. Copy the whole link from the message, or answer the message with the word “stop”.",
}
