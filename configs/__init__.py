"""Deployment configurations (YAML) and the two things that every room needs to check them."""
