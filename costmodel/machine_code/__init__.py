"""Machine code as an observation: what LLVM made of a candidate, read off its assembly without running it."""
