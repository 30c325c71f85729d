"""What SQL cannot say: one polars function a file, named in a saved query's header."""
