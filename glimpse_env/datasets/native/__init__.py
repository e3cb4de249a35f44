"""Images of different sizes, unshrunk: decoded once, strip by strip if they are large, into one flat file."""
