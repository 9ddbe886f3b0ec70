"""Operator verbs, one module per subject."""
