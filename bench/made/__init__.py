"""Made-up models in a warehouse: as many, and as many rows, as a measurement wants."""
