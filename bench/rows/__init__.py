"""The rows of `make bench`: one file an idea, each row a ratio of two things measured in one run."""
