"""After a restored backup: noticing it before anything leaves, holding what may have been sent, and finding out what was."""
