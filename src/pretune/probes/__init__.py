"""What happens to a checkpoint when it is disturbed: noise, quantisation, interpolation, sharpness."""
