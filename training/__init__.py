"""Distillation jobs: whatever changes the weights of a draft, and the recipe that made the starter."""
