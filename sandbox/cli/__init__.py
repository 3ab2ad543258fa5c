"""Command lines to objects, and what is said to a mistake."""
