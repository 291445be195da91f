"""The error of a job that cannot start or continue."""

__all__ = ["JobError"]


class JobError(ValueError):
    """A job cannot start or continue; the message gives the reason and the fix."""
