"""What people do in the inbox: answering (``reply``), taking back, and triage (``triage``): read, close, assign, snooze, decide."""
