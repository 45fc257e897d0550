"""Measured records: their store, database, splits and collection."""
