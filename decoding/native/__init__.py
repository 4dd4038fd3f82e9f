"""The compiled forward: `kernel.cpp`, and what builds and loads it."""
