"""An example of plug-ins for Foretune: a cost model and a search strategy."""
