"""Offline life of the router: prompts in, a router measured against the one that serves, a version in the registry."""
