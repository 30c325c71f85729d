"""Eigenhouse: attention heads as geometric objects, proved against the model and kept in a warehouse."""

__version__ = "0.1.0"
