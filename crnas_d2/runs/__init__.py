"""What jobs leave behind, as objects with one reader each."""
