"""What the doctor looks at, in modules of their own."""
