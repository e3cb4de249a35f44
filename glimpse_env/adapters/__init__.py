"""Doors for other libraries; each needs that library, which is an optional dependency."""
