"""What is asked of a field, whatever it belongs to."""

TEXTS = {
    "fields.longer_than": "It is longer than {limit} characters.",
    "fields.holds_line_break": "It holds a line break.",
    "fields.holds_controls": "It holds control characters.",
    "fields.name_missing": "Write a name.",
    "fields.name_too_long": "Write a name of at most {limit} characters; this one has {n}.",
    "fields.name_controls": "The name holds control characters. Write it in plain letters.",
    "fields.use_at_most": "Use at most {limit} characters.",
    "fields.another_look": "Some fields need another look.",
    "fields.at_most": "At most {limit} characters.",
    "fields.timezone_choice": "Choose a time zone of the list, like Europe/Lisbon.",
    "fields.marked": "Please look at the marked fields.",
    "fields.do_not_fit": "Some fields do not fit; see details.",
    "fields.fill_in": "Please fill this in.",
    "fields.whole_number": "Write a whole number from {low} to {high}.",
    "fields.write_text": "Write a text.",
    "fields.no_controls": "Remove the line breaks and control characters.",
    "fields.language_choice": "Choose a language of the list, by its two letters.",
    "fields.no_such_action": "There is no such action.",
    "fields.address_shape": "Write an address like name@company.com.",
    "fields.choose_one_of": "Choose one of: {names}.",
}
