"""What several folders of tests share: tiny models, small configurations, a loopback Hub."""
