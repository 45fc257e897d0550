"""TVM's programs, spaces, traces and targets as Foretune's nouns."""
