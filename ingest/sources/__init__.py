"""What a user names: checkpoints, prompts and packaged models, found and checked by their headers."""
