"""The demos, a file each: whole searches of the embedded data, from nothing to a report."""
