"""Policy by the legacy iptables tables and ipset: one of the two renderers of the compiled model."""
