"""What proposes tokens: draft models by topic, prompt lookup, and the pool that holds them."""
