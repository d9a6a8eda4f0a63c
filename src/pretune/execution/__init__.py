"""From a grid of configurations to finished cells: planning, claiming, running, reporting progress."""
