"""Other programs beside ours: an environment of their own, and what runs in it."""
