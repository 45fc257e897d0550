"""Tuning of TVM's schedules, and what MetaSchedule's users plug in."""
