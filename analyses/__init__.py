"""Asking the warehouse: answers, charts, reports, files for other tools."""
