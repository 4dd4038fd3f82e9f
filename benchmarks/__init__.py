"""Side-by-side measurements: against transformers, against plain decoding, by topic."""
