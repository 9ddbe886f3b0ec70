"""A campaign's rehearsal: its rows are copied into a throw-away database and walk the product's own road there, day after day.

``throw_away`` makes and drops the database, ``copying`` fills it, ``road`` lets time jump from event to event, ``report`` says
what happened. Nothing is opened towards mail servers, and the original is only read.
"""
