"""The models, their charts and verdicts as pages."""
