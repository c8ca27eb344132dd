"""Touch panels, by their presence."""
