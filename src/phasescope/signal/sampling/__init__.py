"""Random networks of finite width, sampled exactly."""
