"""What the kept instrumentors miss, one thin module a framework, pinned by a test on the real framework."""
