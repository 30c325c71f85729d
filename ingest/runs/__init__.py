"""One ingest: what is due, where it is staged, where its work runs."""
