"""What every room may use: nothing of ours is imported here."""
