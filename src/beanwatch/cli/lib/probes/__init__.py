"""The probes of `beanwatch doctor`: one for each link of the chain, in the chain's order."""
