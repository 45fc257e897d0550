"""Products in the libraries that PyTorch brings along, and which of these is the fastest."""
