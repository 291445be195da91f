"""Loaders and mappers: from registered datasets to the inputs of a model."""
