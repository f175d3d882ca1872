"""Many calls: a window over requests that are pulled as there is room."""
