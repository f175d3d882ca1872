"""What the bytes mean: pure functions and push parsers, bytes and dicts in, values out."""
