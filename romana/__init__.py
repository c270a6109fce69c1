"""What all daemons share: values, names, errors, the store, netlink, configuration, the command line."""
