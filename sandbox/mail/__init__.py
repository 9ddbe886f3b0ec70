"""SMTP and IMAP for many mailboxes in one process, with faults on demand and exact counting at the receiver."""
