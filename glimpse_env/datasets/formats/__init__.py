"""What image files hold besides 8-bit pixels: metadata, transparency, other depths; for `datasets.decode`."""
