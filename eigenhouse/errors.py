"""The one exception a user is meant to see."""


class EigenhouseError(Exception):
    """A refusal of one or two lines: what was wanted, what came, the likely cause.

    The command line prints the message alone and exits with status 1; anything else that escapes is a bug
    and keeps its traceback. Nothing has been written to the warehouse when it is raised.
    """


def not_installed(module: str) -> EigenhouseError:
    """A library that only reading models needs, and that a plain install leaves out."""
    library = module.partition(".")[0]
    return EigenhouseError(f"this needs {library}, which isn't installed: pip install 'eigenhouse[ingest]' brings it")
