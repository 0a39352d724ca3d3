"""Hyperparameter search by ask and tell, pruning, the choice between trials, and the arithmetic of forecasts.

Knows recipes and numbers, no model: what a trial is made of comes from above.
"""
