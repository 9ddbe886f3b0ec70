"""Telling a client's own programs what happened: where to, what, and each call until it was accepted or given up.

An event is a row written by a trigger in the transaction in which it happened (migrations). ``events`` gives it its body and makes a call
for every endpoint that wants it; ``calls`` leases, records and repeats them; ``posting`` is the moment on the network, outside any
transaction. All of it is machine time, but for the moment an event tells.
"""
