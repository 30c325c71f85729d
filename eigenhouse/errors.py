"""The one exception a user is meant to see."""


class EigenhouseError(Exception):
    """A refusal of one or two lines: what was wanted, what came, the likely cause.

    The command line prints the message alone and exits with status 1; anything else that escapes is a bug
    and keeps its traceback. Nothing has been written to the warehouse when it is raised.
    """


class Stopped(EigenhouseError):
    """The user ended the command: exit status 130, as a shell gives for Ctrl-C."""
