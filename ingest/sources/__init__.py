"""What a user names: checkpoints, prompts and packaged models, found on disk and checked by their headers."""
