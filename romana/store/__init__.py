"""The store, as the daemons see it: `api` is the interface, `opening` the way in, `reflector` the watched copy."""
