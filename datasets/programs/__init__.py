"""Programs as graphs and as samples."""
