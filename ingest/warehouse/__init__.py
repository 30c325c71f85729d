"""The DuckDB file: tables, views, macros, loads and migrations."""
