"""What was asked for, and all that will be sent: pure, without I/O."""
