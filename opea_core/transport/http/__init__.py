"""HTTP as httpx and aiohttp speak it: connections, TLS, proxies, and what their errors mean."""
