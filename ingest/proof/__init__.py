"""Factors of every head, proved against the model's own attention."""
