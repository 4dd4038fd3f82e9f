"""Experiments on learning: what specialising, capacity, data and losses are worth, in counts."""
