"""A user's own annotations: reading, checking, splitting, and configs to start from."""
