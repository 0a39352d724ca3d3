"""Mirrors of a run for teams that track elsewhere: MLflow, TensorBoard, Weights & Biases.

The run's own folder stays the truth. A mirror is told in a thread of its own, and one that fails is a warning.
"""
