"""Registered datasets: registration, checks, class names, sizes, and the images of archval."""
