"""The Responses dialect (``/v1/responses``): chat requests in it, its answers read as chat."""
