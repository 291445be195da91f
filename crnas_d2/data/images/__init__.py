"""Image files, images that processes share in memory, and random images."""
