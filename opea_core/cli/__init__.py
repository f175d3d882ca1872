"""The command line, ``opea``: a thin skin over the package's public names."""
