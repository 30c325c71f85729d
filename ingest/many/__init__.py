"""Many models at once: a list, a process each, one loader."""
