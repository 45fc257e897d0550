"""TVM 0.19's Ansor: its logs, states, and Foretune's cost model inside its search."""
