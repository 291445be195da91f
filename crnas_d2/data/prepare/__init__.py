"""A user's own annotations: reading, checking, dividing, and configs to start from."""
