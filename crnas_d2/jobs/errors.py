"""What a job says where it cannot go on."""

__all__ = ["JobError"]


class JobError(ValueError):
    """A job cannot start or go on, for a reason that the message names with its fix."""
