"""The shared target, the step loop, verification and the KV cache. Token ids only, never text."""
