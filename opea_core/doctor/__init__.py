"""Finding out what a server can do, by asking it: ``opea doctor``, ``OPEA.diagnose``.

``probes`` has what is asked as data, ``readers`` how the answers are read, ``plan`` the course of a
diagnosis, ``run`` sends; ``profile`` makes ``Capabilities`` of what was found, and ``report`` shows
it.
"""
