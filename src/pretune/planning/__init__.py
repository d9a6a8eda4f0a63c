"""What a grid will cost before it is run: operations, time, memory, disk; without torch and without a network."""
