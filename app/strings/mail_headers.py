"""Why a message cannot be written: a value that no header may carry."""

TEXTS = {
    "mail_headers.of_field": "{field}: {fault}",
    "mail_headers.no_controls": "line ends and control characters are not allowed here.",
    "mail_headers.no_address": "this is not an address a mail can carry.",
    "mail_headers.long_name": "the name is too long.",
    "mail_headers.no_message_id": "this is not a message id.",
    "mail_headers.no_link": "this is not a link a header can carry.",
    "mail_headers.no_list": "this is not the name of a list.",
    "mail_headers.changed": "a value would have changed the header fields.",
    "mail_headers.long_line": "a header line is broken or too long.",
    "mail_headers.plain_token": "it needs a plain token and an ASCII domain.",
}
