"""The read side: SQL and saved queries against the warehouse, as tables or as files. Never imports torch."""
