"""Robots: they claim items, fill in carriers' portals, and report what became of each order."""
