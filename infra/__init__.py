"""What a platform team installs: servers to try things on, and how they are configured. Nothing imports it."""
