"""Weights become answers: the inference engine's process."""
