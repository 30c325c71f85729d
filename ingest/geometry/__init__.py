"""Measurements as functions of arrays: no model, no file, no database."""
