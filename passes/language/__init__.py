"""Language models: clients, a local server, and how they are asked."""
