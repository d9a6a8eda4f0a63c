"""Where weights come from: revisions and steps, identity, and loading."""
