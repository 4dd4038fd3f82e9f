"""Other engines on the same checkpoints and prompts, each in an environment of its own.

``environments.py`` makes the environments; ``process.py`` talks to one engine; ``NAME_peer.py`` is that engine's
side, run by the environment's own Python; ``bench.py`` compares them.
"""
