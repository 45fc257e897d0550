"""Search in latent space, without a compiler."""
