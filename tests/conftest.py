"""Here so that tests in every folder can import the modules that lie beside it."""
