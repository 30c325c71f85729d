"""Saved queries as Altair charts."""
