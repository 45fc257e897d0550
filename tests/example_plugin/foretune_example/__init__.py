"""An example of plug-ins for Foretune: a cost model, a search strategy and a domain."""
