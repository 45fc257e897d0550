"""Builds candidates and times them, in processes here or on other machines."""
