"""Keeps plugins running: a pure machine that decides, and a thin shell per plugin that does."""
