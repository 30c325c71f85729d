"""Measurements on their way to a warehouse: of an ingest at once, or kept in a folder that travels."""
