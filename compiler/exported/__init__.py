"""Exported programs (`.pt2`) from files that nobody vouches for: read without executing anything that they say."""
