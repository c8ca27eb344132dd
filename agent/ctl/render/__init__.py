"""Pure: an answer and a style in, lines out. Nothing here fetches, prints or reads a clock."""
