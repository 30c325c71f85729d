"""Where a warehouse may lie: one module a kind, with the functions of `backend.Backend`."""
