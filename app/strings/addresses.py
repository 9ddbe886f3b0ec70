"""Addresses of people and of servers: why one cannot be used."""

TEXTS = {
    "addresses.empty": "The address is empty.",
    "addresses.only_itself": "Write only the address itself, like name@company.com, not {address}.",
    "addresses.no_at": "{address} has no @.",
    "addresses.reserved": "{address} ends in .{ending}, a name reserved for tests; no mail can reach it.",
    "addresses.not_one": "{address} is not a mail address: {why}",
    "addresses.odd_letters": "{address} has letters before the @ that most mail servers cannot take; ask for another.",
    "addresses.server_shape": "This is not the name of a server. Write it like smtp.company.com.",
    "addresses.port_range": "The port must be a number from 1 to 65535.",
    "addresses.server_unknown": "No server of this name was found.",
    "addresses.rehearsal_only": "A rehearsal connects to its own servers only.",
    "addresses.not_allowed": "This server is not an allowed target.",
    "addresses.port_not_used": "This port is not used here; use one of {ports}.",
}
