"""Pages that say what went wrong and what to do."""

TEXTS = {
    "errors.400_title": "That request could not be read",
    "errors.400": "Go back and try again.",
    "errors.403_title": "Not allowed for you",
    "errors.403": "Your role in this client does not include this. An admin of the client can do it, or change your role.",
    "errors.404_title": "There is nothing here",
    "errors.404": "The address is wrong, or what it showed is gone or not yours.",
    "errors.api_400": "The request could not be read. Compare it with its description in /openapi.json.",
    "errors.api_405": "This address does not take {method}. The header Allow lists what it takes.",
    "errors.405_title": "That cannot be done here",
    "errors.405": "Open the page again and use its buttons.",
    "errors.409_title": "It changed in the meantime",
    "errors.413_title": "Too large",
    "errors.413": "Send at most {mb} MB at once.",
    "errors.422_title": "That does not fit",
    "errors.429_title": "A moment, please",
    "errors.500_title": "Something broke on our side",
    "errors.500": "It was noted as {reference}. Nothing was changed. Try again; if it happens again, give this number to your operator.",
    "errors.503_title": "Back in a moment",
    "errors.503": "The database cannot be reached. Nothing was lost; this page tries again by itself.",
    "errors.behind": "The database is older than this version of the product. Run `flask db upgrade` on the machine; until then this cannot be answered.",
    "errors.back": "Back",
    "errors.home": "To the start",
    "errors.csrf_title": "This page was open for too long",
    "errors.csrf": "This page was open for too long, or the request came from elsewhere. Load it again and repeat what you did.",
    # Refusals
    "errors.not_yours": "There is nothing here, or it is not yours.",
    "errors.changed_meanwhile": "Somebody else saved this {what} meanwhile. Load it again.",
    # Refusals
    "errors.unstorable": "The request holds characters that no text can hold.",
}
