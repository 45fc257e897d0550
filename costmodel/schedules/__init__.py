"""What schedules do to loops, exactly: extents, footprints, generated code."""
