"""The exceptions for everything a user can mend."""


class WiseftError(Exception):
    """What was expected, what was found and what to do, in a sentence.

    The command line prints it as `error: ...` and exits 1, without a traceback.
    """


class StaleArtifact(WiseftError):
    """An artifact was written by another version of the stage that makes it."""
